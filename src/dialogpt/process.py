"""How a command's process is set up: its streams, its signals, what it shows, how it ends."""

import io
import os
import signal
import sys
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


def prepare() -> None:
    """Before a command is read."""
    _open_what_is_closed()
    _speak_utf8()
    _hear_sigterm()


def _open_what_is_closed() -> None:
    """Give a process that was started without standard streams (`<&-`, some services) /dev/null in their place.

    Otherwise the first file that it opens would get their number, and the stream's output.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115


def _speak_utf8() -> None:
    """UTF-8 whatever the system's own encoding (a pipe's on Windows): output here is input elsewhere."""
    for stream, errors in ((sys.stdin, "replace"), (sys.stdout, "backslashreplace"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=errors)


def _hear_sigterm() -> None:
    """Have SIGTERM end the first process of a container, to which Linux does not deliver signals without a handler."""
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def printable(text: str) -> str:
    """The text without control characters, which could steer the terminal: U+FFFD stands in their place."""
    return "".join(
        letter if letter in "\n\t" or unicodedata.category(letter) != "Cc" else "\N{REPLACEMENT CHARACTER}"
        for letter in text
    )


@contextmanager
def interrupts_later() -> Iterator[None]:
    """A block of imports, at whose end Ctrl-C takes effect; a second one takes effect at once.

    Raised where an import lets go of its lock, a KeyboardInterrupt would be lost, with a traceback.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone hears signals
        yield
        return
    came = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        signal.raise_signal(signal.SIGINT)


def end_at_once(number: int) -> None:
    """Have a signal end the process from now on, whatever it waits for."""
    if os.getpid() == 1:
        signal.signal(number, lambda number, frame: os._exit(128 + number))
    else:
        signal.signal(number, signal.SIG_DFL)


def leave(code: int | None) -> NoReturn:
    """Exit. Processes that train together end at once, since everything is written.

    A thread of gloo that lets go of a tensor while Python is taken down would abort the process.
    """
    if "WORLD_SIZE" in os.environ and "torch.distributed" in sys.modules:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)
    sys.exit(code)
