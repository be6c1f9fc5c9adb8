"""How commands, and the processes that they start, write their log: messages alone, to stderr."""

import logging
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SHOWN = 3  # warnings with the same text that are shown
CHATTY = ("httpx", "httpcore", "urllib3", "filelock", "gguf")


def set_up_logging(level: int) -> None:
    """Log that level and above; from libraries, only errors."""
    logging.basicConfig(level=level, format="%(message)s", handlers=[_StderrHandler()], force=True)
    logging.getLogger("dialogpt").setLevel(level)
    for library in CHATTY:
        logging.getLogger(library).setLevel(logging.ERROR)


@contextmanager
def sparing(name: str) -> Iterator[None]:
    """Of a logger's warnings in the same words, the first three are shown; at the end, how many more there were."""
    logger, seen = logging.getLogger(name), Counter[str]()

    def spare(record: logging.LogRecord) -> bool:
        seen[str(record.msg)] += 1
        return seen[str(record.msg)] <= SHOWN

    logger.addFilter(spare)
    try:
        yield
    finally:
        logger.removeFilter(spare)
        if more := sum(max(count - SHOWN, 0) for count in seen.values()):
            logger.warning("%d more such warnings are not shown", more)


class _StderrHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to the current sys.stderr, which a progress bar replaces to keep lines above it."""

    @property
    def stream(self) -> Any:
        return sys.stderr

    @stream.setter
    def stream(self, value: Any) -> None:
        pass
