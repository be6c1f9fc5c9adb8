"""Decoding here: jobs come in from requests, and join the batch at the next token.

A job waits while the batch has no room for its rows; beyond a number of waiting jobs, new ones are refused. `Worker`
decodes in a thread of this process, `process.py` in another process.
"""

import threading
from collections import Counter, deque
from collections.abc import Iterable

from dialogpt.chat.serving import WorkerConfig
from dialogpt.chat.serving.replier import Gauge, ReplyError
from dialogpt.decoding.batcher import Batcher, Job


class BusyError(ReplyError):
    """As many jobs wait as may, or the server is about to end."""

    def __init__(self) -> None:
        super().__init__("the server is busy", "try again in a second", status=429, retry_after="1")


class Queue:
    """The jobs that wait for a place among a batch's rows; for one thread at a time."""

    def __init__(self, config: WorkerConfig) -> None:
        self._most_rows, self._most_waiting = config.rows, config.queue
        self._jobs: deque[Job] = deque()

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, job: Job, rows: int) -> None:
        """Have a job wait, while there are that many rows; BusyError when too many do without a place among them."""
        if waiting([*self._jobs, job], rows, self._most_rows) > self._most_waiting:
            raise BusyError
        self._jobs.append(job)

    def remove(self, job: Job) -> None:
        """Remove a job, if it waits."""
        if job in self._jobs:
            self._jobs.remove(job)

    def take(self, rows: int) -> list[Job]:
        """The jobs that join that many rows now; a job on its own may have more rows than the batch should."""
        return [self._jobs.popleft() for _ in range(len(self._jobs) - waiting(self._jobs, rows, self._most_rows))]


def waiting(jobs: Iterable[Job], rows: int, most_rows: int) -> int:
    """How many of the jobs, first come, first served, find no place beside that many rows."""
    left = 0
    for job in jobs:
        more = job.config.hypotheses
        left += bool(left or (rows and rows + more > most_rows))
        rows += more
    return left


def most_prompts(config: WorkerConfig, hypotheses: int) -> int:
    """How many jobs of that many hypotheses there can be at once: those that have places, and those that wait."""
    return max(config.rows // hypotheses, 1) + config.queue


def gauges_of(batcher: Batcher, queue: Queue) -> list[Gauge]:
    """What the batch holds, and what it has done so far."""
    caches = batcher.caches
    return [
        Gauge("dialogpt_rows", "Rows decoded together", lambda: batcher.rows),
        Gauge("dialogpt_waiting", "Requests waiting for a place", lambda: len(queue)),
        Gauge("dialogpt_cache_bytes", "Memory used by the caches of conversations", lambda: caches.size_bytes),
        Gauge("dialogpt_cache_hits_total", "Turns that continued from a cache", lambda: caches.hits),
        Gauge("dialogpt_tokens_total", "Tokens made", lambda: batcher.tokens_made),
    ]


class Worker:
    """A replier that runs a batcher in a thread of its own, until it is closed."""

    def __init__(self, batcher: Batcher, config: WorkerConfig) -> None:
        self.batcher = batcher
        self._queue = Queue(config)
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="decoding")
        self._thread.start()

    @property
    def counts(self) -> Counter[str]:
        return self.batcher.counts

    @property
    def n_ctx(self) -> int:
        return self.batcher.engine.n_ctx

    @property
    def end_text(self) -> str:
        return self.batcher.tokenizer.end_text

    @property
    def ranks(self) -> bool:
        return bool(self.batcher.rankers)

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def trouble(self) -> str | None:
        return None if self.alive else "decoding has ended"

    def gauges(self) -> list[Gauge]:
        return gauges_of(self.batcher, self._queue)

    def attend(self) -> None:
        """Its thread needs no event loop."""

    def submit(self, job: Job) -> None:
        """Hand over a job; BusyError when too many wait, or the server is about to end."""
        with self._changed:
            if self._closing:
                raise BusyError
            self._queue.put(job, self.batcher.rows)
            self._changed.notify()

    def cancel(self, job: Job) -> None:
        """Have a job leave before the next token; nothing more is heard of it."""
        with self._changed:
            job.cancelled = True
            self._queue.remove(job)

    def close(self) -> None:
        """Take no more jobs, complete those that are there, and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while (jobs := self._next()) is not None:
            self.batcher.begin(*jobs)
            self.batcher.step()

    def _next(self) -> list[Job] | None:
        """The jobs that join now; waits while there is nothing to do, None at the end."""
        with self._changed:
            while not self._queue and not self.batcher.rows:
                if self._closing:
                    return None
                self._changed.wait()
            return self._queue.take(self.batcher.rows)
