"""Jobs of many tasks, which survive being killed; `workers.py` says where the tasks run.

A job fills a hidden folder beside its output, `.NAME.job`, and moves the output to its place at the end:

    plan.json            the settings it was begun with and how the work is cut into tasks
    STAGE/TASK.done      what a finished task returned; written last, so a task without it is done again
    STAGE/after          a digest of the tasks before the stage: when they change, it and what follows is done again
    out/                 what becomes the output folder; written by the last stages
    finished             the manifest, when out/ is complete: what is left is to move it

A task is a function of its argument that writes files by name, whole or not at all, so it can be done twice. Killed at
any moment and started again with the same settings, a job does only what is not done yet.
"""

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from dialogpt import __version__
from dialogpt.artifact import MANIFEST, Manifest, check_folder, lock_folder, refuse_stream
from dialogpt.errors import DataError, DialoGPTError, UsageError
from dialogpt.progress import Progress
from dialogpt.storage import Storage

if TYPE_CHECKING:
    from dialogpt.workers import Workers

log = logging.getLogger(__name__)

PLAN, FINISHED, AFTER = "plan.json", "finished", "after"
ATTEMPTS = 4  # for a task whose process is killed; one that runs out of memory would be killed every time


class Task(Protocol):
    """One piece of a stage's work: a picklable value with a name of its own and its share of the work (bytes, say)."""

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...


T = TypeVar("T", bound=Task)
Run = Callable[[T], Any]
_OF_PROGRAM = ("dialogpt version", "work format")  # settings that the user has not chosen


