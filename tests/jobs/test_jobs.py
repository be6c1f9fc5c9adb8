"""Jobs that are killed at every step, go on, are begun anew, and meet each other."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from dialogpt.artifact import MANIFEST, make_manifest
from dialogpt.errors import DataError, UsageError
from dialogpt.jobs import FINISHED, Job
from dialogpt.storage import Storage
from dialogpt.workers import Workers

MANIFEST_OF = make_manifest("toys")


@pytest.mark.parametrize("old", [False, True])
def test_killed_at_any_step_a_job_finishes_and_no_output_is_lost(
    tmp_path: Path, toys: ModuleType, flags: Path, old: bool
) -> None:
    """It is forked and killed before its first, second, ... write, move or removal."""
    out = tmp_path / "out"
    expected = {name: name for name in "wxyz"}
    before = {name: name for name in "abcd"} if old else {}
    for calls in range(100):
        for path in flags.iterdir():
            path.unlink()
        if old:
            toys.work(str(out), str(flags), overwrite=True)
        ended = fork(lambda calls=calls: toys.work_and_die(str(out), str(flags), calls, old))
        whole = toys.read(out) if (out / MANIFEST).exists() else None
        kept = tmp_path / ".out.job"
        assert whole in (before, expected) if old and whole is not None else whole in (None, expected)
        if old and whole is None:  # between two moves
            assert toys.read(kept / "out") == expected
            assert (kept / FINISHED).exists()
        done = {path: path.stat() for path in kept.glob("copy/*.done")}
        first = toys.begun(flags)
        if ended == 9 and kept.exists() and not any(kept.iterdir()) and whole == expected:
            kept.rmdir()  # all but this was done, and nothing is left to tell it
        elif ended == 9:
            manifest = toys.work(str(out), str(flags), overwrite=old, names="wxyz")
            assert manifest.counts == dict.fromkeys("wxyz", 1)
            assert all(toys.begun(flags)[path.stem] == first[path.stem] == 1 for path in done)  # not done again
        assert toys.read(out) == expected
        assert sorted(path.name for path in tmp_path.iterdir()) == ["flags", "out"]
        if ended == 0:
            break
        if not old:
            Storage(out).remove()
    assert 12 < calls < 50


def fork(function: Callable[[], None]) -> int:
    """Call it in a fork of this process; returns the exit code."""
    pid = os.fork()
    if pid == 0:
        try:
            function()
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, 9)
    return code


class Killed(BaseException):
    """Stands for the end of the process, where the file system is this process's memory."""


