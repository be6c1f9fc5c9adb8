"""Between one request and its job: passes news from the replier's thread to the event loop.

When the client goes away the job is cancelled, and its rows leave the batch before the next token.
"""

import asyncio
import logging
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fastapi import Request
from starlette.exceptions import HTTPException

from dialogpt.chat.serving.http.metrics import Metrics
from dialogpt.chat.serving.replier import Replier
from dialogpt.decoding import Hypothesis, Reply
from dialogpt.decoding.batcher import Job
from dialogpt.decoding.safety import said_instead
from dialogpt.errors import DialoGPTError

log = logging.getLogger(__name__)

GONE = 499  # what is logged for a client that has gone away


@dataclass(frozen=True, slots=True)
class Told:
    """A reply that is complete, and what it was chosen from."""

    hypotheses: Sequence[Hypothesis]
    prompt_tokens: int

    def some(self, n: int) -> tuple[list[str], list[str], dict[str, int]]:
        """The best n texts, why each ended, and the tokens; a fixed line if too few may be said."""
        said = [hypothesis for hypothesis in self.hypotheses if hypothesis.rejected is None][:n]
        texts = [hypothesis.text for hypothesis in said]
        reasons = ["stop" if hypothesis.ended else "length" for hypothesis in said]
        missing = n - len(said)
        made = sum(hypothesis.size for hypothesis in said)
        usage = {"prompt_tokens": self.prompt_tokens, "completion_tokens": made,
                 "total_tokens": self.prompt_tokens + made}  # fmt: skip
        instead = said_instead(self.hypotheses)
        return texts + [instead] * missing, reasons + ["content_filter"] * missing, usage


@dataclass(frozen=True, slots=True)
class All:
    """A whole answer of some replies."""

    texts: list[str]
    reasons: list[str]
    usage: dict[str, int]
    hypotheses: Sequence[Hypothesis]


Event = str | Told | Exception


class Mail:
    """Brings news from a replier's thread to the event loop, which is woken once for all that has come."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._came: deque[tuple[Callable[[Event], object], Event]] = deque()
        self._woken = False

    def send(self, hear: Callable[[Event], object], event: Event) -> None:
        """Have the loop call `hear(event)`; any thread may do it."""
        self._came.append((hear, event))
        if not self._woken:
            self._woken = True
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._woken = False  # first: what comes from now on wakes the loop again
        while self._came:
            hear, event = self._came.popleft()
            hear(event)


class Talk:
    """One request's job and its events: pieces of text, and finally the reply or an error."""

    def __init__(self, replier: Replier, metrics: Metrics, mail: Mail) -> None:
        self._replier, self._metrics, self._mail = replier, metrics, mail
        self._events: deque[Event] = deque()
        self._some = asyncio.Event()
        self._job: Job | None = None
        self._watch: asyncio.Task[None] | None = None
        self._began = time.perf_counter()
        self._heard = False

    def begin(self, job: Job, request: Request) -> None:
        """Hand the job over; BusyError when too many wait. If the client goes away, that is the last event."""
        self._job = job  # before handing it over: it may be done at once
        try:
            self._replier.submit(job)
        except DialoGPTError:
            self._job = None
            raise
        self._watch = asyncio.ensure_future(self._wait_until_gone(request))

    def on_text(self, piece: str) -> None:
        self._mail.send(self._hear, piece)

    def on_done(self, done: Reply | Exception) -> None:
        assert self._job is not None
        if isinstance(done, Exception) and not isinstance(done, DialoGPTError) and done.__traceback__:
            _note(done)
        event = done if isinstance(done, Exception) else Told(done.hypotheses, self._job.prompt_tokens)
        self._mail.send(self._hear, event)

    async def first(self) -> str | Told:
        """The first event, before anything is answered: an error, which is raised, still has a status of its own."""
        try:
            event = await self.next()
            if isinstance(event, Exception):
                raise shown(event)
        except BaseException:
            self.leave()
            raise
        return event

    async def all(self, n: int) -> All:
        """The whole answer; raises the job's error."""
        event = await self.first()
        assert isinstance(event, Told)
        self.leave()
        return All(*event.some(n), event.hypotheses)

    def leave(self) -> None:
        """Cancel the job, unless it is done."""
        if self._job is not None:
            self._replier.cancel(self._job)
        if self._watch is not None:
            self._watch.cancel()

    async def next(self) -> Event:
        """The next event; after the first, pieces that have come meanwhile are one: a busy server has fewer to send."""
        await self._some.wait()
        event = self._events.popleft()
        while self._heard and isinstance(event, str) and self._events and isinstance(more := self._events[0], str):
            event += more
            self._events.popleft()
        if not self._events:
            self._some.clear()
        if isinstance(event, HTTPException):  # the client's end, not the job's
            return event
        seconds = time.perf_counter() - self._began
        if not self._heard:
            self._heard = True
            self._metrics.first_token.observe(seconds)
        if not isinstance(event, str):
            self._metrics.reply.observe(seconds)
            self._job = None
        return event

    def _hear(self, event: Event) -> None:
        self._events.append(event)
        self._some.set()

    async def _wait_until_gone(self, request: Request) -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        self._hear(HTTPException(GONE, "the client has gone away"))


def shown(error: Exception) -> Exception:
    """The error as a client may see it: one not meant for users shows nothing of its inside."""
    return error if isinstance(error, DialoGPTError | HTTPException) else HTTPException(500, "the reply failed")


def _note(error: Exception) -> None:
    """Log where an error came from; not its message, which may contain what was said."""
    where = "".join(traceback.format_tb(error.__traceback__))
    log.error("a reply failed: %s\n%s", type(error).__name__, where.rstrip())
