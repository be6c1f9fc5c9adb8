"""Tasks in this process and in pools of processes, whose workers fail, die, are interrupted or share no folder."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dialogpt.artifact import make_manifest
from dialogpt.errors import DataError, UsageError
from dialogpt.jobs import ATTEMPTS, Job
from dialogpt.progress import Progress
from dialogpt.workers import Workers

MANIFEST_OF = make_manifest("toys")


@pytest.mark.parametrize("workers", [1, 2])
def test_what_tasks_report_is_shown_before_they_end(
    tmp_path: Path, toys: ModuleType, flags: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []

    def advance(progress: Progress, count: int) -> None:
        progress.done += count
        shown.append(progress.done)
        if progress.done >= 50 * workers:
            (flags / "heard").touch()

    monkeypatch.setattr(Progress, "advance", advance)
    job = Job(str(tmp_path / "out"), {}, overwrite=False)
    with job.kept():
        job.begin({})
        tasks = [toys.Toy(name, job.folder.url, str(flags), size=100) for name in "ab"]
        with Workers(workers) as made:
            job.run("stage", toys.report_and_wait, tasks, made)
    assert 50 * workers in shown
    assert shown == sorted(shown)
    assert shown[-1] == 200


@pytest.mark.parametrize("workers", [1, 2])
def test_a_job_does_its_tasks_and_leaves_the_output_alone(
    tmp_path: Path, toys: ModuleType, flags: Path, workers: int
) -> None:
    out = tmp_path / "deep" / "out"
    job = Job(str(out), {}, overwrite=False)
    assert toys.run(job, toys.copy, flags, count=workers) == ["A", "B", "C", "D"]
    job.finish(MANIFEST_OF)
    assert toys.read(out) == {"a": "a", "b": "b", "c": "c", "d": "d"}
    assert os.listdir(out.parent) == ["out"]  # noqa: PTH208
    assert toys.begun(flags) == dict.fromkeys("abcd", 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failed_task_ends_the_job_and_finished_ones_are_kept(
    tmp_path: Path, toys: ModuleType, flags: Path, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    with pytest.raises(DataError, match="b is bad") as caught:
        toys.run(Job(str(out), {}, overwrite=False), toys.fail_at_b, flags, "ab" + "cdefghij", count=workers)
    assert caught.value.hint == "make it good"
    if workers == 1:
        assert toys.begun(flags) == {"a": 1}
        assert "the same command resumes" in caplog.text
    job = Job(str(out), {}, overwrite=False)
    assert toys.run(job, toys.copy, flags, count=3 - workers) == list("ABCD")
    job.finish(MANIFEST_OF)
    assert toys.begun(flags)["a"] in (1, workers)


def test_a_failed_job_without_a_finished_task_leaves_nothing(tmp_path: Path, toys: ModuleType, flags: Path) -> None:
    for function, error in ((toys.miss, DataError), (toys.fail_at_b, DataError), (toys.bug, ZeroDivisionError)):
        with pytest.raises(error):
            toys.run(Job(str(tmp_path / "out"), {}, overwrite=False), function, flags, "b")
        assert os.listdir(tmp_path) == ["flags"]  # noqa: PTH208


def test_an_error_does_not_wait_for_the_tasks_under_way(tmp_path: Path, toys: ModuleType, flags: Path) -> None:
    job = Job(str(tmp_path / "out"), {}, overwrite=False)
    started = time.monotonic()
    with pytest.raises(DataError, match="b is bad"), job.kept():  # noqa: PT012
        job.begin({})
        tasks = [toys.Toy(name, job.folder.url, str(flags), pause_s=0 if name == "b" else 60) for name in "ab"]
        with Workers(2) as workers:
            job.run("stage", toys.fail_at_b, tasks, workers)
    assert time.monotonic() - started < 30


def test_an_os_error_in_a_task_names_it(tmp_path: Path, toys: ModuleType, flags: Path) -> None:
    for workers in (1, 2):
        with pytest.raises(DataError, match=r"task stage/a: .*no such file"):
            toys.run(Job(str(tmp_path / "out"), {}, overwrite=False), toys.miss, flags, "a", count=workers)


def test_a_worker_that_is_killed_is_replaced(tmp_path: Path, toys: ModuleType, flags: Path) -> None:
    job = Job(str(tmp_path / "out"), {}, overwrite=False)
    assert toys.run(job, toys.die_once, flags, count=2) == ["A", "B", "C", "D"]
    job.finish(MANIFEST_OF)
    assert toys.read(tmp_path / "out") == {"a": "a", "b": "b", "c": "c", "d": "d"}
    assert (flags / "died").exists()


def test_a_task_that_always_dies_is_an_error(tmp_path: Path, toys: ModuleType, flags: Path) -> None:
    with pytest.raises(DataError, match=f"killed {ATTEMPTS} times.* the first of them stage/b") as caught:
        toys.run(Job(str(tmp_path / "out"), {}, overwrite=False), toys.die_at_b, flags, "ab", count=2)
    assert "memory" in caught.value.hint
    job = Job(str(tmp_path / "out"), {}, overwrite=False)
    assert toys.run(job, toys.copy, flags, "ab") == ["A", "B"]
    job.finish(MANIFEST_OF)
    assert toys.read(tmp_path / "out") == {"a": "a", "b": "b"}  # and nothing half-written


def test_workers_end_with_a_killed_job(tmp_path: Path, toys: ModuleType, flags: Path) -> None:
    """Only the job's own process is killed, as the kernel does when memory is short."""
    job = (
        "import toy_tasks as t; from dialogpt.jobs import *; from dialogpt.workers import *\n"
        f"job = Job({str(tmp_path / 'out')!r}, {{}}, overwrite=False)\njob.begin({{}})\n"
        f"tasks = [t.Toy(n, job.folder.url, {str(flags)!r}, pause_s=60) for n in 'ab']\n"
        "job.run('stage', t.copy, tasks, Workers(2))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", job], env=environment(), stderr=subprocess.PIPE)
    wait_for(lambda: len(toys.begun(flags)) == 2 and all(toys.begun(flags).values()))
    pids = [int(path.read_text()) for path in flags.glob("*.begun")]
    process.kill()
    process.communicate()
    wait_for(lambda: not any(is_alive(pid) for pid in pids))


