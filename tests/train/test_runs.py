"""A run folder: killed, stopped, resumed, refused."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dialogpt.artifact import locked, read_manifest
from dialogpt.errors import DataError, DialoGPTError, UsageError
from dialogpt.hub import model_folder
from dialogpt.model import checkpoint
from dialogpt.session import Session, Turn
from dialogpt.train import TrainConfig
from dialogpt.train.loop import train
from dialogpt.train.runs import Run

Make = Callable[..., TrainConfig]
Arguments = Callable[[TrainConfig], list[str]]

KILLED = """
import os, signal, sys
from dialogpt.cli import main
from dialogpt.train.runs import Run
append = Run.append
def append_and_die(self, line):
    append(self, line)
    if line.step == 7:
        os.kill(os.getpid(), signal.SIGKILL)
Run.append = append_and_die
main()
"""

TIMES = {"tokens_per_s", "elapsed_s", "memory_bytes"}


def metrics(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(folder)[0].state_dict()


def assert_same_weights(one: Path, other: Path) -> None:
    expected = weights(one)
    for name, weight in weights(other).items():
        assert torch.equal(weight, expected[name]), name


def checkpoints(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_a_killed_run_goes_on_as_if_nothing_had_been(
    make_config: Make, command_line: Arguments, environment: dict[str, str], tmp_path: Path
) -> None:
    """10 steps at once = 7 steps, kill -9, resume from step 5 in a new process: bitwise, with dropout and Adam."""
    once = make_config(steps=10, save_every=5, dropout=0.2, lr=3e-3, batch_tokens=120, micro_batch_tokens=60)
    train(once)
    again = dataclasses.replace(once, out=tmp_path / "killed")
    given = command_line(again)
    killed = subprocess.run([sys.executable, "-c", KILLED, *given], env=environment, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert checkpoints(again.out) == ["step-000005"]
    assert metrics(again.out)[-1]["step"] == 7
    with (again.out / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 8, "lo')  # a line that the kill cut
    resumed = subprocess.run(
        [sys.executable, "-m", "dialogpt", *given], env=environment, capture_output=True, text=True, check=False
    )
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming from step 5" in resumed.stderr
    assert_same_weights(once.out / "checkpoints" / "step-000010", again.out / "checkpoints" / "step-000010")
    assert_same_weights(once.out / "best", again.out / "best")
    lines = metrics(again.out)
    assert [line["step"] for line in lines] == list(range(1, 11))  # none twice
    assert lines == metrics(once.out)
    assert len({line["epoch"] for line in lines}) > 1, "the resumed part should lie in another epoch too"


def test_a_run_resumes_within_one_process_too(make_config: Make, tmp_path: Path) -> None:
    once = make_config(steps=6, save_every=2, dropout=0.2, schedule="constant")
    train(once)
    first = dataclasses.replace(once, out=tmp_path / "second", steps=4)
    train(first)
    train(dataclasses.replace(first, steps=6))
    assert_same_weights(once.out / "best", first.out / "best")


def test_a_resumed_run_logs_the_curve_of_one_that_was_not_stopped(make_config: Make, tmp_path: Path) -> None:
    once = make_config(steps=9, log_every=3, save_every=2, schedule="constant")
    train(once)
    parts = dataclasses.replace(once, out=tmp_path / "parts")
    for steps in (2, 4, 5, 9):
        train(dataclasses.replace(parts, steps=steps))
    assert [line["step"] for line in metrics(once.out)] == [3, 6, 9]
    assert metrics(parts.out) == metrics(once.out)


def test_a_state_that_knew_no_window_goes_on(make_config: Make) -> None:
    config = make_config(steps=2, log_every=3)
    train(config)
    (saved,) = (config.out / "checkpoints").iterdir()
    state = json.loads((saved / "state.json").read_text())
    assert state["window_targets"] == state["targets_seen"] > 0
    kept = {name: value for name, value in state.items() if not name.startswith("window_")}
    (saved / "state.json").write_text(json.dumps(kept))
    train(dataclasses.replace(config, steps=3))
    assert [line["step"] for line in metrics(config.out)] == [3]


def test_a_run_that_knew_fewer_settings_goes_on(make_config: Make) -> None:
    config = make_config(steps=2, save_every=1)
    train(config)
    file = config.out / "settings.json"
    settings = json.loads(file.read_text())
    del settings["chain"]
    file.write_text(json.dumps(settings))
    with pytest.raises(UsageError, match=r"another run \(chain: 1 there, 3 here\)"):
        train(dataclasses.replace(config, chain=3))
    train(dataclasses.replace(config, steps=3))
    assert json.loads(file.read_text())["chain"] == 1


def test_two_processes_cannot_have_one_run(
    make_config: Make, command_line: Arguments, environment: dict[str, str]
) -> None:
    """The second one changes nothing, whether the first has saved something or not; afterwards it may go on."""
    config = make_config(steps=2)
    given = command_line(config)
    with locked(config.out):
        second = subprocess.run(
            [sys.executable, "-m", "dialogpt", *given], env=environment, capture_output=True, text=True, check=False
        )
        assert second.returncode == 2, second.stderr
        assert f"another process is working in {config.out}" in second.stderr
        assert list(config.out.iterdir()) == []
    assert not config.out.exists()
    train(config)
    assert checkpoints(config.out) == ["step-000002"]


def start_and_stop(
    given: list[str], environment: dict[str, str], run: Path, after: int, number: int
) -> tuple[int, str]:
    """Start the command, send a signal when it has logged `after` steps; returns its exit code and stderr."""
    process = subprocess.Popen([sys.executable, "-m", "dialogpt", *given], env=environment, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and process.poll() is None:
            if (run / "metrics.jsonl").is_file() and len((run / "metrics.jsonl").read_bytes().splitlines()) > after:
                process.send_signal(number)
                break
            time.sleep(0.02)
        stderr = process.communicate(timeout=240)[1].decode()
    finally:
        process.kill()
    return process.returncode, stderr


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
def test_ctrl_c_and_sigterm_save_and_the_same_command_goes_on(
    make_config: Make, command_line: Arguments, environment: dict[str, str]
) -> None:
    config = make_config(steps=1_000_000, save_every=1_000_000)
    given = command_line(config)
    reached = 0
    for number in (signal.SIGTERM, signal.SIGINT):
        code, stderr = start_and_stop(given, environment, config.out, reached + 3, number)
        assert code == 130, stderr
        assert "Traceback" not in stderr
        assert "error: stopped at step" in stderr
        assert "hint: the same command resumes" in stderr
        (saved,) = checkpoints(config.out)[-1:]
        assert (f"resuming from step {reached} " in stderr) == (reached > 0)
        steps = [line["step"] for line in metrics(config.out)]
        assert steps == list(range(1, int(saved.removeprefix("step-")) + 1))
        assert steps[-1] > reached
        reached = steps[-1]
    train(dataclasses.replace(config, steps=reached + 2))  # fewer steps than first said are no other run
    assert [line["step"] for line in metrics(config.out)] == list(range(1, reached + 3))


def test_shards_are_known_by_what_they_hold(make_config: Make, make_shards: Any, shards: Path, tmp_path: Path) -> None:
    """Not by where they are: a run goes on with a copy, and not with others that came into their place."""
    here = tmp_path / "here"
    shutil.copytree(shards, here)
    config = make_config(shards=here, steps=1)
    train(config)
    here.rename(tmp_path / "there")
    train(dataclasses.replace(config, shards=tmp_path / "there", steps=2))
    assert [line["step"] for line in metrics(config.out)] == [1, 2]
    (tmp_path / "there").rename(here)
    train(dataclasses.replace(config, steps=3))
    shutil.rmtree(here)
    shutil.copytree(make_shards([Session((Turn("a"), Turn("b")), id=str(i)) for i in range(6)]), here)
    with pytest.raises(UsageError, match=r"another run \(shards: '.*here, with other sessions' there, '.*here' here\)"):
        train(dataclasses.replace(config, steps=4))


@pytest.mark.parametrize("name, value", [("lr", 0.5), ("seed", 7), ("n_layer", 1), ("reverse", True), ("clip", 2.0)])
def test_the_folder_of_another_run_is_refused(make_config: Make, name: str, value: Any) -> None:
    config = make_config(steps=1)
    train(config)
    before = metrics(config.out)
    with pytest.raises(UsageError, match=f"another run .*{name}"):
        train(dataclasses.replace(config, **{name: value}))
    assert metrics(config.out) == before


def test_a_folder_that_is_no_run_is_refused(make_config: Make, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="not a run folder"):
        train(make_config())
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="not a run folder"):
        train(make_config(out=tmp_path / "file"))
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("there", [False, True])
def test_a_run_that_fails_before_it_begins_leaves_nothing(
    make_config: Make, make_shards: Callable[..., Path], there: bool
) -> None:
    """Held-out sessions that the model cannot read are found when the folder is made; one that was there stays."""
    shards = make_shards()
    long = Session((Turn("does it end?"), Turn("no " * 100)))
    shutil.copytree(make_shards([long]), shards / "validation")
    config = make_config(shards=shards)
    if there:
        config.out.mkdir()
    with pytest.raises(DataError, match="longer than the model's n_ctx"):
        train(config)
    assert not any(config.out.iterdir()) if there else not config.out.exists()


def test_what_fails_later_keeps_the_run(make_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config(steps=3, save_every=1)

    def full(*_: object) -> None:
        raise DataError("the disk is full")

    monkeypatch.setattr(Run, "save", full)
    with pytest.raises(DataError, match="disk is full"):
        train(config)
    assert [line["step"] for line in metrics(config.out)] == [1]


def test_more_steps_go_on_and_a_finished_run_stays_as_it_is(make_config: Make) -> None:
    config = make_config(steps=3)
    best = train(config)
    before = weights(best)
    assert train(config) == best
    assert all(torch.equal(weight, before[name]) for name, weight in weights(best).items())
    train(dataclasses.replace(config, steps=5, save_every=7, log_every=1, keep=1))
    assert [line["step"] for line in metrics(config.out)] == [1, 2, 3, 4, 5]
    assert not torch.equal(weights(best)["transformer.wte.weight"], before["transformer.wte.weight"])


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_only_the_newest_checkpoints_are_kept(make_config: Make, keep: int) -> None:
    config = make_config(steps=5, save_every=1, keep=keep)
    train(config)
    assert checkpoints(config.out) == [f"step-{step:06}" for step in range(6 - keep, 6)]


def test_a_run_folder_says_what_it_is(make_config: Make) -> None:
    config = make_config(steps=2)
    best = train(config)
    assert best == config.out / "best"
    manifest, of_best = read_manifest(config.out), read_manifest(best)
    assert manifest is not None
    assert of_best is not None
    assert manifest.inputs == of_best.inputs == [str(config.shards)]
    assert of_best.counts["steps"] == 2
    assert of_best.counts["targets"] == metrics(config.out)[-1]["targets_seen"]
    settings = json.loads((config.out / "settings.json").read_text(encoding="utf-8"))
    assert settings["lr"] == config.lr
    assert set(settings) == {field.name for field in dataclasses.fields(config)} | {"shards_digest"}
    assert not [path.name for path in config.out.rglob("*") if "partial" in path.name]


@pytest.mark.parametrize(
    "name", ["optimizer-00000-of-00001.safetensors", "state.json", "model.safetensors", "config.json"]
)
@pytest.mark.parametrize("damage", [b"", b"\x00garbage"])
def test_a_damaged_checkpoint_is_an_error_that_names_it(make_config: Make, name: str, damage: bytes) -> None:
    config = make_config(steps=2)
    train(config)
    (config.out / "checkpoints" / "step-000002" / name).write_bytes(damage)
    with pytest.raises(DialoGPTError, match="step-000002"):
        train(dataclasses.replace(config, steps=3))


def test_a_run_stopped_before_its_first_validation_can_be_opened(tmp_path: Path) -> None:
    """Its newest checkpoint stands for it, by number and not by name."""
    run = tmp_path / "run"
    for step in (900, 1_000_000):
        folder = run / "checkpoints" / f"step-{step:06}"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    assert model_folder(run).name == "step-1000000"
    (run / "best").mkdir()
    (run / "best" / "config.json").write_text("{}")
    assert model_folder(run).name == "best"