class Job:
    """A job's folder; `fresh` tells that nothing of an earlier start is in it.

    `finished` is the manifest when an earlier start with these settings was killed after all of its work was done, and
    the output has now been moved to its place: there is nothing left to do.
    """

    def __init__(self, out: str, settings: Mapping[str, Any], *, overwrite: bool, work_format: int = 1) -> None:
        """Begin or resume the job that writes `out`; UsageError when an unfinished one has other settings.

        `work_format` is the number of the format of what the tasks leave for each other: another one is refused, too.
        """
        refuse_stream(Path(out))
        self.out, self.overwrite = Storage(out), overwrite
        self.folder = self.out.parent / f".{self.out.name}.job"
        self.settings = msgspec.json.decode(
            msgspec.json.encode({**settings, "dialogpt version": __version__, "work format": work_format}, enc_hook=str)
        )
        self.plan: dict[str, Any] = {}
        self.fresh = True
        self._past: list[str] = []  # STAGE/TASK of this start, in their order
        self._lock = lock_folder(Path(self.folder.path())) if self.folder.is_local else None
        try:
            self.finished = self._end_what_was_finished()
            if self.finished:
                self._release()
                return
            check_out(self.out, overwrite=overwrite)
            self.fresh = not self.folder.exists(PLAN)
            if not self.fresh:
                self.plan = msgspec.json.decode(self.folder.read(PLAN))
                if self.plan["settings"] != self.settings:
                    self._other_settings(overwrite)
        except BaseException:
            self._release()
            raise

    def _other_settings(self, overwrite: bool) -> None:
        if not overwrite:
            before = self.plan["settings"]
            differs = [name for name in {**before, **self.settings} if self.settings.get(name) != before.get(name)]
            if of_program := [name for name in differs if name in _OF_PROGRAM]:
                numbers = [f"{name} {before.get(name, 'unknown')}, not {self.settings[name]}" for name in of_program]
                raise UsageError(
                    f"{self.folder.url} holds an unfinished job of another version of dialogpt ({', '.join(numbers)})",
                    "finish it with that version, name another --out, or start again with --overwrite",
                )
            raise UsageError(
                f"{self.folder.url} holds an unfinished job with other settings ({', '.join(differs)})",
                "repeat its settings to finish it, name another --out, or start again with --overwrite",
            )
        self._clear()
        self.plan, self.fresh = {}, True

    def begin(self, plan: Mapping[str, Any]) -> None:
        """Write down how the work is cut; a job that goes on keeps the plan it has."""
        if self.fresh:
            self._clear()
            self.plan = {"settings": self.settings, **plan}
            self.folder.write(PLAN, msgspec.json.encode(self.plan))
        else:
            log.info("resuming the unfinished job in %s", self.folder.url)
            self.folder.remove_partials()

    def run(self, stage: str, function: Run[T], tasks: Sequence[T], workers: "Workers") -> list[Any]:
        """Do the tasks of a stage that are not done yet; returns what every task returned, in their order."""
        self._forget_what_is_stale(stage)
        self._past += [f"{stage}/{task.name}" for task in tasks]
        done = set(self.folder.names(stage))
        left = [task for task in tasks if f"{task.name}.done" not in done]
        works = [Work(self.folder.url, stage, function, task) for task in left]
        results = {task.name: self._result(stage, task) for task in tasks if f"{task.name}.done" in done}
        with Progress(stage, sum(task.size for task in tasks), "B") as progress:
            finished = reported = sum(task.size for task in tasks) - sum(task.size for task in left)
            progress.start_at(finished)

            def on_report(count: int) -> None:
                nonlocal reported
                reported += count
                progress.reach(reported)

            for work in workers.run(works, on_report):
                results[work.task.name] = self._result(stage, work.task)
                finished += work.task.size
                progress.reach(finished)
        return [results[task.name] for task in tasks]

    def _result(self, stage: str, task: Task) -> Any:
        try:
            return msgspec.json.decode(self.folder.read(f"{stage}/{task.name}.done"))
        except FileNotFoundError as error:
            raise DataError(
                f"{self.folder.url}/{stage}/{task.name}.done is missing, though its task is done",
                "all workers must share one --out: a folder that all machines can reach, or a URL (not memory://)",
            ) from error

    def _forget_what_is_stale(self, stage: str) -> None:
        """If a stage was begun after other tasks (an input was replaced), remove it and the stages after it."""
        digest = hashlib.sha256("\n".join(self._past).encode()).hexdigest().encode()
        if not self.folder.exists(f"{stage}/{AFTER}"):
            self.folder.write(f"{stage}/{AFTER}", digest)
        elif self.folder.read(f"{stage}/{AFTER}") != digest:
            log.info("%s: its input has changed, so it starts again", stage)
            ran = {name.partition("/")[0] for name in self._past}
            later = [name for name in self.folder.names() if name not in {PLAN, stage, *ran}]
            done = [f"{stage}/{name}" for name in self.folder.names(stage) if name != AFTER]
            for name in (*later, *done):  # AFTER stays: killed in between, the next start does this again
                self.folder.remove(name)
            self.folder.write(f"{stage}/{AFTER}", digest)

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest, move the output to its place and remove the job's folder."""
        check_out(self.out, overwrite=self.overwrite)  # somebody may have put something there since the start
        content = msgspec.json.format(msgspec.json.encode(manifest, enc_hook=str), indent=2) + b"\n"
        self.folder.write(f"out/{MANIFEST}", content)
        self.folder.write(FINISHED, msgspec.json.encode([self.settings, content]))
        self._place()
        self._clear()
        self._release()

    def _place(self) -> None:
        """Give the output its place. The old one goes, but not before the new one is complete."""
        if self.out.is_local and self.out.exists():
            self.out.parent.move(self.out.name, self.folder / f"old-{os.urandom(4).hex()}")
        elif not self.out.is_local:
            self.out.remove(MANIFEST)  # first, and the new one comes last: with it, an output is complete
            self.out.remove()
        self.folder.move("out", self.out, last=MANIFEST)

    def _end_what_was_finished(self) -> Manifest | None:
        """If a start was killed while moving its output, finish that; its manifest if it had these settings."""
        if not self.folder.exists(FINISHED):
            return None
        settings, content = msgspec.json.decode(self.folder.read(FINISHED), type=tuple[dict[str, Any], bytes])
        if not self.out.exists(MANIFEST) or self.out.read(MANIFEST) != content:
            if self.out.is_local or self.out.exists(MANIFEST):  # elsewhere, it may be there in part
                check_out(self.out, overwrite=self.overwrite)
            self._place()
        self._clear()
        return msgspec.json.decode(content, type=Manifest) if settings == self.settings else None

    def _clear(self) -> None:
        """Empty the folder. Killed half-way, it is either no job any more, without a plan, or still a finished one."""
        for name in sorted(self.folder.names(), key=lambda name: (name == FINISHED, name != PLAN)):
            self.folder.remove(name)

    def _release(self) -> None:
        """Unlock the folder; an empty one is removed."""
        if not self.folder.names():
            self.folder.remove()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """If the block ends with an error, say how to resume; a job without a finished task leaves nothing."""
        try:
            yield
        except BaseException:
            if any(name.endswith(".done") for stage in self.folder.names() for name in self.folder.names(stage)):
                log.warning("finished tasks are kept in %s: the same command resumes from there", self.folder.url)
            else:
                self._clear()
            self._release()
            raise


class Work(msgspec.Struct, frozen=True):
    """One task on its way to a worker: calling it does it and writes down what it returned.

    An error that the user can act upon is returned, not raised, so that a pool and Ray handle it alike.
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
        except OSError as error:
            named = f"{error.filename}: " if error.filename else ""
            return DataError, f"task {self.stage}/{self.task.name}: {named}{error.strerror or error}", "check the disk"
        return None


def check_out(out: Storage, *, overwrite: bool) -> None:
    """UsageError when a job may not write there; the rules are those of `atomic_folder`."""
    if out.is_local:
        return check_folder(out.path(), overwrite=overwrite)
    names = out.names()
    if names and not overwrite:
        raise UsageError(f"{out.url} exists and is not empty", "name another --out, or add --overwrite")
    if names and MANIFEST not in names:
        raise UsageError(f"{out.url} is not a folder that dialogpt wrote: it has no {MANIFEST}", "name another --out")
    return None


def check(error: tuple[type[DialoGPTError], str, str] | None) -> None:
    """Raise what a piece of work returned as its error."""
    if error is not None:
        kind, message, hint = error
        raise kind(message, hint)
