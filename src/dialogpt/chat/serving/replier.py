"""What makes the replies: the only interface between the HTTP side and what is behind it.

A `WorkerProcess` decodes with a model in another process, a `Worker` in a thread; a `Backend` asks another engine for
the hypotheses and judges and orders them here. A job goes in, its callbacks report the rest, from any thread.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from dialogpt.decoding.batcher import Job
from dialogpt.errors import DialoGPTError


class ReplyError(DialoGPTError):
    """A reply that is not made; `status` is HTTP's, `retry_after` in seconds or a date, "" where unknown."""

    def __init__(self, message: str, hint: str = "", *, status: int, retry_after: str = "") -> None:
        super().__init__(message, hint)
        self.status, self.retry_after = status, retry_after


class Gauge(NamedTuple):
    """A number for Prometheus, read when needed."""

    name: str
    what: str
    read: Callable[[], float]


class Replier(Protocol):
    """Takes jobs, and reports their replies; `counts` has what happened to hypotheses, by reason."""

    @property
    def counts(self) -> Counter[str]: ...

    @property
    def n_ctx(self) -> int | None:
        """The most tokens of context and reply together; None if unknown."""

    @property
    def end_text(self) -> str:
        """The token that ends each turn."""

    @property
    def ranks(self) -> bool:
        """Whether there is a backward model, so that a job may ask for MMI."""

    def gauges(self) -> Iterable[Gauge]: ...

    def attend(self) -> None:
        """Called once, in the event loop that its jobs come from, before the first of them."""

    def submit(self, job: Job) -> None:
        """Take a job; a ReplyError of status 429 when too many wait."""

    def cancel(self, job: Job) -> None:
        """Give a job up; nothing more is heard of it."""

    def trouble(self) -> str | None:
        """Why no replies are being made, or None. It may take a moment."""

    def close(self) -> None:
        """Take no more jobs, and complete those under way; once is enough."""
