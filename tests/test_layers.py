"""Who imports whom: downward only, as docs/architecture.md draws it, and torch begins at the model."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "dialogpt"
MODULES = {
    ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(SOURCE.rglob("*.py"))
}


def layers_drawn() -> dict[str, int]:
    """The layer of each part of the house, by the picture in docs/architecture.md; "" is the package's front page."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    picture = re.findall(r"^L(\d+) +(\S.*)$", text, re.MULTILINE)
    return {name: int(number) for number, line in picture for name in re.split(r" {4,}", line)[0].split()} | {"": 0}


LAYER_OF = layers_drawn()


def part_of(module: str) -> str:
    """The part of the house a module belongs to: `dialogpt.train.loop` is of `train`."""
    return module.split(".")[1] if "." in module else ""


def imports(module: str, source: str, *, is_package: bool) -> Iterator[str]:
    """Every module of ours that the source imports, anywhere in it, relative imports made absolute."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".") if is_package else module.split(".")[:-1]
            prefix = ".".join(base[: len(base) - node.level + 1]) if node.level else ""
            origin = ".".join(filter(None, (prefix, node.module)))
            names = [
                f"{origin}.{alias.name}" if f"{origin}.{alias.name}" in MODULES else origin for alias in node.names
            ]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == "dialogpt")


def violations(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """What a module may not import: parts above its own, and other packages of its own layer."""
    part = part_of(module)
    found = []
    for name in imports(module, source, is_package=is_package):
        other = part_of(name)
        above = LAYER_OF[other] > LAYER_OF[part]
        beside = LAYER_OF[other] == LAYER_OF[part] > 0 and other != part and other in packages() and part in packages()
        if above or beside:
            where = "above" if above else "beside"
            found.append(f"{module} (L{LAYER_OF[part]}) imports {name} (L{LAYER_OF[other]}), which is {where} it")
    return found


def packages() -> set[str]:
    return {part_of(module) for module, path in MODULES.items() if path.name == "__init__.py"} - {""}


def test_every_module_has_its_place() -> None:
    found = {part_of(module) for module in MODULES}
    assert found <= LAYER_OF.keys(), f"name the layer of {sorted(found - LAYER_OF.keys())} in docs/architecture.md"
    assert LAYER_OF.keys() <= found, f"no such module: {sorted(LAYER_OF.keys() - found)}"


@pytest.mark.parametrize("module", [module for module in MODULES if module != "dialogpt"])
def test_imports_go_downward(module: str) -> None:
    path = MODULES[module]
    wrong = violations(module, path.read_text(encoding="utf-8"), is_package=path.name == "__init__.py")
    assert not wrong, f"{path.relative_to(SOURCE.parent)}: " + "; ".join(wrong)


@pytest.mark.parametrize(
    "module, source",
    [
        ("dialogpt.files", "from dialogpt.session import Turn\nfrom dialogpt.data import readers"),
        ("dialogpt.tokens.bpe", "def f():\n    import dialogpt.model.gpt"),
        ("dialogpt.decoding.rows", "if TYPE_CHECKING:\n    from dialogpt.train import TrainConfig"),
        ("dialogpt.chat.bot", "from dialogpt.export import ExportConfig"),
        ("dialogpt.data.readers", "from ..tokens import bpe"),
        ("dialogpt.chat.bot", "from dialogpt import cli"),
    ],
)
def test_a_wrong_import_is_seen(module: str, source: str) -> None:
    (wrong,) = violations(module, source)
    assert wrong.startswith(f"{module} (L")


def test_a_right_import_passes() -> None:
    source = "import torch\nfrom dialogpt.tokens import bpe\nfrom dialogpt.train import runs\nfrom . import optim"
    assert violations("dialogpt.train.loop", source) == []


def without_torch() -> list[str]:
    """What is below the model, every front page, and all that takes part in a talk or in scoring files."""
    return [
        module
        for module, path in MODULES.items()
        if path.name == "__init__.py"
        or LAYER_OF[part_of(module)] < LAYER_OF["model"]
        or part_of(module) in ("native", "decoding", "chat", "evaluation", "info", "cli")
    ]


def test_nothing_else_imports_torch() -> None:
    script = (
        "import sys\nfrom importlib import import_module\n"
        "sys.modules['torch'] = None\n"  # importing it raises
        f"for module in {without_torch()!r}:\n"
        "    import_module(module)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert {"dialogpt.train", "dialogpt.data.readers", "dialogpt.chat.serving.worker"} <= set(without_torch())
