"""The tasks of a job on a Ray cluster (extra `ray`). A task whose worker or machine dies is done again elsewhere.

Every machine needs this package installed, and must reach the job's inputs and output: a shared folder, or URLs.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from dialogpt.errors import DataError, UsageError
from dialogpt.jobs import ATTEMPTS, Work, check


def on_ray(works: Sequence[Work], count: int, address: str) -> Iterator[Work]:
    """Do the work on the cluster at `address` ("": the one that runs here, else a new one of this machine alone).

    With a `count` above 1, at most that many tasks are under way at once; else as many as the cluster has processors.
    """
    try:
        import ray
    except ImportError as error:
        raise UsageError("--engine ray needs Ray", 'pip install "dialogpt[ray]"') from error
    if not ray.is_initialized():
        try:
            ray.init(address=address or None, log_to_driver=False, logging_level="warning")
        except (ConnectionError, ValueError) as error:
            raise UsageError(f"no Ray cluster answers at {address!r}: {error}", "check --address") from error
    perform = ray.remote(_perform).options(max_retries=ATTEMPTS, num_cpus=1)
    waiting = list(reversed(works))
    limit = count if count > 1 else max(int(ray.cluster_resources().get("CPU", 1)), 1)
    running: dict[Any, Work] = {}
    try:
        while waiting or running:
            while waiting and len(running) < limit:
                work = waiting.pop()
                running[perform.remote(work)] = work
            done, _ = ray.wait(list(running))
            for reference in done:
                work = running.pop(reference)
                check(_result(ray, reference, work))
                yield work
    finally:  # nothing is left when all went well
        for reference in running:
            ray.cancel(reference)


def _result(ray: Any, reference: Any, work: Work) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        raise DataError(
            f"task {work.stage}/{work.task.name} failed on the cluster: {error}",
            "start again: finished tasks are kept",
        ) from error


def _perform(work: Work) -> object:
    return work()
