"""The streams and signals of a command's process, and memory that it does not get."""

import os
import signal
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

from dialogpt.process import interrupts_later

SCRIPT = """
import sys
from dialogpt import cli

def command():
    raise {error}

cli._group = lambda: type("Group", (), {{"main": lambda self, **_: command()}})()
cli.main()
"""


def test_what_is_written_is_utf_8_whatever_the_systems_encoding(tmp_path: Path) -> None:
    """As into a pipe on Windows."""
    file = tmp_path / "\u0645\u0631\u062d\u0628\u0627.txt"
    file.write_text("\u0623\u0647\u0644\u0627", encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    for path, stream in ((file, "stdout"), (file.with_suffix(".none"), "stderr")):
        command = [sys.executable, "-m", "dialogpt", "info", str(path)]
        done = subprocess.run(command, capture_output=True, env=environment, check=False)
        assert path.name in getattr(done, stream).decode("utf-8")
        assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    "error, words",
    [
        ("MemoryError()", "out of memory"),
        ("type('ArrowMemoryError', (MemoryError,), {})('malloc of size 64 failed')", "malloc of size 64 failed"),
        (
            "RuntimeError('[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can\\'t allocate memory: "
            "you tried to allocate 4000 bytes. Error code 12 (Cannot allocate memory)')",
            "can't allocate memory: you tried to allocate 4000 bytes",
        ),
        (
            "RuntimeError('MPS backend out of memory (MPS allocated: 8 GB). Tried to allocate 1 GB')",
            "MPS backend out of memory (MPS allocated: 8 GB)",
        ),
        ("RuntimeError('CUDA error: out of memory\\nCUDA kernel errors might be')", "CUDA error: out of memory"),
        ("type('OutOfMemoryError', (RuntimeError,), {})('CUDA out of memory. Tried')", "CUDA out of memory"),
    ],
)
def test_memory_that_is_not_there_is_no_traceback(error: str, words: str) -> None:
    command = [sys.executable, "-c", SCRIPT.format(error=error)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    hint = "hint: stop what else uses memory, or try a smaller model or --device cpu\n"
    assert (done.returncode, done.stderr) == (1, f"error: {words}\n{hint}")


def test_other_errors_keep_their_traceback() -> None:
    command = [sys.executable, "-c", SCRIPT.format(error="RuntimeError('a mistake of ours')")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" in done.stderr
    assert "a mistake of ours" in done.stderr


def test_an_interrupt_among_imports_takes_effect_after_them(capsys: pytest.CaptureFixture[str]) -> None:
    """Where one lets go of its lock, it would be lost."""
    passed = []

    def imports(times: int) -> None:
        with interrupts_later():
            for _ in range(times):
                lock = type("Lock", (), {})()
                seen = weakref.ref(lock, lambda _: signal.raise_signal(signal.SIGINT))
                del lock
                passed.append(seen)

    imports(0)
    with pytest.raises(KeyboardInterrupt):
        imports(1)
    assert len(passed) == 1
    assert not capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_interrupt_takes_effect_at_once() -> None:
    passed = []

    def imports() -> None:
        with interrupts_later():
            for _ in range(3):
                signal.raise_signal(signal.SIGINT)
                passed.append(True)

    with pytest.raises(KeyboardInterrupt):
        imports()
    assert len(passed) == 1
