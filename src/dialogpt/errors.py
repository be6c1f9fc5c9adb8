"""What can go wrong for a user, as one small tree.

    DialoGPTError            exit code 1
    ├── UsageError           exit code 2: an option or a combination of options that cannot work
    ├── DataError            a file or folder that is missing, damaged or not what was asked for
    └── CheckpointError      a model folder or hub name that does not load

A message names the thing and the value; the hint names the way out.
"""

import copyreg
import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any


class DialoGPTError(Exception):
    """An error that the user can act upon; printed as `error:` and `hint:`, without a traceback."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled without a call of the constructor, whose arguments are each class's own."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class UsageError(DialoGPTError):
    exit_code = 2


class DataError(DialoGPTError):
    pass


class CheckpointError(DialoGPTError):
    pass


def check_least(config: object, **least: float) -> None:
    """Raise UsageError if a setting is below its given minimum, or not a number; None is left open, and may be."""
    for name, bound in least.items():
        if (value := getattr(config, name)) is not None and not value >= bound:
            raise UsageError(f"--{name.replace('_', '-')} {value} is below {bound}", f"name {bound} or more")


def given(config: Any, *names: str) -> list[str]:
    """Those of the named settings of a dataclass that are not at their default."""
    defaults = {field.name: field.default for field in fields(config)}
    return [name for name in names if getattr(config, name) != defaults[name]]


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    """The hint for an unknown word: the known one most like it, else `otherwise`."""
    close = difflib.get_close_matches(word, list(known), 1)
    return f"did you mean {close[0]!r}?" if close else otherwise


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: Python's, a GPU's, or as torch says only in words (for a CPU, MPS, a driver)."""
    words = ("can't allocate memory", "MPS backend out of memory", "error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or any(part in str(error) for part in words)


@contextmanager
def needs_torch(what: str) -> Iterator[None]:
    """A block that imports torch, which an installation may lack: then a UsageError says that `what` needs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise UsageError(f"{what} needs PyTorch, which is not installed", 'pip install "dialogpt[torch]"') from error
