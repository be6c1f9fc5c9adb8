"""The thread that decodes: jobs come in from the server's requests, and join the batch at the next token.

A job waits while the batch has no room for its rows; beyond a number of waiting jobs, new ones are refused.
"""

import logging
import threading
from collections import deque

from dialogpt.decoding.batcher import Batcher, Job
from dialogpt.errors import DialoGPTError

log = logging.getLogger(__name__)


class BusyError(DialoGPTError):
    """As many jobs wait as may."""


class Worker:
    """Runs a batcher in a thread of its own, until it is closed."""

    def __init__(self, batcher: Batcher, *, most_rows: int, most_waiting: int) -> None:
        self.batcher = batcher
        self._most_rows, self._most_waiting = most_rows, most_waiting
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="decoding")
        self._thread.start()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def submit(self, job: Job) -> None:
        """Hand over a job; BusyError when too many wait, or the server is about to end."""
        with self._changed:
            if self._closing or len(self._waiting) >= self._most_waiting:
                raise BusyError("the server is busy", "try again in a second")
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
            for job in jobs:
                self.batcher.begin(job)
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
