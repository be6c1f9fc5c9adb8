"""Training on preferences makes a ranker that every user of rankers opens; how a step is cut does not matter."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dialogpt.decoding import Hypothesis
from dialogpt.decoding.dialogrpt import DialogRPT
from dialogpt.decoding.loading import load_engine
from dialogpt.errors import CheckpointError, DataError, UsageError
from dialogpt.info import InfoConfig, info
from dialogpt.model import checkpoint
from dialogpt.session import Preference, Turn
from dialogpt.tokens.pairs import TokenPairs, open_shards
from dialogpt.train import TrainConfig, loop
from dialogpt.train.loop import train

Make = Callable[..., TrainConfig]
WORDS = ["money", "millionaire", "sad", "town", "sea", "cold", "winter", "game", "rained", "soup", "onions", "love"]
VERBS = {"like": "hate", "hate": "like"}
PAIRS = [
    Preference((Turn(f"do you {verb} the {word}?"),), f"I {verb} the {other}", f"I {VERBS[verb]} the {other}")
    for word in WORDS
    for other in WORDS
    for verb in VERBS
]
LEARN = {"steps": 120, "lr": 3e-3, "warmup": 10, "n_embd": 64, "batch_tokens": 1024, "micro_batch_tokens": 512,
         "validate_every": 60, "samples": 2}  # fmt: skip


@pytest.fixture(scope="module")
def pairs(make_shards: Callable[..., Path]) -> Path:
    return make_shards(PAIRS, validation=0.15)


@pytest.fixture(scope="module")
def ranker(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """A run that has learned to tell the reply that repeats the verb of the context."""
    config = TrainConfig(
        shards=pairs, out=tmp_path_factory.mktemp("ranker") / "run", device="cpu", precision="fp32",
        n_layer=2, n_head=2, n_ctx=64, dropout=0.0, **LEARN,
    )  # fmt: skip
    train(config)
    return config


def scores(run: Path, pair: Preference, precision: str = "fp32") -> list[float]:
    made = [Hypothesis(text=text, tokens=(), logprob=0.0, ended=True) for text in (pair.better, pair.worse)]
    return DialogRPT(*load_engine(str(run), device="cpu", precision=precision, ranker=True))(pair.context, made)


def validations(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if "validation_loss" in line]


def test_it_learns_which_reply_is_better(ranker: TrainConfig) -> None:
    first, last = validations(ranker.out)
    assert first["validation_loss"] > last["validation_loss"]
    assert last["validation_loss"] < 0.3 < math.log(2)
    assert last["pairs_right"] > 0.9
    assert last["samples"] == []
    right = [better > worse for better, worse in (scores(ranker.out, pair) for pair in PAIRS[::10])]
    assert sum(right) >= len(right) - 1
    assert "of a ranker, for --ranker" in info(InfoConfig(path=(ranker.out / "best",)))
    said = info(InfoConfig(path=(ranker.out,)))
    assert f"pairs in the right order: {last['pairs_right']:.1%}" in said or "pairs in the right order: 100.0%" in said
    assert "pairs in the right order" in (ranker.out / "report.html").read_text(encoding="utf-8")
    assert "pairs in the right order" in info(InfoConfig(path=(ranker.out, ranker.out.parent / "run")))


def test_the_loss_is_that_of_transformers_scores(ranker: TrainConfig) -> None:
    """-log sigmoid of the difference of two numbers of GPT2ForSequenceClassification."""
    from transformers import GPT2ForSequenceClassification

    theirs = GPT2ForSequenceClassification.from_pretrained(ranker.out / "best").eval()
    held_out = open_shards(ranker.shards / "validation")
    assert isinstance(held_out, TokenPairs)
    nats = []
    for number in range(len(held_out)):
        *context, better, worse = held_out[number].turns
        rows = [np.concatenate([*context, reply[:-1]]).astype(np.int64) for reply in (better, worse)]
        with torch.no_grad():
            high, low = (float(theirs(torch.from_numpy(row)[None]).logits) for row in rows)
        nats.append(math.log1p(math.exp(low - high)))
    best = min(validations(ranker.out), key=lambda line: line["validation_loss"])
    assert best["validation_loss"] == pytest.approx(sum(nats) / len(nats), rel=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_engines_open_it(ranker: TrainConfig, precision: str) -> None:
    network, tokenizer = checkpoint.load(ranker.out / "best", ranker=True)
    pair = PAIRS[0]
    context = [token for turn in tokenizer.encode_turns(pair.context) for token in turn]
    for text, found in zip((pair.better, pair.worse), scores(ranker.out, pair, precision), strict=True):
        with torch.no_grad():
            number = network(torch.tensor([context + tokenizer.encode(text)]))[0, -1, -1]
        assert found == pytest.approx(-math.log1p(math.exp(-float(number))), abs=1e-4 if precision == "fp32" else 0.3)


def test_how_a_step_is_cut_changes_nothing(
    make_shards: Callable[..., Path], make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All pairs are one step, cut into 1 or into 6 and more; by plain descent, so that weights show the gradient."""
    monkeypatch.setattr(loop, "make_optimizer", lambda model, decay: torch.optim.SGD(model.parameters(), lr=0.0))
    few, found = make_shards(PAIRS[:40]), []
    for number, micro in enumerate((8192, 400, 60)):
        config = make_config(
            shards=few, out=tmp_path / str(number), batch_tokens=8192, micro_batch_tokens=micro, lr=0.5,
            schedule="constant", clip=0.0,
        )  # fmt: skip
        train(config)
        lines = [json.loads(line) for line in (config.out / "metrics.jsonl").read_text().splitlines()]
        found.append((checkpoint.load(config.out / "best", ranker=True)[0].state_dict(), lines))
    (weights, lines), *others = found
    assert [line["targets_seen"] for line in lines] == [40, 80, 120]
    for other_weights, other_lines in others:
        for name, weight in weights.items():
            torch.testing.assert_close(other_weights[name], weight, atol=1e-6, rtol=0)
        for line, other in zip(lines, other_lines, strict=True):
            assert other["targets_seen"] == line["targets_seen"]
            assert other["loss"] == pytest.approx(line["loss"], rel=1e-6)


