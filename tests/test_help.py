"""`--help` of every command: complete, instant, without torch."""

import dataclasses
import inspect
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import pytest

from dialogpt.cli import COMMANDS

HELPS = [["--help"], ["-h"], ["--version"], *([*name.split(), "--help"] for name in COMMANDS)]
LIMIT_S = 0.3
RUNS = 10


def located(where: str) -> Any:
    module, name = where.split(":")
    return getattr(import_module(module), name)


def dialogpt(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dialogpt", *arguments], capture_output=True, text=True, encoding="utf-8", check=False
    )


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_every_command(flag: str) -> None:
    result = dialogpt(flag)
    assert (result.returncode, result.stderr) == (0, "")
    listed = {
        line.strip().partition("  ")[0] for line in result.stdout.partition("Commands:")[2].splitlines() if line.strip()
    }
    assert listed == set(COMMANDS)


def test_without_arguments_it_shows_its_help() -> None:
    result = dialogpt()
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == dialogpt("--help").stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_a_commands_help_explains_every_setting(name: str) -> None:
    result = dialogpt(*name.split(), "--help")
    assert (result.returncode, result.stderr) == (0, "")
    words = " ".join(result.stdout.split())
    for field in dataclasses.fields(located(COMMANDS[name].config)):
        if field.name == COMMANDS[name].argument:
            assert field.name.upper() in words
        else:
            assert f"--{field.name.rstrip('_').replace('_', '-')}" in words
    assert "--config" in words
    assert "TODO" not in words


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_calls_a_function_with_its_settings(name: str) -> None:
    config, function = located(COMMANDS[name].config), located(COMMANDS[name].function)
    (parameter,) = inspect.signature(function, eval_str=True).parameters.values()
    assert parameter.annotation is config
    assert function.__doc__
    assert config.__doc__.startswith(f"Settings of `{name}`: ")
    assert config.__dataclass_params__.frozen
    assert COMMANDS[name].argument in {field.name for field in dataclasses.fields(config)}


def test_help_imports_no_torch() -> None:
    script = f"""
import contextlib, io, sys
from dialogpt.cli import main
for arguments in {HELPS!r}:
    sys.argv = ["dialogpt", *arguments]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        main()
    assert out.getvalue(), arguments
    for module in ("torch", "numpy", "tokenizers", "safetensors", "rich"):
        assert module not in sys.modules, (arguments, module)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("arguments", HELPS, ids=" ".join)
def test_help_is_instant(arguments: Sequence[str]) -> None:
    wall_s, cpu_s = [], []
    for _ in range(RUNS):  # the fastest one is the program's own time; the others are the machine's
        start, before = time.perf_counter(), os.times()
        dialogpt(*arguments)
        wall_s.append(time.perf_counter() - start)
        cpu_s.append(sum(os.times()[2:4]) - sum(before[2:4]))
        if wall_s[-1] < LIMIT_S:
            return
    # A machine that gives this process less than half a core says nothing about the program.
    assert min(cpu_s) < LIMIT_S / 2, f"{' '.join(arguments)} takes {min(wall_s):.2f} s, {min(cpu_s):.2f} s of a core"


@pytest.mark.parametrize("option", ["--debug", "--quiet", "-q", "--version"])
def test_an_option_of_all_commands_goes_before_the_command(option: str) -> None:
    done = dialogpt("info", option, "x")
    assert (done.returncode, done.stdout) == (2, "")
    error, hint = done.stderr.splitlines()
    assert error.startswith(f"error: No such option '{option}'.")
    assert hint == f"hint: it goes before the command: `dialogpt {option} ...`"


def test_the_traceback_of_wrong_usage_is_nobodys() -> None:
    assert dialogpt("--debug", "info", "--bogus").stderr == dialogpt("info", "--bogus").stderr
