"""What runs in a `WorkerProcess`'s process: a loop that decodes, and reads requests between two tokens.

Messages go both ways through a pipe (`pipe.py`).
"""

import gc
import logging
import pickle
import signal
import socket
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from dialogpt.chat.serving import WorkerConfig
from dialogpt.chat.serving.pipe import Pipe
from dialogpt.chat.serving.worker import Queue, gauges_of
from dialogpt.decoding import Reply, ReplyConfig
from dialogpt.decoding.batcher import Batcher, Job
from dialogpt.errors import DialoGPTError
from dialogpt.logs import set_up_logging
from dialogpt.session import Turn

log = logging.getLogger(__name__)

PIECES_A_SECOND = 1000  # from all replies together; a single one gets each token at once
GAUGES_EVERY_S = 0.25


class Sign(NamedTuple):
    """Asks for a sign of life, which is a Told."""


class Asked(NamedTuple):
    """A job; a number alone cancels the job of that number, None asks for the end."""

    number: int
    context: Sequence[Turn]
    config: ReplyConfig
    seed: int
    stops: Sequence[str]
    streams: bool


class Ready(NamedTuple):
    """The model is loaded; `gauges` are their names and what they are."""

    n_ctx: int
    end_text: str
    ranks: bool
    gauges: list[tuple[str, str]]


class Done(NamedTuple):
    reply: Reply
    prompt_tokens: int


class Told(NamedTuple):
    """News of jobs, by number: a piece of text, the end, or an error; and the gauges' values."""

    events: list[tuple[int, str | Done | Exception]]
    gauges: list[float]
    counts: Counter[str]


def decode(descriptor: int) -> None:
    """Load a model, and reply until the pipe asks for the end, or whoever holds its other end is gone."""
    from dialogpt.chat.serving.serve import load_batcher
    from dialogpt.model.memory import frugal_with_memory

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback among the server's last lines
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # which the server has held back until now
    with socket.socket(fileno=descriptor) as end, suppress(EOFError, ConnectionError):  # raised if the server is gone
        pipe = Pipe(end)
        config, level = pipe.recv()
        set_up_logging(level)
        frugal_with_memory()
        try:
            decoder = Decoder(load_batcher(config), config, pipe)
        except Exception as error:
            pipe.send(noted(error))
            return
        for number in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C reaches the whole group; the server says when to end
            signal.signal(number, signal.SIG_IGN)
        gc.collect()
        gc.freeze()  # what is loaded stays: collecting through all of it takes 30 ms, while replies wait
        decoder.run()


class Decoder:
    """A batcher, the jobs that wait for it, and the pipe."""

    def __init__(self, batcher: Batcher, config: WorkerConfig, pipe: Pipe) -> None:
        self._batcher, self._pipe = batcher, pipe
        self._queue = Queue(config)
        self._gauges = gauges_of(batcher, self._queue)
        self._jobs: dict[int, Job] = {}
        self._events: list[tuple[int, str | Done | Exception]] = []
        self._pieces: dict[int, str] = {}  # not sent yet
        self._told_at: dict[int, float] = {}
        self._gauged_at = 0.0
        self._ending = False

    def run(self) -> None:
        """Decode until told to end, and until all jobs are done."""
        batcher, gauges = self._batcher, [gauge[:2] for gauge in self._gauges]
        self._pipe.send(Ready(batcher.engine.n_ctx, batcher.tokenizer.end_text, bool(batcher.rankers), gauges))
        while self._listen():
            self._batcher.begin(*self._queue.take(self._batcher.rows))
            self._batcher.step()
            self._tell()

    def _listen(self) -> bool:
        """Read requests; waits when there is nothing to do. False at the end."""
        while not (self._ending and self._idle) and self._pipe.readable(wait=self._idle):
            self._take()
        return not (self._ending and self._idle)

    def _take(self) -> None:
        asked = self._pipe.recv()
        if asked is None:
            self._ending = True
        elif isinstance(asked, Sign):
            self._send([])
        elif isinstance(asked, int):
            self._cancel(asked)
        else:
            self._begin(asked)

    @property
    def _idle(self) -> bool:
        return not self._queue and not self._batcher.rows and not self._events

    def _begin(self, asked: Asked) -> None:
        number = asked.number

        def on_text(piece: str) -> None:
            self._pieces[number] = self._pieces.get(number, "") + piece

        def on_done(done: Reply | Exception) -> None:
            job = self._jobs.pop(number)
            self._forget(number)
            self._events.append((number, Done(done, job.prompt_tokens) if isinstance(done, Reply) else sendable(done)))

        job = Job(
            context=asked.context, config=asked.config, seed=asked.seed, stops=asked.stops, on_done=on_done,
            on_text=on_text if asked.streams else None,
        )  # fmt: skip
        self._jobs[number] = job
        try:
            self._queue.put(job, self._batcher.rows)
        except DialoGPTError as error:
            on_done(error)

    def _cancel(self, number: int) -> None:
        if (job := self._jobs.pop(number, None)) is not None:
            job.cancelled = True
            self._queue.remove(job)
            self._forget(number)

    def _forget(self, number: int) -> None:
        self._pieces.pop(number, None)  # the end sends it all
        self._told_at.pop(number, None)

    def _tell(self) -> None:
        """Send what is new, each reply's first piece at once."""
        now = time.monotonic()
        before = now - (self._batcher.rows - 1) / PIECES_A_SECOND
        due = [number for number in self._pieces if self._told_at.get(number, 0.0) <= before]
        self._events += [(number, self._pieces.pop(number)) for number in due]
        self._told_at.update(dict.fromkeys(due, now))
        if self._events or self._idle or now >= self._gauged_at + GAUGES_EVERY_S:
            events, self._events = self._events, []
            self._gauged_at = now
            self._send(events)

    def _send(self, events: list[tuple[int, str | Done | Exception]]) -> None:
        self._pipe.send(Told(events, [gauge.read() for gauge in self._gauges], self._batcher.counts))


def noted(error: Exception) -> Exception:
    """The error for the other side, with a note of where it came from, which is not sent otherwise."""
    if not isinstance(error, DialoGPTError):
        error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # it has arguments of its own
        other = RuntimeError(f"{type(error).__name__}: {error}")
        other.add_note("\n".join(getattr(error, "__notes__", [])))
        return other
    return error


def sendable(error: Exception) -> Exception:
    """The error for the other side; of one not meant for users, its place is logged here, not its message."""
    if isinstance(error, DialoGPTError):
        return error
    where = "".join(traceback.format_tb(error.__traceback__))
    log.error("a reply failed: %s\n%s", type(error).__name__, where.rstrip())
    return RuntimeError(type(error).__name__)
