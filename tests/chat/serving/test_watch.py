"""Whether a silent process hangs: by what a system tells of it; and processes that hang, work for long, and end."""

import asyncio
import errno
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from dialogpt import Turn
from dialogpt.chat.serving import WorkerConfig, process
from dialogpt.chat.serving.process import WorkerProcess
from dialogpt.chat.serving.replier import ReplyError
from dialogpt.decoding import Reply, ReplyConfig
from dialogpt.decoding.batcher import Job

pytest.importorskip("psutil")
import psutil

from dialogpt.chat.serving import watch

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there a thread decodes")


class System:
    """What the system tells of a process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.used_s, self.state = 1.0, psutil.STATUS_SLEEPING
        monkeypatch.setattr(watch.psutil, "Process", lambda process_id: self)

    def cpu_times(self) -> SimpleNamespace:
        return SimpleNamespace(user=self.used_s / 2, system=self.used_s / 2)

    def status(self) -> str:
        return self.state


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> System:
    return System(monkeypatch)


def asked(longest_s: float = 0) -> watch.Watch:
    """A watch whose process owes a sign of life since a look."""
    watched = watch.Watch(1, longest_s)
    assert watched.look() is None
    assert watched.asks()
    return watched


def test_one_that_owes_an_answer_and_does_nothing_hangs(system: System) -> None:
    watched = asked()
    for number in range(1, watch.HUNG):
        assert watched.look() is None
        assert watched.is_still == (number >= watch.STILL)
        assert not watched.asks()  # one is owed
    assert watched.look() == "it has done nothing for 60 s"


def test_one_that_is_not_asked_may_do_nothing(system: System) -> None:
    watched = watch.Watch(1, longest_s=1)
    assert [watched.look() for _ in range(3 * watch.HUNG)] == [None] * 3 * watch.HUNG
    assert not watched.is_still


@pytest.mark.parametrize("sign", ["an answer", "a hundredth of a second", "a disk", "a debugger"])
def test_a_sign_of_life_begins_the_count_anew(system: System, sign: str) -> None:
    watched = asked()
    for _ in range(5):
        for _ in range(watch.HUNG - 1):
            assert watched.look() is None
        if sign == "an answer":
            watched.heard()
            assert not watched.is_still
            assert watched.asks()
            continue
        if sign == "a hundredth of a second":
            system.used_s += 0.01
        else:
            system.state = {"a disk": psutil.STATUS_DISK_SLEEP, "a debugger": psutil.STATUS_TRACING_STOP}[sign]
        assert watched.look() is None
        assert not watched.is_still
        system.state = psutil.STATUS_SLEEPING


def test_one_that_cannot_be_looked_at_is_left_alone(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the server has as many connections as it may open files; afterwards it is looked at again."""
    watched = asked()
    with monkeypatch.context() as full:
        full.setattr(system, "cpu_times", Mock(side_effect=OSError(errno.EMFILE, "Too many open files")))
        assert [watched.look() for _ in range(3 * watch.HUNG)] == [None] * 3 * watch.HUNG
    assert [watched.look() for _ in range(watch.HUNG - 1)] == [None] * (watch.HUNG - 1)
    assert watched.look() == "it has done nothing for 60 s"


def test_one_that_computes_for_ever(system: System) -> None:
    def silent(longest_s: float) -> float | None:
        watched = asked(longest_s)
        for number in range(1000):
            system.used_s += 5
            if (reason := watched.look()) is not None:
                assert reason == f"it has computed for {longest_s:g} s"
                return number * watch.LOOK_EVERY_S
        return None

    assert silent(0) is None
    assert silent(1800) == 1800


