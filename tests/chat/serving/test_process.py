"""A model in a process of its own: the replies of one in a thread, and what becomes of jobs when it dies."""

import asyncio
import errno
import os
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dialogpt import Turn
from dialogpt.chat.serving import WorkerConfig, process
from dialogpt.chat.serving.process import WorkerProcess
from dialogpt.chat.serving.replier import ReplyError
from dialogpt.chat.serving.serve import load_batcher
from dialogpt.chat.serving.worker import Worker
from dialogpt.decoding import Reply, ReplyConfig
from dialogpt.decoding.batcher import Job

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there a thread decodes")

SAID = ["does money buy happiness?", "صباح الخير", "are you sure?", "😀👍🏽"]


class Listener:
    """A job, and what becomes of it."""

    def __init__(self, context: Sequence[str], seed: int = 0, *, streams: bool = True, **settings: Any) -> None:
        self.pieces: list[str] = []
        self.done: list[Reply | Exception] = []
        self.job = Job(
            context=[Turn(text) for text in context], seed=seed, on_done=self.done.append,
            on_text=self.pieces.append if streams else None,
            config=ReplyConfig(**{"max_new_tokens": 12, "safety": False, **settings}),
        )  # fmt: skip

    @property
    def reply(self) -> Reply:
        (done,) = self.done
        assert isinstance(done, Reply), done
        return done

    async def until_done(self) -> "Listener":
        await until(lambda: bool(self.done))
        return self


async def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


@pytest.fixture
def config(tiny_checkpoint: Path) -> WorkerConfig:
    return WorkerConfig(model=str(tiny_checkpoint), device="cpu")


@contextmanager
def begun(config: WorkerConfig) -> Iterator[WorkerProcess]:
    worker = WorkerProcess(config)
    try:
        yield worker.ready()
    finally:
        worker.close()
        assert not worker.alive


