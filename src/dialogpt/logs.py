"""How commands, and the processes that they start, write their log: messages alone, to stderr."""

import logging
import sys
from typing import Any

CHATTY = ("httpx", "httpcore", "urllib3", "filelock")


def set_up_logging(level: int) -> None:
    """Write what is of that level or above; libraries tell errors alone."""
    logging.basicConfig(level=level, format="%(message)s", handlers=[_StderrHandler()], force=True)
    logging.getLogger("dialogpt").setLevel(level)
    for library in CHATTY:
        logging.getLogger(library).setLevel(logging.ERROR)


class _StderrHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to what sys.stderr is now: a progress bar puts itself there to keep lines above it."""

    @property
    def stream(self) -> Any:
        return sys.stderr

    @stream.setter
    def stream(self, value: Any) -> None:
        pass
