"""Tasks for jobs under test, in a module that worker processes can import: they copy, die, fail, or are slow.

And whole jobs of them, with what they leave.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dialogpt.artifact import MANIFEST, Manifest, make_manifest
from dialogpt.errors import DataError
from dialogpt.jobs import Job
from dialogpt.progress import report
from dialogpt.storage import Storage
from dialogpt.workers import Workers


@dataclass(frozen=True)
class Toy:
    """Task `name` of the job in `folder`; `flags` is a folder for what tasks tell each other and the test."""

    name: str
    folder: str
    flags: str
    size: int = 1
    pause_s: float = 0.0


def copy(task: Toy) -> str:
    """Write a file named as the task, and note in `flags` that the task was begun once more."""
    with Path(task.flags, f"{task.name}.begun").open("a") as begun:
        begun.write(f"{os.getpid()}\n")
    time.sleep(task.pause_s)
    Storage(task.folder).write(f"out/{task.name}", task.name.encode())
    return task.name.upper()


def report_and_wait(task: Toy) -> str:
    """Report half of the task, and go on when that has been heard."""
    report(task.size // 2)
    until = time.monotonic() + 60
    while not Path(task.flags, "heard").exists():
        if time.monotonic() > until:
            raise DataError("nobody listens", "")
        time.sleep(0.01)
    return copy(task)


def die_once(task: Toy) -> str:
    """The first of all tasks kills its process when its file is half-written."""
    try:
        Path(task.flags, "died").touch(exist_ok=False)
    except FileExistsError:
        return copy(task)
    return die(task)


def die(task: Toy) -> str:
    with Storage(task.folder).new_file(f"out/{task.name}") as file:
        file.write(b"half")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    return ""


def die_at_b(task: Toy) -> str:
    return die(task) if task.name == "b" else copy(task)


def fail_at_b(task: Toy) -> str:
    if task.name != "b":
        return copy(task)
    raise DataError("b is bad", "make it good")


def bug(task: Toy) -> float:
    return 1 / (len(task.name) - 1)


def miss(task: Toy) -> bytes:
    return Storage(task.folder).read("no such file")


def begun(flags: Path) -> dict[str, int]:
    """How many times each task was begun."""
    return {path.stem: len(path.read_text().splitlines()) for path in sorted(flags.glob("*.begun"))}


def read(folder: Path) -> dict[str, str]:
    """What the tasks of a finished job have written, by name."""
    return {path.name: path.read_text() for path in sorted(folder.iterdir()) if path.name != MANIFEST}


def run(job: Job, function: Callable[[Toy], Any], flags: Path, names: str = "abcd", **workers: Any) -> list[Any]:
    """One stage of a job, which is not finished by it; returns what its tasks return."""
    with job.kept():
        job.begin({})
        tasks = [Toy(name, job.folder.url, str(flags)) for name in names]
        with Workers(**workers) as made:
            return job.run("stage", function, tasks, made)


def work(out: str, flags: str, *, overwrite: bool = False, names: str = "abcd", workers: int = 1) -> Manifest:
    """A whole job of one stage."""
    job = Job(out, {}, overwrite=overwrite)
    if job.finished:
        return job.finished
    with job.kept():
        job.begin({})
        with Workers(workers) as made:
            job.run("copy", copy, [Toy(name, job.folder.url, flags) for name in names], made)
        manifest = make_manifest("toys", counts=dict.fromkeys(names, 1))
        job.finish(manifest)
    return manifest


def work_and_die(out: str, flags: str, calls: int, overwrite: bool) -> None:
    """A whole job in a process that is killed before the call number `calls` that moves or removes something."""

    def counted(method: str) -> None:
        original = getattr(Storage, method)

        def call(*args: object, **options: object) -> object:
            nonlocal calls
            if calls == 0:
                os._exit(9)
            calls -= 1
            return original(*args, **options)

        setattr(Storage, method, call)

    for method in ("move", "remove", "write"):
        counted(method)
    work(out, flags, overwrite=overwrite, names="wxyz")
    sys.stdout.write("finished")
