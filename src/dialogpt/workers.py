"""Where the tasks of a job run: in this process, in a pool of processes, or on a Ray cluster (ray_engine.py)."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Literal, Self

from dialogpt.errors import DataError, UsageError
from dialogpt.jobs import ATTEMPTS, Work, check
from dialogpt.progress import listen

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor
    from ctypes import Array, c_int64
    from multiprocessing.connection import Connection
    from multiprocessing.sharedctypes import Synchronized

log = logging.getLogger(__name__)

Engine = Literal["local", "ray"]
OnReport = Callable[[int], object]
LISTEN_EVERY_S = 0.5  # to the processes of a pool


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
        self._pool: tuple[ProcessPoolExecutor, Array[c_int64]] | None = None  # and what each process has reported
        self._ends = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and self._pool is not None:
            self._pool[0].shutdown()  # before the leash is released
        self._end_pool()

    def run(self, works: Sequence[Work], on_report: OnReport = lambda _: None) -> Iterator[Work]:
        """Do the work; yields each piece when it is done, in whatever order; the first error ends it all.

        `on_report` is called now and then with how much more the tasks have reported (progress.py); a cluster's do not.
        """
        if not works:
            return
        if self.engine == "ray":
            from dialogpt.ray_engine import on_ray

            yield from on_ray(works, self.count, self.address)
        elif self.count == 1:
            yield from self._in_process(works, on_report)
        else:
            yield from self._in_pool(works, on_report)

    def _in_process(self, works: Sequence[Work], on_report: OnReport) -> Iterator[Work]:
        listen(on_report)
        try:
            for work in works:
                check(work())
                yield work
        finally:
            listen(None)

    def _in_pool(self, works: Sequence[Work], on_report: OnReport) -> Iterator[Work]:
        """Processes of this machine. One that is killed breaks the pool: the unfinished pieces get a new one."""
        from concurrent.futures import FIRST_COMPLETED, wait
        from concurrent.futures.process import BrokenProcessPool

        left = dict(enumerate(works))
        for _ in range(ATTEMPTS):
            try:
                executor, reports = self._pool or self._begin_pool()
                heard = sum(reports)
                futures = {executor.submit(work): number for number, work in left.items()}
                while futures:
                    done, _ = wait(futures, LISTEN_EVERY_S, FIRST_COMPLETED)
                    reported = sum(reports)
                    on_report(reported - heard)
                    heard = reported
                    for future in done:
                        check(future.result())
                        yield left.pop(futures.pop(future))
                return
            except BrokenProcessPool:
                log.warning("a worker process was killed; doing its work again")
                self._end_pool()
        names = [work.task.name for work in left.values()]  # they are started in this order
        raise DataError(
            f"worker processes were killed {ATTEMPTS} times, last with {len(names):,} tasks to do, the first of them "
            f"{works[0].stage}/{', '.join(names[: self.count])}",
            "did they run out of memory? run the command again with fewer --workers: finished tasks are kept",
        )

    def _begin_pool(self) -> "tuple[ProcessPoolExecutor, Array[c_int64]]":
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        spawn = get_context("spawn")  # a fork would copy the locks of the progress bar's thread as they happen to be
        leash, held = spawn.Pipe(duplex=False)
        reports = spawn.RawArray("q", self.count)  # one per process, without a lock, which a killed process would keep
        given = leash, spawn.Value("i", 0), reports
        self._ends.enter_context(leash)
        executor = self._ends.enter_context(ProcessPoolExecutor(self.count, spawn, _begin_worker, given))
        self._ends.enter_context(held)  # closed first
        self._pool = executor, reports
        return self._pool

    def _end_pool(self) -> None:
        self._pool = None
        self._ends.close()


def _begin_worker(leash: "Connection", begun: "Synchronized[int]", reports: "Array[c_int64]") -> None:
    """In a worker: stay on while the leash is held, and add what tasks report to its own of the `reports`."""
    _stay_on(leash)
    with begun.get_lock():
        number = begun.value
        begun.value += 1

    def add(count: int) -> None:
        reports[number] += count

    listen(add)


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
