"""What documents name is there: the files and headings of links, paths, options; architecture.md names every part."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from dialogpt.cli import COMMANDS

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "dialogpt"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *SOURCE.rglob("bundled/**/README.md")])
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(
    r"`((?:src|tests|bench|docs|recipes|dev|data|tokens|model|native|train|decoding|evaluation|chat|export)/[\w./-]+)`"
)
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")


def named(documents: list[Path]) -> list[object]:
    return [pytest.param(path, id=str(path.relative_to(ROOT))) for path in documents]


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as forges make them."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", named(DOCUMENTS))
def test_links_lead_somewhere(path: Path) -> None:
    for link in LINK.findall(FENCED.sub("", path.read_text(encoding="utf-8"))):
        if link.startswith("http"):
            continue
        place, _, anchor = link.partition("#")
        target = path.parent / place if place else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("path", named([path for path in DOCUMENTS if path.name != "CHANGELOG.md"]))
def test_paths_are_there(path: Path) -> None:
    for name in PATH.findall(path.read_text(encoding="utf-8")):
        assert (ROOT / name).exists() or (SOURCE / name).exists(), name


@cache
def options() -> frozenset[str]:
    """The options of all commands, by their `--help`."""
    helps = [
        subprocess.run([sys.executable, "-m", "dialogpt", *name.split(), "--help"], capture_output=True, check=True)
        for name in ("", *COMMANDS)
    ]
    return frozenset(OPTION.findall("".join(done.stdout.decode() for done in helps)))


@pytest.mark.parametrize("path", named([path for path in DOCUMENTS if path.name != "CHANGELOG.md"]))
def test_options_of_the_commands_are_theirs(path: Path) -> None:
    """Those in code that begins with `dialogpt`, in a block or a line, up to the next command of the line."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    commands = re.findall(r"(?:^ *(?:\w+=\S+ )?|-m |`)(dialogpt [^`|#\n]*)", text, re.MULTILINE)
    unknown = {option for command in commands for option in OPTION.findall(command)} - options()
    assert not unknown


def test_every_folder_and_module_is_drawn() -> None:
    """The tree in docs/architecture.md: each folder, and each module beside them, in the place it has."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    _, tree, _ = text.split("```\n", 2)
    drawn, above = set(), [""]
    for line in tree.splitlines()[1:]:
        if found := re.match(r"([│ ]*)[├└]── ([\w.]+)/?", line):
            depth = len(found[1]) // 4
            above[depth + 1 :] = [f"{above[depth]}{found[2]}/"]
            drawn.add(above[-1].rstrip("/"))
    folders = {path.parent for path in SOURCE.rglob("*.*") if "__pycache__" not in path.parts} - {SOURCE}
    modules = set(SOURCE.glob("*.py"))
    assert all((SOURCE / name).exists() for name in drawn)
    mentioned = {path for path in modules if re.search(rf"\b{path.name}\b", tree)}
    assert {str(path.relative_to(SOURCE)) for path in modules - mentioned} == set()
    assert {str(path.relative_to(SOURCE)) for path in folders} - drawn == set()
