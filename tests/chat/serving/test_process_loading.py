"""A process loads a model: what is wrong with it is said, with where, and without what people said."""

import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dialogpt.chat.serving import WorkerConfig, process
from dialogpt.chat.serving.decoder import sendable
from dialogpt.chat.serving.process import WorkerProcess
from dialogpt.errors import CheckpointError, DataError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there a thread decodes")


@pytest.fixture
def config(tiny_checkpoint: Path) -> WorkerConfig:
    return WorkerConfig(model=str(tiny_checkpoint), device="cpu")


def test_what_is_wrong_with_the_model_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = WorkerProcess(WorkerConfig(model=str(tmp_path), device="cpu"))
    with pytest.raises(CheckpointError, match="is not a checkpoint folder"):
        worker.ready()
    assert not worker.alive
    monkeypatch.setattr(process, "BEGIN", "import os; os.kill(os.getpid(), {} and 9)")
    with pytest.raises(DataError, match=r"the process that loads the model has ended unexpectedly \(exit code -9\)"):
        WorkerProcess(WorkerConfig(model=str(tmp_path))).ready()


def test_a_process_whose_server_has_gone_ends_quietly() -> None:
    """As when Ctrl-C reached the server alone, just before this process was there."""
    ours, theirs = socket.socketpair()
    with theirs:
        ours.close()
        begin = process.BEGIN.format(theirs.fileno())
        done = subprocess.run(
            [sys.executable, "-c", begin], capture_output=True, pass_fds=[theirs.fileno()], check=False
        )
    assert (done.returncode, done.stderr) == (0, b"")


def test_where_an_error_of_ours_came_from_is_noted(config: WorkerConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    fails = """if True:
        from dialogpt.chat.serving import serve
        class OddError(Exception):
            def __init__(self, a, *, b): super().__init__(a)
        def load_batcher(config): raise {error}
        serve.load_batcher = load_batcher
        """
    for raised, expected in (("KeyError('deep')", KeyError), ("OddError('odd', b=1)", RuntimeError)):
        begin = fails.replace("{error}", raised) + process.BEGIN
        with monkeypatch.context() as patched:
            patched.setattr(process, "BEGIN", begin)
            with pytest.raises(expected) as caught:
                WorkerProcess(config).ready()
        assert "in load_batcher" in "".join(caught.value.__notes__)


def test_an_error_of_ours_goes_without_what_it_says(caplog: pytest.LogCaptureFixture) -> None:
    known, said = DataError("what", "so"), "".join(["my ", "secret"])
    assert sendable(known) is known
    with caplog.at_level(logging.ERROR):
        try:
            raise ValueError(said)
        except ValueError as error:
            told = sendable(error)
    assert (type(told), str(told)) == (RuntimeError, "ValueError")
    assert "test_process_loading.py" in caplog.text
    assert said not in caplog.text


def test_whoever_ends_it_while_it_loads_does_not_wait(config: WorkerConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "BEGIN", "import time; time.sleep(600 + {})")
    worker = WorkerProcess(config)
    worker.close()
    assert not worker.alive
