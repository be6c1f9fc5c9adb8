"""Several processes, for real: torchrun, gloo, DDP and FSDP2 compute what one process computes."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dialogpt.errors import UsageError
from dialogpt.model import checkpoint
from dialogpt.session import Preference, Session, Turn
from dialogpt.train import TrainConfig
from dialogpt.train.loop import train

Make = Callable[..., TrainConfig]
Arguments = Callable[[TrainConfig], list[str]]
SEVERAL = {
    "batch_tokens": 240,
    "micro_batch_tokens": 60,
    "save_every": 3,
    "lr": 3e-4,
}  # keys' biases have no gradient but noise, which Adam makes steps of lr


@pytest.fixture
def config(make_config: Make, make_shards: Callable[..., Path]) -> TrainConfig:
    """Six steps of four micro-batches over some forty sessions, a few of them held out."""
    sessions = [
        Session(tuple(Turn(f"{word} {i}") for word in ("ask", "tell", "and then")[: 2 + i % 2])) for i in range(48)
    ]
    return make_config(shards=make_shards(sessions, validation=0.2), steps=6, validate_every=3, **SEVERAL)


def torchrun(processes: int, given: list[str]) -> list[str]:
    return [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes),
        "-m", "dialogpt", *given,
    ]  # fmt: skip


def run(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stderr


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def assert_same(one: Path, other: Path, *, atol: float = 1e-6) -> None:
    """Weights and metrics of two runs agree."""
    for name in ("best", "checkpoints/step-000006"):
        expected = checkpoint.load(one / name, ranker=None)[0].state_dict()
        for key, weight in checkpoint.load(other / name, ranker=None)[0].state_dict().items():
            torch.testing.assert_close(weight, expected[key], atol=atol, rtol=0, msg=lambda m, k=key: f"{k}: {m}")
    for line, twin in zip(metrics(one), metrics(other), strict=True):
        for key in ("step", "epoch", "targets_seen"):
            assert line[key] == twin[key]
        for key in ("loss", "validation_loss", "gradient_norm", "lr"):
            if key in line:
                assert twin[key] == pytest.approx(line[key], rel=1e-5)
        assert line.get("samples") == twin.get("samples")


@pytest.mark.parametrize("processes, shard", [(2, False), (4, False), (2, True), (4, True)])
def test_several_processes_compute_what_one_computes(
    config: TrainConfig,
    command_line: Arguments,
    environment: dict[str, str],
    tmp_path: Path,
    processes: int,
    shard: bool,
) -> None:
    """Four micro-batches on one rank = two on each of two = one on each of four."""
    train(config)
    several = dataclasses.replace(config, out=tmp_path / "several", shard=shard)
    stderr = run(torchrun(processes, command_line(several)), environment)
    assert stderr.count("sessions of") == 1, "only the first rank speaks"
    assert_same(config.out, several.out)
    files = sorted(path.name for path in (several.out / "checkpoints/step-000006").glob("optimizer-*"))
    assert len(files) == (processes if shard else 1)


@pytest.mark.parametrize("shard", [False, True])
def test_a_ranker_of_two_processes_is_that_of_one(
    make_config: Make,
    make_shards: Callable[..., Path],
    command_line: Arguments,
    environment: dict[str, str],
    tmp_path: Path,
    shard: bool,
) -> None:
    pairs = [Preference((Turn(f"ask {i}"), Turn(f"tell {i % 7}")), f"yes {i}", f"no {i % 5}") for i in range(48)]
    config = make_config(shards=make_shards(pairs, validation=0.2), steps=6, validate_every=3, **SEVERAL)
    train(config)
    several = dataclasses.replace(config, out=tmp_path / "several", shard=shard)
    assert run(torchrun(2, command_line(several)), environment).count("pairs of") == 1
    assert_same(config.out, several.out)
    assert [line.get("pairs_right") for line in metrics(several.out)] == [
        line.get("pairs_right") for line in metrics(config.out)
    ]


@pytest.mark.parametrize("before, after", [((2, True), (1, False)), ((1, False), (4, True)), ((2, False), (4, True))])
def test_the_number_of_processes_may_change_between_starts(
    config: TrainConfig,
    command_line: Arguments,
    environment: dict[str, str],
    tmp_path: Path,
    before: tuple[int, bool],
    after: tuple[int, bool],
) -> None:
    train(config)
    out = tmp_path / "changed"
    for steps, (processes, shard) in ((3, before), (6, after)):
        part = dataclasses.replace(config, out=out, steps=steps, shard=shard, schedule="constant")
        given = command_line(part)
        run(torchrun(processes, given) if processes > 1 else [sys.executable, "-m", "dialogpt", *given], environment)
    whole = dataclasses.replace(config, out=tmp_path / "whole", schedule="constant")
    train(whole)
    assert_same(whole.out, out)


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
def test_a_run_of_which_one_process_was_killed_goes_on(
    config: TrainConfig, command_line: Arguments, environment: dict[str, str], tmp_path: Path
) -> None:
    endless = dataclasses.replace(config, out=tmp_path / "killed", steps=1_000_000, save_every=5, schedule="constant")
    command = torchrun(2, command_line(endless))
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, start_new_session=True)
    try:
        until = time.monotonic() + 120
        while not (endless.out / "checkpoints/step-000010").exists() and time.monotonic() < until:
            time.sleep(0.05)
        (second,) = (pid for pid in children(process.pid) if rank_of(pid) == "1")
        os.kill(second, signal.SIGKILL)
        assert process.wait(timeout=120) != 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    saved = max(int(path.name.removeprefix("step-")) for path in (endless.out / "checkpoints").glob("step-*"))
    ended = dataclasses.replace(endless, steps=saved + 4)
    assert f"resuming from step {saved} " in run(torchrun(2, command_line(ended)), environment)
    whole = dataclasses.replace(ended, out=tmp_path / "whole")
    run(torchrun(2, command_line(whole)), environment)
    last = f"checkpoints/step-{saved + 4:06}"
    expected = checkpoint.load(whole.out / last)[0].state_dict()
    for key, weight in checkpoint.load(ended.out / last)[0].state_dict().items():
        torch.testing.assert_close(weight, expected[key], atol=1e-6, rtol=0)
    assert [line["step"] for line in metrics(ended.out) if "loss" in line] == list(range(1, saved + 5))


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def rank_of(pid: int) -> str | None:
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next((entry[5:].decode() for entry in variables if entry.startswith(b"RANK=")), None)


def test_to_shard_takes_torchrun(config: TrainConfig) -> None:
    with pytest.raises(UsageError, match="--shard"):
        train(dataclasses.replace(config, shard=True))


@pytest.mark.parametrize(
    "device, cards, message",
    [
        ("mps", 0, r"--device mps is for one process \(start it without torchrun"),
        ("cuda:0", 2, r"--device cuda:0 under torchrun names one GPU for all"),
        ("cuda", 2, r"process 2 .* no GPU of its own: there are 2 \(torchrun --nproc-per-node 2, or --device cpu"),
        ("auto", 1, r"process 2 .* no GPU of its own: there are 1 "),
    ],
)  # fmt: skip
def test_each_process_has_a_device_of_its_own(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, device: str, cards: int, message: str
) -> None:
    for name, value in (("RANK", 2), ("WORLD_SIZE", 4), ("LOCAL_RANK", 2)):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cards > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)
    with pytest.raises(UsageError, match=message):
        train(dataclasses.replace(config, device=device))
    assert not config.out.exists()
