"""What can go wrong for a user, as one small tree.

    DialoGPTError            exit code 1
    ├── UsageError           exit code 2: an option or a combination of options that cannot work
    ├── DataError            a file or folder that is missing, damaged or not what was asked for
    └── CheckpointError      a model folder or hub name that does not load

A message names the thing and the value; the hint names the way out.
"""

import copyreg
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def needs_torch(what: str) -> Iterator[None]:
    """A block that imports torch, which an installation may lack: then a UsageError says that `what` needs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise UsageError(f"{what} needs PyTorch, which is not installed", 'pip install "dialogpt[torch]"') from error
