"""Every module imports with nothing installed but the core dependencies, or these and torch; and says nothing."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
NEEDS_AN_EXTRA = (  # each imported by one function, which says what is missing
    "dialogpt.chat.serving.http",
    "dialogpt.limits",
    "dialogpt.chat.serving.backend",
    "dialogpt.chat.serving.watch",
    "dialogpt.chat.bots.telegram",
    "dialogpt.chat.bots.discord",
)
NEEDS_TORCH = ("dialogpt.model.", "dialogpt.train.", "dialogpt.export.")

SCRIPT = """
import importlib, importlib.abc, pkgutil, sys
allowed = set({allowed!r})

class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in allowed:
            raise ModuleNotFoundError(f"{{name}} is not among the core dependencies", name=name)
        return None

sys.meta_path.insert(0, Block())
try:
    import {blocked}
except ImportError:
    pass
else:
    sys.exit("the block does not work")
import dialogpt
count = without = 0
for module in pkgutil.walk_packages(dialogpt.__path__, "dialogpt."):
    if module.name == "dialogpt.__main__" or module.name.startswith({extra!r}):
        continue
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        if error.name != "torch" or "torch" in allowed or not module.name.startswith({torch!r}):
            raise
        without += 1
    count += 1
for name in dialogpt.__all__:
    if name != "GPT" or "torch" in allowed:
        getattr(dialogpt, name)
assert count > 20, count
assert (without > 5) == ("torch" not in allowed), without
"""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def core_distributions(*extras: str) -> set[str]:
    """The distributions that `pip install` brings: pyproject's dependencies and what they need, and of some extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: set[str] = set()
    chosen = [project["optional-dependencies"][extra] for extra in extras]
    waiting = [Requirement(text) for texts in (project["dependencies"], *chosen) for text in texts]
    while waiting:
        requirement = waiting.pop()
        name = canonical(requirement.name)
        if name in found:
            continue
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:  # for another platform or Python
            continue
        found.add(name)
        waiting += [
            need for need in map(Requirement, needs) if need.marker is None or need.marker.evaluate({"extra": ""})
        ]
    return found


@pytest.mark.parametrize("extras", [(), ("torch",)], ids=str)
def test_every_module_imports_with_the_core_dependencies_alone(extras: tuple[str, ...]) -> None:
    core = core_distributions(*extras)
    assert {"numpy", "click", *extras} <= core
    assert not {"transformers", "pytest", "hypothesis", *({"torch"} - {*extras})} & core
    homes = importlib.metadata.packages_distributions()
    allowed = {module for module, names in homes.items() if core & set(map(canonical, names))}
    allowed |= {"dialogpt", *sys.stdlib_module_names, *sys.builtin_module_names}
    script = SCRIPT.format(allowed=sorted(allowed), blocked="transformers", extra=NEEDS_AN_EXTRA, torch=NEEDS_TORCH)
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert (result.stdout, result.stderr) == ("", "")


def test_types_are_for_users_too() -> None:
    """Without this file mypy takes all of a package's names for Any."""
    assert (ROOT / "src/dialogpt/py.typed").is_file()