def test_the_system_tells_it_of_processes() -> None:
    """One that sleeps is still, also when it is stopped; one that has ended is none to be killed."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as sleeper:
        sleeper.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, sleeper.pid, os.WSTOPPED | os.WNOWAIT)
        watched = watch.Watch(sleeper.pid, 0)
        watched.look()
        assert watched.asks()
        for _ in range(watch.HUNG):
            hangs = watched.look()
        assert hangs
        sleeper.kill()
    assert watched.look() is None


STEP = """if True:
    import time
    from dialogpt.decoding.batcher import Batcher
    step = Batcher.step
    def slow(self):
        if any(turn.text == "slow" for job in self._coming for turn in job.context):
            work()
        step(self)
    Batcher.step = slow
    def work():
        WORK
    """
COMPUTES = """end = time.process_time() + SECONDS
        while time.process_time() < end: pass"""


class Asked:
    """A reply that is asked for."""

    def __init__(self, worker: WorkerProcess, text: str) -> None:
        self.done: asyncio.Future[Reply | Exception] = asyncio.get_running_loop().create_future()
        config = ReplyConfig(max_new_tokens=4, safety=False)
        worker.submit(Job(context=[Turn(text)], config=config, seed=1, on_done=self.done.set_result))

    async def result(self) -> Reply | Exception:
        return await asyncio.wait_for(self.done, 60)


@pytest.fixture
def config(tiny_checkpoint: Path) -> WorkerConfig:
    return WorkerConfig(model=str(tiny_checkpoint), device="cpu")


@contextmanager
def begun(config: WorkerConfig, longest_step_s: float = 0) -> Iterator[WorkerProcess]:
    worker = WorkerProcess(config, longest_step_s)
    try:
        yield worker.ready()
    finally:
        worker.close()
        assert not worker.alive


def run(worker: WorkerProcess, work: Any) -> None:
    async def attended() -> None:
        worker.attend()
        await work(worker)

    asyncio.run(attended())


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOOK_EVERY_S", 0.2)
    monkeypatch.setattr(watch, "HUNG", 6)


async def until_well(worker: WorkerProcess) -> None:
    async with asyncio.timeout(60):
        while worker.trouble() is not None:
            await asyncio.sleep(0.01)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("busy", [False, True])
def test_one_that_is_stopped_is_killed_and_another_begins(
    config: WorkerConfig, caplog: pytest.LogCaptureFixture, busy: bool
) -> None:
    async def work(worker: WorkerProcess) -> None:
        first = worker.process_id
        os.kill(first, signal.SIGSTOP)
        lost = [Asked(worker, "x " * 100_000) for _ in range(20 * busy)]  # more than the pipe holds
        async with asyncio.timeout(60):
            while worker.trouble() is None:
                await asyncio.sleep(0.01)
        assert worker.trouble() == "decoding does not answer"
        for each in lost:
            error = await each.result()
            assert isinstance(error, ReplyError)
            assert error.status == 503
        async with asyncio.timeout(60):
            while worker.process_id == first:
                await asyncio.sleep(0.01)
        await until_well(worker)
        assert isinstance(await Asked(worker, "hi").result(), Reply)

    with begun(config) as worker:
        run(worker, work)
    assert "decoding hangs and is killed: it has done nothing for 1 s" in caplog.text


@pytest.mark.usefixtures("quick")
def test_one_that_waits_for_ever_in_a_pass_is_killed(
    config: WorkerConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(process, "BEGIN", STEP.replace("WORK", "time.sleep(600)") + process.BEGIN)

    async def work(worker: WorkerProcess) -> None:
        assert isinstance(await Asked(worker, "slow").result(), ReplyError)
        await until_well(worker)
        assert isinstance(await Asked(worker, "hi").result(), Reply)

    with begun(config) as worker:
        run(worker, work)
    assert "it has done nothing for 1 s" in caplog.text


@pytest.mark.usefixtures("quick")
def test_one_that_computes_for_long_in_a_pass_is_left_alone(
    config: WorkerConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """For three times as long as one that does nothing."""
    step = STEP.replace("WORK", COMPUTES.replace("SECONDS", "4"))
    monkeypatch.setattr(process, "BEGIN", step + process.BEGIN)

    async def work(worker: WorkerProcess) -> None:
        first = worker.process_id
        assert isinstance(await Asked(worker, "slow").result(), Reply)
        assert worker.process_id == first

    with begun(config) as worker:
        run(worker, work)
    assert "hangs" not in caplog.text


@pytest.mark.usefixtures("quick")
def test_one_that_computes_for_longer_than_it_may_is_killed(
    config: WorkerConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    step = STEP.replace("WORK", COMPUTES.replace("SECONDS", "1e9"))
    monkeypatch.setattr(process, "BEGIN", step + process.BEGIN)

    async def work(worker: WorkerProcess) -> None:
        assert isinstance(await Asked(worker, "slow").result(), ReplyError)

    with begun(config, longest_step_s=2) as worker:
        run(worker, work)
    assert "it has computed for 2 s" in caplog.text


@pytest.mark.usefixtures("quick")
def test_one_that_has_nothing_to_do_is_left_alone(config: WorkerConfig, caplog: pytest.LogCaptureFixture) -> None:
    async def work(worker: WorkerProcess) -> None:
        assert worker._watch is not None
        first, looks = worker.process_id, 0
        look = worker._watch.look

        def counted() -> str | None:
            nonlocal looks
            looks += 1
            return look()

        worker._watch.look = counted  # type: ignore[method-assign]
        async with asyncio.timeout(60):
            while looks < 3 * watch.HUNG:
                assert worker.trouble() is None
                await asyncio.sleep(0.01)
        assert worker.process_id == first

    with begun(config) as worker:
        run(worker, work)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("when", ["loading", "idle", "busy", "nobody listens"])
def test_the_end_of_one_that_is_stopped_is_not_waited_for(
    config: WorkerConfig, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    monkeypatch.setattr(process, "END_S", 0.2)
    monkeypatch.setattr(process, "JOBS_S", 0.2)
    worker = WorkerProcess(config)
    if when != "loading":
        worker.ready()

    async def work(worker: WorkerProcess) -> None:
        os.kill(worker.process_id, signal.SIGSTOP)
        lost = [Asked(worker, "hi")] if when == "busy" else []
        await asyncio.to_thread(worker.close)
        for each in lost:
            assert isinstance(await each.result(), ReplyError)

    if when in ("idle", "busy"):
        run(worker, work)
    else:
        os.kill(worker.process_id, signal.SIGSTOP)
    worker.close()
    assert worker._process.returncode in (-signal.SIGKILL, -signal.SIGTERM)