def test_a_stopped_run_goes_on(pairs: Path, make_config: Make, tmp_path: Path) -> None:
    whole = make_config(shards=pairs, steps=6, save_every=3, schedule="constant", dropout=0.1)
    train(whole)
    part = dataclasses.replace(whole, out=tmp_path / "part", steps=3)
    train(part)
    train(dataclasses.replace(part, steps=6))
    expected, _ = checkpoint.load(whole.out / "checkpoints/step-000006", ranker=True)
    found, _ = checkpoint.load(part.out / "checkpoints/step-000006", ranker=True)
    for name, weight in found.state_dict().items():
        assert torch.equal(weight, expected.state_dict()[name]), name


def test_it_begins_as_another_model_or_ranker(
    ranker: TrainConfig, pairs: Path, make_config: Make, make_shards: Callable[..., Path], tmp_path: Path
) -> None:
    talker = make_config(shards=make_shards(), steps=1, n_embd=64)
    train(talker)
    from_model = dataclasses.replace(talker, shards=pairs, init=str(talker.out), out=tmp_path / "from-model", lr=1e-9)
    train(from_model)
    assert validations(from_model.out)[0]["validation_loss"] == pytest.approx(math.log(2), abs=1e-3), (
        "scores begin at 0"
    )
    again = dataclasses.replace(from_model, init=str(ranker.out), out=tmp_path / "from-ranker")
    train(again)
    assert validations(again.out)[0]["validation_loss"] == pytest.approx(
        min(line["validation_loss"] for line in validations(ranker.out)), abs=1e-3
    )
    with pytest.raises(CheckpointError, match="scores replies and makes none"):
        train(dataclasses.replace(talker, init=str(ranker.out), out=tmp_path / "talker"))


def test_settings_of_sessions_are_refused(pairs: Path, make_config: Make) -> None:
    for settings in ({"reverse": True}, {"chain": 2}):
        with pytest.raises(UsageError, match=f"--{next(iter(settings))} is for sessions"):
            train(make_config(shards=pairs, **settings))
    with pytest.raises(DataError, match=r"pairs are longer than the model's n_ctx of 8 tokens"):
        train(make_config(shards=pairs, n_ctx=8))
