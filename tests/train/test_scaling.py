"""Training in fp16, whose gradients are scaled: what overflows is left out, and small gradients are not lost."""

import dataclasses
import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dialogpt.errors import DataError
from dialogpt.model import checkpoint
from dialogpt.train import TrainConfig, scaling
from dialogpt.train.loop import Trainer, train
from dialogpt.train.runs import TrainState
from dialogpt.train.scaling import LossScale
from dialogpt.train.world import World

Make = Callable[..., TrainConfig]
CPU = World(torch.device("cpu"))


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def saved_state(run: Path, step: int) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((run / "checkpoints" / f"step-{step:06}" / "state.json").read_text())
    return state


def test_a_run_in_fp16_is_nearly_that_in_fp32(make_config: Make, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"steps": 30, "lr": 3e-3, "batch_tokens": 256, "micro_batch_tokens": 128}
    train(make_config(**settings))
    train(make_config(**settings, precision="fp16", out=tmp_path / "half"))
    expected, found = losses(tmp_path / "run"), losses(tmp_path / "half")
    assert found != expected
    assert found == pytest.approx(expected, rel=0.02)
    assert found[-1] < found[0] - 1


def test_without_a_scale_small_gradients_are_lost(make_config: Make) -> None:
    """What the scale is for: of a step of many targets a token's gradient is below what fp16 tells from zero."""

    def zeros(factor: float) -> int:
        trainer = Trainer(make_config(precision="fp16"), CPU)
        step = next(trainer.feed.steps(0, 0))
        trainer.parallel.backward(step.batches, 1e7, factor)
        return sum(int((weight.grad == 0).sum()) for weight in trainer.model.parameters() if weight.grad is not None)

    assert zeros(1.0) > 2 * zeros(65536.0)


def test_steps_that_overflow_change_nothing_until_the_scale_fits(
    make_config: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = make_config(steps=1, save_every=1, precision="fp16")
    train(config)
    before = checkpoint.load(str(config.out / "checkpoints" / "step-000001"))[0].state_dict()
    file = config.out / "checkpoints" / "step-000001" / "state.json"
    file.write_text(json.dumps(saved_state(config.out, 1) | {"scale": 2.0**40}))
    with caplog.at_level(logging.INFO):
        train(dataclasses.replace(config, steps=2, keep=9))
    after = checkpoint.load(str(config.out / "checkpoints" / "step-000002"))[0].state_dict()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())
    assert saved_state(config.out, 2)["scale"] == 2.0**39
    assert "step 2 changes nothing: its gradients overflow fp16; the next are half as large" in caplog.messages
    train(dataclasses.replace(config, steps=40, keep=9))
    assert 1 < saved_state(config.out, 40)["scale"] < 2.0**39
    assert losses(config.out)[-1] < losses(config.out)[1]


def test_steps_that_were_left_out_are_none_of_adams(make_config: Make, tmp_path: Path) -> None:
    """A run that is resumed after one, or before the first that counts, is the run that did not stop."""
    config = make_config(steps=6, save_every=1, keep=9, precision="fp16", dropout=0.1, schedule="constant")
    stopped = dataclasses.replace(config, out=tmp_path / "stopped")
    for run, ends in ((config, [6]), (stopped, [1, 2, 5, 6])):
        for steps in ends:
            trainer = Trainer(dataclasses.replace(run, steps=steps), CPU)
            if not trainer.state.step:
                trainer.state.scale = 2.0**20
            trainer.run()
    skipped = saved_state(config.out, 6)["skipped"]
    assert 2 <= skipped < 6
    assert saved_state(stopped.out, 6)["skipped"] == skipped
    expected, found = (checkpoint.load(str(run / "best"))[0].state_dict() for run in (config.out, stopped.out))
    assert all(torch.equal(weight, found[name]) for name, weight in expected.items())
    lines = (config.out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["gradient_norm"] for line in lines].count(None) == skipped


def test_the_scale_grows_again_and_is_resumed(
    make_config: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(scaling, "GROWS_AFTER", 3)
    config = make_config(steps=8, save_every=5, precision="fp16", dropout=0.1, schedule="constant")
    train(config)
    assert (saved_state(config.out, 5)["scale"], saved_state(config.out, 5)["scale_steps"]) == (2.0**17, 2)
    stopped = dataclasses.replace(config, out=tmp_path / "stopped")
    train(dataclasses.replace(stopped, steps=5))
    train(stopped)
    assert losses(stopped.out) == losses(config.out)
    assert saved_state(stopped.out, 8)["scale"] == saved_state(config.out, 8)["scale"]
    expected, found = (checkpoint.load(str(run / "best"))[0].state_dict() for run in (config.out, stopped.out))
    assert all(torch.equal(weight, found[name]) for name, weight in expected.items())


def test_a_gradient_that_no_scale_mends_ends_the_run(make_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dialogpt.train.loop.clip", lambda *_: torch.tensor(math.inf))
    config = make_config(precision="fp16", steps=30)
    with pytest.raises(DataError, match=r"the loss is not finite at step 17 .*in its gradient alone"):
        train(config)  # 16 steps on, 65,536 has become 1


def test_other_types_have_no_scale() -> None:
    assert LossScale(TrainState(), torch.bfloat16).factor == 1
    assert LossScale(TrainState(), torch.float16).factor == 65536
