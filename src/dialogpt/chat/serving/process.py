"""A replier whose model decodes in a process of its own.

Only one thread of a process runs Python at a time, and both HTTP and decoding are Python: apart, each has a core of its
own. Messages go through a pipe, which the event loop reads like its sockets, without a thread in between. If the
process dies, or hangs (`watch.py`) and is killed, its jobs fail and another process is started; the server keeps
running.
"""

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from dialogpt.chat.serving import WorkerConfig
from dialogpt.chat.serving.decoder import Asked, Done, Ready, Sign, Told
from dialogpt.chat.serving.pipe import Pipe
from dialogpt.chat.serving.replier import Gauge, ReplyError
from dialogpt.chat.serving.worker import BusyError
from dialogpt.decoding.batcher import Job
from dialogpt.errors import DataError

if TYPE_CHECKING:
    from dialogpt.chat.serving.watch import Watch

log = logging.getLogger(__name__)

BEGIN = "from dialogpt.chat.serving.decoder import decode; decode({})"
LONGEST_PAUSE_S = 60.0
END_S = 5.0  # to wait for a process's end when it has no jobs left
JOBS_S = 60.0  # to wait for the jobs under way at the end
POLL_S = 0.1
GONE = (EOFError, OSError)  # raised by reading or writing when the other side has died


