"""Every module imports with nothing installed but the core dependencies, and says nothing."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
NEEDS_AN_EXTRA = (  # each imported by one function, which says what is missing
    "dialogpt.chat.serving.http",
    "dialogpt.chat.serving.backend",
    "dialogpt.chat.bots.telegram",
    "dialogpt.chat.bots.discord",
)

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
count = 0
for module in pkgutil.walk_packages(dialogpt.__path__, "dialogpt."):
    if module.name != "dialogpt.__main__" and not module.name.startswith({extra!r}):
        importlib.import_module(module.name)
    count += 1
for name in dialogpt.__all__:
    getattr(dialogpt, name)
assert count > 20, count
"""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def core_distributions() -> set[str]:
    """The distributions that `pip install` brings: pyproject's dependencies and what they need, extras left out."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: set[str] = set()
    waiting = [Requirement(text) for text in project["dependencies"]]
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


def test_every_module_imports_with_the_core_dependencies_alone() -> None:
    core = core_distributions()
    assert {"torch", "numpy", "click"} <= core
    assert not {"transformers", "pytest", "hypothesis"} & core
    homes = importlib.metadata.packages_distributions()
    allowed = {module for module, names in homes.items() if core & set(map(canonical, names))}
    allowed |= {"dialogpt", *sys.stdlib_module_names, *sys.builtin_module_names}
    script = SCRIPT.format(allowed=sorted(allowed), blocked="transformers", extra=NEEDS_AN_EXTRA)
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert (result.stdout, result.stderr) == ("", "")
