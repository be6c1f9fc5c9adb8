"""A replier whose model decodes in a process of its own.

Of the threads of one process a single one runs Python at a time, and HTTP is Python as much as decoding is: apart, they
have a core each. Messages go through a pipe, which the event loop reads as it reads its sockets: no thread is between.
Should that process die, or hang (`watch.py`) and be killed for it, its jobs fail, and another one begins; the server
goes on.
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
END_S = 5.0  # for a process's end, when nothing is left to do for it
JOBS_S = 60.0  # for the jobs that are there at the end
POLL_S = 0.1
GONE = (EOFError, OSError)  # what reading or writing meets when the other side has died


class WorkerProcess:
    """Loads a model from the moment it is made; to be used once `ready` has returned, from the loop that `attend`s.

    A step of decoding that takes longer than `longest_step_s` (0: no limit) is taken for one that never ends.
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
        self._sending = threading.Lock()  # jobs come from the event loop, the end from anywhere
        self._counted: Counter[str] = Counter()  # by processes that have died
        self._pause_s = 0.0  # before the next one begins
        self._is_ready = self._closing = False
        self._start()

    def ready(self) -> "WorkerProcess":
        """Wait until the model is loaded; raises what was wrong with it."""
        try:
            told = self._pipe.recv()
        except GONE:
            told = DataError(f"loading the model has ended by itself ({_ended(self._process)})", "was it memory?")
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
        return "decoding begins anew" if self.alive else "decoding has ended"

    def gauges(self) -> list[Gauge]:
        def gauge(place: int) -> Gauge:
            return Gauge(*self._facts.gauges[place], lambda: self._read[place])

        return [gauge(place) for place in range(len(self._read))]

    def attend(self) -> None:
        """Have the running event loop read what the process tells, and look whether it hangs."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._pipe.fileno(), self._receive)
        self._begin_watch(self._loop)

    def submit(self, job: Job) -> None:
        """Hand over a job. That too many wait comes as its error: only the process knows."""
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
        """Take no more jobs, have those that are there completed, and end the process; by force where it takes long."""
        first, self._closing = not self._closing, True
        if not self._attended:  # nobody hears what it has to tell
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
        """Send; the loop goes on meanwhile. That the process has died is read in a moment."""
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
                    log.error("decoding does not begin anew: %s", told)
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
                log.error("decoding hangs, and is killed: %s", reason)
                self._process.kill()
            if watched.asks():
                self._send(Sign())
            loop.call_later(watch.LOOK_EVERY_S, look)

        loop.call_later(watch.LOOK_EVERY_S, look)

    def _died(self) -> None:
        """Fail its jobs, and begin anew once it is gone, unless it was told to end."""
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
        """Begin anew once the process is gone, which is killed after a while; the loop goes on meanwhile."""
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
            log.error("decoding does not begin anew: %s", error)
            self._loop.call_later(LONGEST_PAUSE_S, self._begin_anew)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C comes when this is over; what is started meanwhile holds it back, too, until it lets it come."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ended(process: "subprocess.Popen[bytes]") -> str:
    """How the process has ended, which it is about to do; one that does not is killed."""
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
    except Exception:  # it is gone; others listen, too
        log.exception("a reply's listener failed")


def _failed() -> ReplyError:
    return ReplyError("decoding has ended by itself", "try again in a moment", status=503, retry_after="1")