@pytest.mark.parametrize("old", [False, True])
def test_killed_while_an_output_is_copied_to_its_url(
    memory: str, toys: ModuleType, flags: Path, old: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Storage(f"{memory}/out")
    expected = sorted([*"wxyz", MANIFEST])
    for calls in range(100):
        if old:
            toys.work(out.url, str(flags), overwrite=True, names="abcdefgh")
        left = [calls]
        with monkeypatch.context() as patch:
            for method in ("cp_file", "_rm"):
                patch.setattr(MemoryFileSystem, method, dying(MemoryFileSystem, method, left))
            patch.setattr(Job, "_release", lambda self: None)
            patch.setattr(Job, "kept", lambda self: nullcontext())
            try:
                toys.work(out.url, str(flags), overwrite=old, names="wxyz")
            except Killed:
                ended = False
            else:
                ended = True
        job = Storage(f"{memory}/.out.job")
        if out.exists(MANIFEST):
            assert out.names() == expected or (old and "a" in out.names())
        elif old:
            assert job.names("out") == expected
        if not ended:
            toys.work(out.url, str(flags), overwrite=old, names="wxyz")
        assert out.names() == expected
        if ended:
            break
        assert out.parent.names() == ["out"]
        if not old:
            out.remove()
    assert 12 < calls < 99


def dying(kind: type, method: str, left: list[int]) -> Any:
    original = getattr(kind, method)

    def call(*args: Any, **options: Any) -> Any:
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        return original(*args, **options)

    return call


def test_other_settings(tmp_path: Path, toys: ModuleType, flags: Path) -> None:
    out, settings = str(tmp_path / "out"), {"max_turns": 3, "title": True, "path": Path("x")}
    with pytest.raises(DataError):
        toys.run(Job(out, settings, overwrite=False), toys.fail_at_b, flags)
    with pytest.raises(UsageError, match=r"other settings \(title, more\)") as caught:
        Job(out, {**settings, "title": False, "more": 1}, overwrite=False)
    assert "--overwrite" in caught.value.hint
    with pytest.raises(UsageError, match=r"other settings \(title\)"):
        Job(out, {"max_turns": 3, "path": Path("x")}, overwrite=False)
    same = Job(out, settings, overwrite=True)
    assert not same.fresh
    same._release()
    job = Job(out, {}, overwrite=True)
    assert job.fresh
    assert toys.run(job, toys.copy, flags) == ["A", "B", "C", "D"]
    assert toys.begun(flags) == {"a": 2, "b": 1, "c": 1, "d": 1}
    job.finish(MANIFEST_OF)


def test_the_plan_is_that_of_the_first_start(tmp_path: Path, toys: ModuleType, flags: Path) -> None:
    out = str(tmp_path / "out")
    job = Job(out, {}, overwrite=False)
    with pytest.raises(DataError), job.kept():  # noqa: PT012
        job.begin({"partitions": 3})
        job.run("stage", toys.fail_at_b, [toys.Toy(name, job.folder.url, str(flags)) for name in "ab"], Workers())
    job = Job(out, {}, overwrite=False)
    job.begin({"partitions": 4})
    assert job.plan["partitions"] == 3
    job.finish(MANIFEST_OF)


def test_an_input_that_changes_makes_later_stages_begin_anew(
    tmp_path: Path, toys: ModuleType, flags: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = str(tmp_path / "out")

    def start(first: str, last: Any) -> Job:
        job = Job(out, {}, overwrite=False)
        with job.kept():
            job.begin({})
            for stage, names in (("read", first), ("plant", "pq"), ("write", "bw")):
                tasks = [toys.Toy(name, job.folder.url, str(flags)) for name in names]
                job.run(stage, last if stage == "write" else toys.copy, tasks, Workers())
        return job

    with pytest.raises(DataError):
        start("xy", toys.fail_at_b)
    with pytest.raises(DataError):
        start("xy", toys.fail_at_b)  # nothing has changed
    assert toys.begun(flags) == {"p": 1, "q": 1, "x": 1, "y": 1}
    with monkeypatch.context() as patch:  # killed when the first of what is stale is gone
        patch.setattr(Storage, "remove", dying(Storage, "remove", [2]))
        with pytest.raises(Killed):
            start("xz", toys.fail_at_b)
    with pytest.raises(DataError):
        start("xz", toys.fail_at_b)
    assert toys.begun(flags) == {"p": 2, "q": 2, "x": 1, "y": 1, "z": 1}
    assert (tmp_path / ".out.job" / "out").exists()
    start("xz", toys.copy).finish(MANIFEST_OF)
    assert toys.begun(flags) == {"b": 1, "p": 2, "q": 2, "w": 1, "x": 1, "y": 1, "z": 1}
    assert "y" not in toys.read(tmp_path / "out")


def test_two_starts_do_not_meet(tmp_path: Path, toys: ModuleType, flags: Path) -> None:
    out = str(tmp_path / "out")
    job = Job(out, {}, overwrite=False)
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="another process is working"):
            Job(out, {"other": 1}, overwrite=overwrite)
    toys.run(job, toys.copy, flags)
    with pytest.raises(UsageError, match="another process is working"):
        Job(out, {}, overwrite=False)
    job.finish(MANIFEST_OF)
    with pytest.raises(UsageError, match="not empty"):
        Job(out, {}, overwrite=False)
    assert sorted(os.listdir(tmp_path)) == ["flags", "out"]  # noqa: PTH208


@pytest.mark.parametrize("where", ["disk", "file", "memory"])
def test_what_is_not_ours_is_spared(where: str, tmp_path: Path, memory: str, toys: ModuleType, flags: Path) -> None:
    url = {"disk": str(tmp_path), "file": f"file://{tmp_path}", "memory": memory}[where]
    home = Storage(f"{url}/home")
    home.write("letter", b"dear")
    with pytest.raises(UsageError, match="not empty"):
        Job(home.url, {}, overwrite=False)
    with pytest.raises(UsageError, match="not a folder that dialogpt wrote"):
        Job(home.url, {}, overwrite=True)
    for overwrite in (False, True):  # it comes while the job is at work
        out = Storage(f"{url}/out{overwrite}")
        job = Job(out.url, {}, overwrite=overwrite)
        toys.run(job, toys.copy, flags)
        out.write("letter", b"dear")
        with pytest.raises(UsageError):
            job.finish(MANIFEST_OF)
        job._release()
        assert out.names() == ["letter"]
        out.remove()
        toys.work(out.url, str(flags))
        assert out.names() == ["a", "b", "c", "d", MANIFEST]
    assert home.read("letter") == b"dear"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises((DataError, UsageError), match="file"):
        Job(str(tmp_path / "file" / "out"), {}, overwrite=False)
    with pytest.raises(UsageError, match="is a file"):
        Job(str(tmp_path / "file"), {}, overwrite=True)
    with pytest.raises(DataError, match="cannot be written"):
        Job(str(tmp_path / ("x" * 255)), {}, overwrite=False)
    with pytest.raises((DataError, UsageError)):
        Job("/", {}, overwrite=False)
    assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208