Work = Callable[[WorkerProcess], Coroutine[Any, Any, None]]
Run = Callable[[WorkerConfig, Work], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Has some work done by a worker, in a loop of asyncio, and of uvloop, which makes sockets that do not wait."""
    loops = pytest.importorskip(request.param, reason=f"no {request.param}")

    def run_work(config: WorkerConfig, work: Work) -> None:
        with begun(config) as worker, asyncio.Runner(loop_factory=loops.new_event_loop) as runner:

            async def attended() -> None:
                worker.attend()
                await work(worker)

            runner.run(attended())

    return run_work


def test_replies_are_those_of_a_thread(run: Run, config: WorkerConfig) -> None:
    listeners = [Listener(SAID[: 1 + i % 4], i, num_hypotheses=1 + i % 3) for i in range(12)]

    async def work(worker: WorkerProcess) -> None:
        for listener in listeners:
            worker.submit(listener.job)
        for listener in listeners:
            await listener.until_done()
        assert worker.n_ctx == here.n_ctx
        assert [gauge[:2] for gauge in worker.gauges()] == [gauge[:2] for gauge in here.gauges()]
        told = {gauge.name: gauge.read() for gauge in worker.gauges()}
        tokens = sum(hypothesis.size for each in listeners for hypothesis in each.reply.hypotheses)
        assert (told["dialogpt_rows"], told["dialogpt_tokens_total"]) == (0, tokens)
        assert told["dialogpt_cache_bytes"] > 0

    here = Worker(load_batcher(config), config)
    try:
        run(config, work)
        for listener in listeners:
            again = Listener([turn.text for turn in listener.job.context])
            again.job.config, again.job.seed = listener.job.config, listener.job.seed
            here.submit(again.job)
            asyncio.run(again.until_done())
            assert again.reply == listener.reply
            assert again.job.prompt_tokens == listener.job.prompt_tokens > 0
            assert listener.reply.text.startswith("".join(listener.pieces))
            assert bool(listener.pieces) == (len(listener.reply.hypotheses) == 1 and bool(listener.reply.text))
    finally:
        here.close()


def test_what_guards_count_comes_along_and_is_not_forgotten(run: Run, tmp_path: Path, tiny_checkpoint: Path) -> None:
    """Counts only grow, whichever process has counted."""
    config = WorkerConfig(model=str(tiny_checkpoint), device="cpu")

    async def told(worker: WorkerProcess) -> str:
        listener = Listener(["I want to kill myself"], safety=True)
        worker.submit(listener.job)
        await listener.until_done()
        return listener.reply.text

    async def work(worker: WorkerProcess) -> None:
        assert worker.counts == {}
        text = await told(worker)
        counts = worker.counts
        assert counts["replaced by a fixed line"] == 1
        os.kill(worker.process_id, signal.SIGKILL)
        await until(lambda: worker.trouble() is not None)
        await until(lambda: worker.trouble() is None)
        assert worker.counts == counts
        assert await told(worker) == text
        assert worker.counts == counts + counts

    run(config, work)


def test_more_than_may_wait_are_told_so(run: Run, tiny_checkpoint: Path) -> None:
    async def work(worker: WorkerProcess) -> None:
        listeners = [Listener(["hi"], i, min_new_tokens=12) for i in range(30)]
        for listener in listeners:
            worker.submit(listener.job)
        for listener in listeners:
            await listener.until_done()
        errors = [listener.done[0] for listener in listeners if not isinstance(listener.done[0], Reply)]
        assert 0 < len(errors) < 29
        assert {(type(error), getattr(error, "status", 0)) for error in errors} == {(process.BusyError, 429)}

    run(WorkerConfig(model=str(tiny_checkpoint), device="cpu", rows=1, queue=2), work)


def test_of_a_cancelled_job_nothing_more_is_heard(run: Run, config: WorkerConfig) -> None:
    async def work(worker: WorkerProcess) -> None:
        gone, stays = (Listener(["hi"], i, max_new_tokens=24, min_new_tokens=24) for i in range(2))
        worker.submit(gone.job)
        worker.submit(stays.job)
        worker.cancel(gone.job)
        worker.cancel(gone.job)
        await stays.until_done()
        assert not gone.done
        assert stays.reply.text
        rows = worker.gauges()[0]
        await until(lambda: rows.read() == 0)

    run(config, work)


def test_when_it_is_killed_its_jobs_fail_and_another_begins(
    run: Run, config: WorkerConfig, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(worker: WorkerProcess) -> None:
        lost = Listener(["hi"], max_new_tokens=32, min_new_tokens=32, num_hypotheses=16)
        worker.submit(lost.job)
        first = worker.process_id
        os.kill(first, signal.SIGKILL)
        await lost.until_done()
        error = lost.done[0]
        assert isinstance(error, ReplyError)
        assert error.status == 503
        assert worker.trouble() is not None
        assert [gauge.read() for gauge in worker.gauges()] == [0] * 5
        with pytest.raises(ReplyError) as caught:
            worker.submit(Listener(["hi"]).job)
        assert caught.value.status == 503
        await until(lambda: worker.trouble() == "decoding is being restarted")
        await until(lambda: worker.trouble() is None)
        assert worker.process_id != first
        later = Listener(["hi"])
        worker.submit(later.job)
        await later.until_done()
        assert later.reply.text

    run(config, work)
    assert "decoding has ended (exit code -9)" in caplog.text


def test_one_that_cannot_begin_anew_tries_again(
    run: Run, config: WorkerConfig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(worker: WorkerProcess) -> None:
        begin = process.BEGIN
        monkeypatch.setattr(process, "BEGIN", "raise SystemExit({} and 7)")
        os.kill(worker.process_id, signal.SIGKILL)
        await until(lambda: "exit code 7" in caplog.text)
        assert worker.trouble() == "decoding has ended"
        monkeypatch.setattr(process, "BEGIN", begin)
        await until(lambda: worker.trouble() is None)

    run(config, work)


def test_one_for_which_the_system_has_nothing_left(
    run: Run, config: WorkerConfig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*given: Any) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    async def work(worker: WorkerProcess) -> None:
        lost = Listener(["hi"], max_new_tokens=32, min_new_tokens=32, num_hypotheses=16)
        worker.submit(lost.job)
        monkeypatch.setattr(process, "LONGEST_PAUSE_S", 0.05)
        with monkeypatch.context() as without:
            without.setattr(socket, "socketpair", none)
            os.kill(worker.process_id, signal.SIGKILL)
            await until(lambda: "cannot be restarted: [Errno 24] Too many open files" in caplog.text)
        assert isinstance(lost.done[0], ReplyError)
        await until(lambda: worker.trouble() is None)

    run(config, work)


def test_what_is_under_way_is_not_lost_when_it_dies_at_the_end(run: Run, config: WorkerConfig) -> None:
    async def work(worker: WorkerProcess) -> None:
        listeners = [Listener(["hi"], i, min_new_tokens=32, max_new_tokens=32, num_hypotheses=16) for i in range(8)]
        for listener in listeners:
            worker.submit(listener.job)
        closing = asyncio.create_task(asyncio.to_thread(worker.close))
        os.kill(worker.process_id, signal.SIGKILL)
        await closing
        for listener in listeners:
            assert len((await listener.until_done()).done) == 1

    run(config, work)


def test_a_listener_that_fails_takes_no_other_along(
    run: Run, config: WorkerConfig, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(worker: WorkerProcess) -> None:
        gone, stays = Listener(["hi"]), Listener(["hi"])
        gone.job.on_text = gone.job.on_done = lambda event: 1 / 0
        for listener in (gone, stays):
            worker.submit(listener.job)
        assert (await stays.until_done()).reply.text

    run(config, work)
    assert "a reply's listener failed" in caplog.text


def test_long_messages_both_ways(run: Run, config: WorkerConfig) -> None:
    """A Told of 16 replies with 16 long hypotheses each, and contexts that no socket holds."""

    async def work(worker: WorkerProcess) -> None:
        settings = {"max_new_tokens": 32, "min_new_tokens": 32, "temperature": 2.0, "top_k": 0, "top_p": 1.0}
        listeners = [Listener(["x " * 150_000], i, num_hypotheses=16, **settings) for i in range(16)]
        for listener in listeners:
            worker.submit(listener.job)
        for listener in listeners:
            assert len((await listener.until_done()).reply.hypotheses) == 16

    run(WorkerConfig(model=config.model, device="cpu", rows=256), work)


def test_the_loop_goes_on_while_more_is_asked_than_a_socket_holds(run: Run, config: WorkerConfig) -> None:
    async def work(worker: WorkerProcess) -> None:
        listeners = [Listener(["x " * 100_000], i, streams=False) for i in range(20)]
        os.kill(worker.process_id, signal.SIGSTOP)
        for listener in listeners:
            worker.submit(listener.job)  # would wait for ever
        os.kill(worker.process_id, signal.SIGCONT)
        for listener in listeners:
            assert (await listener.until_done()).reply.text

    run(config, work)


def test_what_is_under_way_is_completed_at_the_end(run: Run, config: WorkerConfig) -> None:
    async def work(worker: WorkerProcess) -> None:
        listeners = [Listener(["hi"], i, min_new_tokens=10) for i in range(5)]
        for listener in listeners:
            worker.submit(listener.job)
        await asyncio.to_thread(worker.close)
        for listener in listeners:
            assert (await listener.until_done()).reply.text
        with pytest.raises(process.BusyError):
            worker.submit(Listener(["hi"]).job)

    run(config, work)


def test_it_does_not_outlive_the_server(config: WorkerConfig) -> None:
    with begun(config) as worker:
        worker._pipe.close()  # as when the server is killed
        worker._process.wait(30)
