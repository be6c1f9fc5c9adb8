"""The Dockerfile names what is there: files, extras, a command, the port that it checks; images are not built here."""

import json
import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

from dialogpt.cli import _command

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")


def lines(keyword: str) -> list[str]:
    return [line.removeprefix(f"{keyword} ") for line in TEXT.splitlines() if line.startswith(f"{keyword} ")]


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    admitted = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [name for line in lines("COPY") if not line.startswith("--from") for name in line.split()[:-1]]
    assert {"pyproject.toml", "hatch_build.py", "src"} <= set(copied)
    for name in copied:
        assert (ROOT / name).exists(), name
        assert any(fnmatch(name, pattern) for pattern in admitted), name
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["readme"] in copied, "what pyproject.toml names is needed for the build"


def test_extras_exist_and_none_needs_torch() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (named,) = re.findall(r'pip install [^"]*"\.\[([a-z,]+)\]"', TEXT)
    for extra in named.split(","):
        assert not any(requirement.startswith("torch") for requirement in extras[extra]), extra


def test_its_command_serves_at_the_port_that_is_checked() -> None:
    (command,), (port,), (check,) = lines("CMD"), lines("EXPOSE"), lines("HEALTHCHECK")
    name, *arguments = json.loads(command)
    context = _command(name).make_context(name, arguments)
    assert (context.params["host"], str(context.params["port"])) == ("0.0.0.0", port)
    assert f"grep -qzx {name} /proc/1/cmdline" in check
    assert f"http://127.0.0.1:{port}/health" in check


def test_the_commands_of_its_comments_parse() -> None:
    commands = re.findall(r"^#   docker run .*:/data dialogpt (\S+) (\S+)$", TEXT, re.MULTILINE)
    assert commands
    for name, argument in commands:
        _command(name).make_context(name, [argument])