def test_ctrl_c_ends_a_pool_without_tracebacks(tmp_path: Path, toys: ModuleType, flags: Path) -> None:
    job = (
        "import toy_tasks as t; from dialogpt.jobs import *; from dialogpt.workers import *\n"
        f"job = Job({str(tmp_path / 'out')!r}, {{}}, overwrite=False)\n"
        "try:\n"
        "    with job.kept(), Workers(3) as workers:\n"
        "        job.begin({})\n"
        f"        tasks = [t.Toy(n, job.folder.url, {str(flags)!r}, pause_s=60) for n in 'ab']\n"
        "        job.run('stage', t.copy, tasks, workers)\n"
        "except KeyboardInterrupt:\n    print('interrupted')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", job], env=environment(), stdout=-1, stderr=-1, text=True, start_new_session=True
    )
    wait_for(lambda: len(toys.begun(flags)) == 2)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (out, err) == ("interrupted\n", "")
    assert os.listdir(tmp_path) == ["flags"]  # noqa: PTH208


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def wait_for(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_workers_that_do_not_share_the_folder_are_told(
    tmp_path: Path, memory: str, toys: ModuleType, flags: Path
) -> None:
    with pytest.raises(DataError, match=r"a\.done is missing") as caught:
        toys.run(Job(f"{memory}/out", {}, overwrite=False), toys.copy, flags, "a", count=2)
    assert "memory://" in caught.value.hint


@pytest.mark.parametrize("options", [{"count": 0}, {"count": -1}, {"address": "a:1"}])
def test_workers_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Workers(**options)
