"""The tasks of a job on a Ray cluster (extra `ray`). A task whose worker or machine dies is done again elsewhere.

Every machine needs this package installed, and must reach the job's inputs and output: a shared folder, or URLs.
"""

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dialogpt.errors import DataError, UsageError
from dialogpt.jobs import ATTEMPTS, Work, check

CONNECT_TIMEOUT_S = 10.0


def on_ray(works: Sequence[Work], count: int, address: str) -> Iterator[Work]:
    """Do the work on the cluster at `address` ("": the one that runs here, else a new one of this machine alone).

    With a `count` above 1, at most that many tasks are under way at once; else as many as the cluster has processors.
    """
    with _connected(address):
        import ray

        perform = ray.remote(_perform).options(max_retries=ATTEMPTS - 1, num_cpus=1)
        waiting = list(reversed(works))
        limit = count if count > 1 else len(works)  # all of them: a cluster that grows on demand must see the demand
        running: dict[Any, Work] = {}
        try:
            while waiting or running:
                while waiting and len(running) < limit:
                    work = waiting.pop()
                    running[perform.remote(work)] = work
                done, _ = ray.wait(list(running))
                for reference in done:
                    work = running.pop(reference)
                    try:
                        check(ray.get(reference))
                    except ray.exceptions.RayTaskError:  # an error in our own code, which is not Ray's
                        raise
                    except ray.exceptions.RayError as error:
                        raise DataError(
                            f"task {work.stage}/{work.task.name} failed on the cluster {ATTEMPTS} times: "
                            f"{str(error).splitlines()[0]}",
                            "did it run out of memory? run the command again: finished tasks are kept",
                        ) from error
                    yield work
        finally:
            for reference in running:
                ray.cancel(reference, force=True)


@contextmanager
def _connected(address: str) -> Iterator[None]:
    """Connect to the cluster, unless this process already is, and leave things as they were."""
    # an endless number of attempts is Ray's rule for a task that runs out of memory
    os.environ.setdefault("RAY_task_oom_retries", str(ATTEMPTS - 1))
    try:
        import ray
    except ImportError as error:
        raise UsageError("--engine ray needs Ray", 'pip install "dialogpt[ray]"') from error
    if ray.is_initialized():
        yield
        return
    try:
        _knock(address)
        ray.init(address=address or None, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:  # a ConnectionError is an OSError
        raise UsageError(
            f"no Ray cluster answers at --address {address!r}: {error}" if address else f"Ray does not start: {error}",
            "check --address, HOST:PORT" if address else "name a cluster with --address, or use --engine local",
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """OSError when nobody listens at HOST:PORT; Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S).close()


def _perform(work: Work) -> object:
    return work()
