"""The thread that decodes: jobs come in from the server's requests, and join the batch at the next token.

A job waits while the batch has no room for its rows; beyond a number of waiting jobs, new ones are refused.
"""

import threading
from collections import Counter, deque

from dialogpt.chat.serving.replier import Gauge, ReplyError
from dialogpt.decoding.batcher import Batcher, Job


class BusyError(ReplyError):
    """As many jobs wait as may, or the server is about to end."""

    def __init__(self) -> None:
        super().__init__("the server is busy", "try again in a second", status=429, retry_after="1")


class Worker:
    """A replier that runs a batcher in a thread of its own, until it is closed."""

    def __init__(self, batcher: Batcher, *, most_rows: int, most_waiting: int) -> None:
        self.batcher = batcher
        self._most_rows, self._most_waiting = most_rows, most_waiting
        self._waiting: deque[Job] = deque()
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
    def ranks(self) -> bool:
        return bool(self.batcher.rankers)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def trouble(self) -> str | None:
        return None if self.alive else "decoding has ended"

    def gauges(self) -> list[Gauge]:
        """What the batch holds, and what it has done so far."""
        batcher = self.batcher
        return [
            Gauge("dialogpt_rows", "Rows that are decoded together", lambda: batcher.rows),
            Gauge("dialogpt_waiting", "Requests that wait for a place", lambda: self.waiting),
            Gauge("dialogpt_cache_bytes", "Memory of what conversations have read", lambda: batcher.caches.size_bytes),
            Gauge(
                "dialogpt_cache_hits_total", "Turns that went on with what had been read", lambda: batcher.caches.hits
            ),
            Gauge("dialogpt_tokens_total", "Tokens made", lambda: batcher.tokens_made),
        ]

    def submit(self, job: Job) -> None:
        """Hand over a job; BusyError when too many wait, or the server is about to end."""
        with self._changed:
            if self._closing or len(self._waiting) >= self._most_waiting:
                raise BusyError
            self._waiting.append(job)
            self._changed.notify()

    def cancel(self, job: Job) -> None:
        """Have a job leave before the next token; nothing more is heard of it."""
        with self._changed:
            job.cancelled = True
            if job in self._waiting:
                self._waiting.remove(job)

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
            while not self._waiting and not self.batcher.rows:
                if self._closing:
                    return None
                self._changed.wait()
            jobs: list[Job] = []
            rows = self.batcher.rows
            while self._waiting:
                more = self._waiting[0].config.hypotheses
                if rows and rows + more > self._most_rows:
                    break
                rows += more
                jobs.append(self._waiting.popleft())
            return jobs
