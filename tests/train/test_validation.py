"""What a run tells at each validation: sample replies, early stopping, warnings."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dialogpt.session import Session, Turn
from dialogpt.train import TrainConfig
from dialogpt.train.loop import train

Make = Callable[..., TrainConfig]


@pytest.fixture(scope="session")
def held_out(make_shards: Callable[..., Path]) -> Path:
    sessions = [
        Session((Turn(f"سؤال {i}؟"), Turn("why?"), Turn("soup" if i % 2 else "onions")), id=str(i)) for i in range(40)
    ]
    return make_shards(sessions, validation=0.3)


def validations(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if "validation_loss" in line]


def test_the_same_contexts_are_replied_to_at_each_validation(make_config: Make, held_out: Path) -> None:
    config = make_config(shards=held_out, steps=120, lr=3e-3, validate_every=60, samples=3)
    train(config)
    first, last = validations(config.out)
    contexts = [sample["context"] for sample in last["samples"]]
    assert len(contexts) == 3
    assert contexts == [sample["context"] for sample in first["samples"]]
    assert all(context[0].startswith("سؤال") and context[1] == "why?" for context in contexts)
    assert {sample["reply"] for sample in last["samples"]} <= {"soup", "onions"}


def test_samples_of_the_backward_model_go_backward(make_config: Make, held_out: Path) -> None:
    config = make_config(shards=held_out, steps=1, reverse=True, samples=1)
    train(config)
    (line,) = validations(config.out)
    assert line["samples"][0]["context"] in (["soup", "why?"], ["onions", "why?"])


def test_a_run_stops_when_the_loss_falls_no_more(make_config: Make, held_out: Path) -> None:
    """At this rate it only gets worse after the first validation."""
    config = make_config(shards=held_out, steps=500, lr=0.5, schedule="constant", validate_every=2, patience=3)
    train(config)
    lines = validations(config.out)
    best = min(range(len(lines)), key=lambda i: lines[i]["validation_loss"])
    assert len(lines) == best + 1 + 3
    assert lines[-1]["step"] < 500
    newest = sorted((config.out / "checkpoints").iterdir())[-1]
    assert newest.name == f"step-{lines[-1]['step']:06}"
    train(config)  # stays as it is
    assert validations(config.out) == lines


def test_training_loss_is_that_since_the_last_validation(make_config: Make, held_out: Path) -> None:
    config = make_config(shards=held_out, steps=4, validate_every=2, log_every=1)
    train(config)
    lines = [json.loads(line) for line in (config.out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = {line["step"]: line for line in lines if "loss" in line}
    seen = 0
    for line in validations(config.out):
        one, two = steps[line["step"] - 1], steps[line["step"]]
        counts = one["targets_seen"] - seen, two["targets_seen"] - one["targets_seen"]
        seen = two["targets_seen"]
        mean = (one["loss"] * counts[0] + two["loss"] * counts[1]) / sum(counts)
        assert line["training_loss"] == pytest.approx(mean)


@pytest.mark.parametrize(
    "settings, warning",
    [
        ({}, "only 6 sessions"),
        ({"warmup": 10}, "--warmup 10 does not end before the last step, 3"),
        ({"patience": 2}, "--patience 2 never stops the run: "),
        (
            {"init": "a model"},
            "--n-layer 2, --n-head 2, --n-embd 32, --n-ctx 64 is not used: the shape is that of --init ",
        ),
    ],
)
def test_what_is_probably_not_meant_is_warned_of(
    make_config: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture, settings: dict[str, Any], warning: str
) -> None:
    if "init" in settings:
        settings = {"init": str(train(make_config(out=tmp_path / "first")))}
        assert "is not used" not in caplog.text
    with caplog.at_level(logging.WARNING):
        train(make_config(**settings))
    assert warning in caplog.text
