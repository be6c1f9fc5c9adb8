"""Jobs of many tasks, which survive being killed: on one process, a pool of processes, or a Ray cluster.

A job fills a hidden folder beside its output, `.NAME.job`, and moves the output to its place at the end:

    plan.json            the settings it was begun with and how the work is cut into tasks
    STAGE/TASK.done      what a finished task returned; written last, so a task without it is done anew
    out/                 what becomes the output folder

A task is a function of its argument that writes files by name, whole or not at all, so it can be done twice. Killed at
any moment and started again with the same settings, a job does only what is not done yet.
"""

import logging
import secrets
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Protocol, Self, TypeVar

import msgspec

from dialogpt.artifact import MANIFEST, Manifest, check_folder
from dialogpt.errors import DataError, DialoGPTError, UsageError
from dialogpt.progress import Progress
from dialogpt.storage import Storage

log = logging.getLogger(__name__)

Engine = Literal["local", "ray"]
FINISHED = "finished"
IGNORE_CTRL_C = (signal.SIGINT, signal.SIG_IGN)  # in workers: the process that started them sees to it
ATTEMPTS = 4  # of a task whose process is killed; a task that runs out of memory would be killed every time


class Task(Protocol):
    """One piece of a stage's work: a picklable value with a name of its own and its share of the work (bytes, say)."""

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...


T = TypeVar("T", bound=Task)
Run = Callable[[T], Any]


class Job:
    """A job's folder; `fresh` tells that nothing of an earlier start is in it."""

    def __init__(self, out: str, settings: Mapping[str, Any], *, overwrite: bool) -> None:
        """Begin the job that writes `out`, or go on with it; UsageError when an unfinished one has other settings."""
        self.out = Storage(out)
        check_out(self.out, overwrite=overwrite)
        self.folder = self.out.parent / f".{self.out.name}.job"
        self.plan: dict[str, Any] = {}
        self.settings = msgspec.json.decode(msgspec.json.encode(dict(settings), enc_hook=str))
        if self.folder.exists(FINISHED) and not self.folder.exists("out"):  # killed when all but this was done
            self.folder.remove()
        self.fresh = not self.folder.exists("plan.json")
        if not self.fresh:
            self.plan = msgspec.json.decode(self.folder.read("plan.json"))
            if self.plan["settings"] != self.settings:
                self._other_settings(overwrite)

    def _other_settings(self, overwrite: bool) -> None:
        if not overwrite:
            before = self.plan["settings"]
            differs = [name for name in self.settings if self.settings[name] != before.get(name)]
            raise UsageError(
                f"{self.folder.url} holds an unfinished job with other settings ({', '.join(differs) or 'fewer'})",
                "repeat its settings to finish it, name another --out, or begin anew with --overwrite",
            )
        self.folder.remove()
        self.plan, self.fresh = {}, True

    def begin(self, plan: Mapping[str, Any]) -> None:
        """Write down how the work is cut; a job that goes on keeps the plan it has."""
        if self.fresh:
            self.folder.remove()
            self.plan = {"settings": self.settings, **plan}
            self.folder.write("plan.json", msgspec.json.encode(self.plan))
        else:
            log.info("going on with the unfinished job in %s", self.folder.url)

    def change(self, plan: Mapping[str, Any], *, forget: Iterable[str]) -> None:
        """Write down a change of the plan, and forget the stages that it makes worthless."""
        for stage in forget:
            (self.folder / stage).remove()
        self.plan |= plan
        self.folder.write("plan.json", msgspec.json.encode(self.plan))

    def run(self, stage: str, function: Run[T], tasks: Sequence[T], workers: "Workers") -> list[Any]:
        """Do the tasks of a stage that are not done yet; returns what every task returned, in their order."""
        done = set(self.folder.names(stage))
        left = [task for task in tasks if f"{task.name}.done" not in done]
        with Progress(stage, sum(task.size for task in tasks), "B") as progress:
            progress.start_at(sum(task.size for task in tasks) - sum(task.size for task in left))
            for finished in workers.run([Work(self.folder.url, stage, function, task) for task in left]):
                progress.advance(finished.task.size)
        return [msgspec.json.decode(self.folder.read(f"{stage}/{task.name}.done")) for task in tasks]

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest, move the output to its place and remove the job's folder."""
        content = msgspec.json.format(msgspec.json.encode(manifest, enc_hook=str), indent=2) + b"\n"
        self.folder.write(f"out/{MANIFEST}", content)
        self.folder.write(FINISHED, b"")
        if self.out.exists():
            self.out.parent.move(self.out.name, self.folder / f"old-{secrets.token_hex(4)}")
        self.folder.move("out", self.out)
        self.folder.remove()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """When the block ends with an error, say how to go on; a job without a single finished task leaves nothing."""
        try:
            yield
        except BaseException:
            if any(name.endswith(".done") for stage in self.folder.names() for name in self.folder.names(stage)):
                log.warning("finished tasks are kept in %s: the same command goes on from there", self.folder.url)
            else:
                self.folder.remove()
            raise