class WorkerProcess:
    """Starts loading a model when created; use it once `ready` has returned, from the loop that `attend`s.

    A step of decoding longer than `longest_step_s` (0: no limit) counts as one that never ends.
    """

    def __init__(self, config: WorkerConfig, longest_step_s: float = 0) -> None:
        self.counts: Counter[str] = Counter()
        self._config, self._longest_step_s = config, longest_step_s
        self._jobs: dict[int, Job] = {}
        self._numbers: dict[Job, int] = {}
        self._asked = 0
        self._read: list[float] = []  # the gauges
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watch: Watch | None = None
        self._sending = threading.Lock()  # jobs come from the event loop, `close` from any thread
        self._counted: Counter[str] = Counter()  # counts of processes that have died
        self._pause_s = 0.0  # before the next one begins
        self._is_ready = self._closing = False
        self._start()

    def ready(self) -> "WorkerProcess":
        """Wait until the model is loaded; raises its error."""
        try:
            told = self._pipe.recv()
        except GONE:
            told = DataError(
                f"the process that loads the model has ended unexpectedly ({_ended(self._process)})",
                "did it run out of memory? try a smaller model",
            )
        if isinstance(told, Exception):
            self.close()
            raise told
        self._meet(told)
        return self

    @property
    def n_ctx(self) -> int:
        return self._facts.n_ctx

    @property
    def end_text(self) -> str:
        return self._facts.end_text

    @property
    def ranks(self) -> bool:
        return self._facts.ranks

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def process_id(self) -> int:
        return self._process.pid

    def trouble(self) -> str | None:
        if self._is_ready and self.alive:
            return "decoding does not answer" if self._watch and self._watch.is_still else None
        return "decoding is being restarted" if self.alive else "decoding has ended"

    def gauges(self) -> list[Gauge]:
        def gauge(place: int) -> Gauge:
            return Gauge(*self._facts.gauges[place], lambda: self._read[place])

        return [gauge(place) for place in range(len(self._read))]

    def attend(self) -> None:
        """Have the running event loop read the process's messages, and check whether it hangs."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._pipe.fileno(), self._receive)
        self._begin_watch(self._loop)

    def submit(self, job: Job) -> None:
        """Hand over a job. If too many wait, that is its error: only the process knows."""
        if self._closing:
            raise BusyError
        if not self._is_ready:
            raise _failed()
        self._asked += 1
        self._jobs[self._asked] = job
        self._numbers[job] = self._asked
        streams = job.on_text is not None
        self._send(Asked(self._asked, job.context, job.config, job.seed, job.stops, streams))

    def cancel(self, job: Job) -> None:
        """Have a job leave before the next token; nothing more is heard of it."""
        if (number := self._numbers.pop(job, None)) is not None:
            del self._jobs[number]
            self._send(number)

    def close(self) -> None:
        """Take no more jobs, complete those under way, and end the process; by force if that takes too long."""
        first, self._closing = not self._closing, True
        if not self._attended:  # nobody reads its messages
            self._pipe.close()
        elif first:
            self._send(None)
        if not self._is_ready:  # it is loading, and has nothing to complete
            self._process.terminate()
        if self._jobs and self._attended:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(JOBS_S)
        _ended(self._process)

    @property
    def _attended(self) -> bool:
        return self._loop is not None and not self._loop.is_closed()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs, ExitStack() as failed:
            failed.callback(ours.close)
            begin, path = BEGIN.format(theirs.fileno()), os.pathsep.join(filter(None, sys.path))
            with _interrupts_held():  # in it, too, until it has said what they do
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-c", begin], stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
                    env={**os.environ, "PYTHONPATH": path},
                )  # fmt: skip
            failed.pop_all()
        self._pipe = Pipe(ours)
        self._send((self._config, logging.getLogger("dialogpt").getEffectiveLevel()))

    def _meet(self, facts: Ready) -> None:
        self._facts, self._read = facts, [0.0] * len(facts.gauges)
        self._is_ready, self._pause_s = True, 0.0

    def _send(self, message: object) -> None:
        """Send without blocking the loop. If the process has died, the next read shows it."""
        with self._sending, suppress(*GONE):
            if not self._attended:
                self._pipe.send(message)
            elif not self._pipe.send_soon(message):
                assert self._loop is not None
                self._loop.call_soon_threadsafe(self._send_more)

    def _send_more(self) -> None:
        """In the event loop, when there may be room for what is left."""
        assert self._loop is not None
        if self._pipe.fileno() < 0:  # the process has died meanwhile
            return
        with self._sending, suppress(*GONE):
            if self._pipe.send_more():
                self._loop.remove_writer(self._pipe.fileno())
            else:
                self._loop.add_writer(self._pipe.fileno(), self._send_more)

    def _receive(self) -> None:
        """In the event loop, when there is something to read."""
        if self._watch:
            self._watch.heard()
        try:
            for told in self._pipe.come():
                if isinstance(told, Ready):
                    self._meet(told)
                elif isinstance(told, Told):
                    self._hear(told)
                else:
                    log.error("decoding cannot be restarted: %s", told)
        except GONE:
            self._died()

    def _hear(self, told: Told) -> None:
        self._read, self.counts = told.gauges, self._counted + told.counts
        for number, event in told.events:
            job = self._jobs.get(number)
            if job is None:  # cancelled meanwhile
                continue
            if isinstance(event, str):
                assert job.on_text is not None
                _call(job.on_text, event)
                continue
            del self._jobs[number], self._numbers[job]
            if isinstance(event, Done):
                job.prompt_tokens = event.prompt_tokens
            _call(job.on_done, event.reply if isinstance(event, Done) else event)

    def _begin_watch(self, loop: asyncio.AbstractEventLoop) -> None:
        from dialogpt.chat.serving import watch

        watched = self._watch = watch.Watch(self._process.pid, self._longest_step_s)

        def look() -> None:
            if self._closing or self._watch is not watched:
                return
            if reason := watched.look():
                log.error("decoding hangs and is killed: %s", reason)
                self._process.kill()
            if watched.asks():
                self._send(Sign())
            loop.call_later(watch.LOOK_EVERY_S, look)

        loop.call_later(watch.LOOK_EVERY_S, look)

    def _died(self) -> None:
        """Fail its jobs, and start another once it is gone, unless it was told to end."""
        assert self._loop is not None
        for remove in (self._loop.remove_reader, self._loop.remove_writer):
            remove(self._pipe.fileno())
        self._pipe.close()
        self._is_ready, self._watch = False, None
        self._read, self._counted = [0.0] * len(self._read), self.counts
        jobs = list(self._numbers)
        self._jobs.clear()
        self._numbers.clear()
        for job in jobs:
            _call(job.on_done, _failed())
        self._bury(END_S)

    def _bury(self, patience_s: float) -> None:
        """Start another once the process is gone, killing it after a while, without blocking the loop."""
        if self._closing:
            return
        assert self._loop is not None
        if (code := self._process.poll()) is None:
            if patience_s <= 0:
                self._process.kill()
            self._loop.call_later(POLL_S, self._bury, patience_s - POLL_S)
            return
        log.error("decoding has ended (exit code %d)", code)
        self._loop.call_later(self._pause_s, self._begin_anew)
        self._pause_s = min(max(2 * self._pause_s, 1.0), LONGEST_PAUSE_S)

    def _begin_anew(self) -> None:
        if self._closing:
            return
        assert self._loop is not None
        try:
            self._start()
            self.attend()
        except OSError as error:
            log.error("decoding cannot be restarted: %s", error)
            self._loop.call_later(LONGEST_PAUSE_S, self._begin_anew)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C takes effect after this; a process started meanwhile also holds it back, until it unblocks it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ended(process: "subprocess.Popen[bytes]") -> str:
    """How the process has ended; it is about to, and is killed if it does not."""
    try:
        return f"exit code {process.wait(END_S)}"
    except subprocess.TimeoutExpired:
        process.kill()
    with suppress(subprocess.TimeoutExpired):  # it waits for a device, and will be gone when that answers
        process.wait(END_S)
    return "killed"


def _call(listener: Callable[[Any], object], event: object) -> None:
    try:
        listener(event)
    except Exception:  # it is gone; others still listen
        log.exception("a reply's listener failed")


def _failed() -> ReplyError:
    return ReplyError("decoding has ended unexpectedly", "try again in a moment", status=503, retry_after="1")
