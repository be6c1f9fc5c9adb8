"""What the process of a command asks of the system: its streams, its signals, how it ends."""

import io
import os
import signal
import sys
from typing import NoReturn


def prepare() -> None:
    """Before a command is read."""
    _open_what_is_closed()
    _speak_utf8()
    _hear_sigterm()


def _open_what_is_closed() -> None:
    """Give a process that was started without standard streams (`<&-`, some services) /dev/null in their place.

    Else the first file that it opens would take their number, and what is meant for the stream.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115


def _speak_utf8() -> None:
    """Whatever the system's own encoding (a pipe's on Windows): what is written in one place is read in another."""
    for stream, errors in ((sys.stdin, "replace"), (sys.stdout, "backslashreplace"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=errors)


def _hear_sigterm() -> None:
    """Have SIGTERM end the first process of a container, which Linux spares signals that it has no handler for."""
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def leave(code: int | None) -> NoReturn:
    """Exit. Of several processes that train together each ends at once, all being written.

    A thread of gloo that lets go of a tensor while Python is taken down would abort the process.
    """
    if "WORLD_SIZE" in os.environ and "torch.distributed" in sys.modules:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)
    sys.exit(code)