class Work(msgspec.Struct, frozen=True):
    """One task on its way to a worker: calling it does it and writes down what it returned.

    An error that the user can act upon is returned, not raised: a pool and Ray carry it home in one way.
    """

    folder: str
    stage: str
    function: Run[Any]
    task: Any

    def __call__(self) -> tuple[type[DialoGPTError], str, str] | None:
        try:
            result = self.function(self.task)
            Storage(self.folder).write(f"{self.stage}/{self.task.name}.done", msgspec.json.encode(result))
        except DialoGPTError as error:
            return type(error), error.message, error.hint
        return None


def check_out(out: Storage, *, overwrite: bool) -> None:
    """UsageError when a job may not write there; the rules are those of `atomic_folder`."""
    if out.is_local:
        check_folder(out.path(), overwrite=overwrite)
    elif out.exists(MANIFEST) and not overwrite:
        raise UsageError(f"{out.url} exists", "name another --out, or add --overwrite")


class Workers:
    """Where tasks run: `engine` local with one process (this one) or more, or a Ray cluster at `address`.

    A context manager: its processes serve all stages of a job, and end with the block.
    """

    def __init__(self, count: int = 1, engine: Engine = "local", address: str = "") -> None:
        if count < 1:
            raise UsageError(f"--workers {count} is below 1", "1 is this process alone")
        if address and engine != "ray":
            raise UsageError(f"--address {address} is for --engine ray", "add --engine ray")
        self.count, self.engine, self.address = count, engine, address
        self._pool: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            from multiprocessing import active_children

            self._pool.shutdown(wait=False, cancel_futures=True)
            for child in active_children():  # after an error or Ctrl-C: their tasks will be done anew
                child.terminate()
            self._pool = None

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
        """Processes of this machine. One that is killed takes the pool along: unfinished pieces get a new pool."""
        from concurrent.futures import ProcessPoolExecutor, as_completed
        from concurrent.futures.process import BrokenProcessPool
        from multiprocessing import get_context

        left = dict(enumerate(works))
        for _ in range(ATTEMPTS):
            if self._pool is None:  # spawn: a fork would copy the locks of the progress bar's thread as they are
                self._pool = ProcessPoolExecutor(self.count, get_context("spawn"), signal.signal, IGNORE_CTRL_C)
            futures = {self._pool.submit(work): number for number, work in left.items()}
            try:
                for future in as_completed(futures):
                    check(future.result())
                    yield left.pop(futures[future])
                return
            except BrokenProcessPool:
                log.warning("a worker process was killed; doing its work again")
                self._pool = None
        names = ", ".join(work.task.name for work in left.values())
        raise DataError(
            f"worker processes were killed {ATTEMPTS} times, at last in one of {names}",
            "was it memory? fewer --workers need less; start again and finished tasks are kept",
        )


def check(error: tuple[type[DialoGPTError], str, str] | None) -> None:
    """Raise what a piece of work returned as its error."""
    if error is not None:
        kind, message, hint = error
        raise kind(message, hint)
