"""Where the tasks of a job run: in this process, in a pool of processes, or on a Ray cluster (ray_engine.py)."""

import logging
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Literal, Self

from dialogpt.errors import DataError, UsageError
from dialogpt.jobs import ATTEMPTS, Work, check

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing.connection import Connection

log = logging.getLogger(__name__)

Engine = Literal["local", "ray"]


class Workers:
    """`engine` local with one process (this one) or more, or a Ray cluster at `address`.

    A context manager: the processes of a pool serve all stages of a job, and end with the block.
    """

    def __init__(self, count: int = 1, engine: Engine = "local", address: str = "") -> None:
        if count < 1:
            raise UsageError(f"--workers {count} is below 1", "1 is this process alone")
        if address and engine != "ray":
            raise UsageError(f"--address {address} is for --engine ray", "add --engine ray")
        self.count, self.engine, self.address = count, engine, address
        self._pool = ExitStack()
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and self._executor is not None:
            self._executor.shutdown()  # before the leash is let go
        self._end_pool()

    def run(self, works: Sequence[Work]) -> Iterator[Work]:
        """Do the work; yields each piece when it is done, in whatever order; the first error ends it all."""
        if not works:
            return
        if self.engine == "ray":
            from dialogpt.ray_engine import on_ray

            yield from on_ray(works, self.count, self.address)
        elif self.count == 1:
            for work in works:
                check(work())
                yield work
        else:
            yield from self._in_pool(works)

    def _in_pool(self, works: Sequence[Work]) -> Iterator[Work]:
        """Processes of this machine. One that is killed takes the pool along: the unfinished pieces get a new one."""
        from concurrent.futures import as_completed
        from concurrent.futures.process import BrokenProcessPool

        left = dict(enumerate(works))
        for _ in range(ATTEMPTS):
            try:
                executor = self._executor or self._begin_pool()
                futures = {executor.submit(work): number for number, work in left.items()}
                for future in as_completed(futures):
                    check(future.result())
                    yield left.pop(futures[future])
                return
            except BrokenProcessPool:
                log.warning("a worker process was killed; doing its work again")
                self._end_pool()
        names = [work.task.name for work in left.values()]  # they are begun in this order
        raise DataError(
            f"worker processes were killed {ATTEMPTS} times, last with {len(names):,} tasks to do, the first of them "
            f"{works[0].stage}/{', '.join(names[: self.count])}",
            "was it memory? fewer --workers need less; start again and finished tasks are kept",
        )

    def _begin_pool(self) -> "ProcessPoolExecutor":
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        spawn = get_context("spawn")  # a fork would copy the locks of the progress bar's thread as they happen to be
        leash, held = spawn.Pipe(duplex=False)
        self._pool.enter_context(leash)
        self._executor = self._pool.enter_context(ProcessPoolExecutor(self.count, spawn, _stay_on, (leash,)))
        self._pool.enter_context(held)  # closed first
        return self._executor

    def _end_pool(self) -> None:
        self._executor = None
        self._pool.close()


def _stay_on(leash: "Connection") -> None:
    """In a worker: end at once when the other end of the pipe is closed, or whoever held it has been killed.

    Without it, the pool would wait for the tasks under way when one has failed, and workers would outlive a killed job
    and write into the folder of the next. Ctrl-C reaches the workers by the leash too, without a traceback of each.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        leash.poll(None)  # nothing is ever sent: it returns at the pipe's end
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
