"""Training does what it is for: the model learns its sessions; how a step is cut does not matter."""

import dataclasses
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dialogpt.decoding import DecodingConfig
from dialogpt.decoding.hypotheses import context_tokens, make
from dialogpt.errors import DataError, UsageError
from dialogpt.model import checkpoint
from dialogpt.model.engine import TorchEngine
from dialogpt.session import Session, Turn, read_sessions
from dialogpt.tokens.batches import Batch
from dialogpt.tokens.bpe import Tokenizer
from dialogpt.tokens.shards import TokenShards
from dialogpt.train import TrainConfig, loop
from dialogpt.train.feed import Feed
from dialogpt.train.loop import train
from dialogpt.train.parallel import Parallel
from dialogpt.train.setup import make_model, with_pass_tokens
from dialogpt.train.world import World

Make = Callable[..., TrainConfig]
LEARN: dict[str, Any] = {"steps": 150, "lr": 3e-3, "warmup": 10, "n_embd": 64, "n_ctx": 128, "batch_tokens": 512,
                         "micro_batch_tokens": 512, "log_every": 20}  # fmt: skip


def sessions_of(shards: Path) -> list[Session]:
    return list(read_sessions(shards.parent / "sessions.jsonl"))


def pairs_of(sessions: list[Session]) -> list[tuple[tuple[Turn, ...], Turn]]:
    """Every turn but the first, after the turns before it."""
    return [(session.turns[:i], session.turns[i]) for session in sessions for i in range(1, len(session.turns))]


def greedy_replies(model: Path, contexts: list[tuple[Turn, ...]]) -> list[str]:
    network, tokenizer = checkpoint.load(model)
    config = DecodingConfig(temperature=0, no_repeat_ngram=0, max_new_tokens=30)
    engine = TorchEngine(network)
    tokens = [context_tokens(tokenizer, turns, engine.n_ctx, config.max_new_tokens) for turns in contexts]
    made = [group[0] for group in make(engine, tokenizer, tokens, config, [[0]] * len(contexts))]
    assert all(hypothesis.ended for hypothesis in made)
    return [hypothesis.text for hypothesis in made]


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_trained_model_gives_every_response_back(make_config: Make, shards: Path) -> None:
    """The whole way - tokens, batches, masks, loss, updates, checkpoint, cache, decoding - is right, or this fails."""
    best = train(make_config(**LEARN))
    pairs = pairs_of(sessions_of(shards))
    assert len(pairs) == 11
    assert greedy_replies(best, [context for context, _ in pairs]) == [response.text for _, response in pairs]
    assert metrics(best.parent)[-1]["loss"] < 0.1


def test_the_backward_model_gives_every_source_back(make_config: Make, shards: Path) -> None:
    best = train(make_config(**LEARN, reverse=True))
    pairs = pairs_of([session.reversed() for session in sessions_of(shards)])
    assert greedy_replies(best, [context for context, _ in pairs]) == [source.text for _, source in pairs]


def test_turns_that_carry_no_loss_are_not_learned(make_config: Make, make_shards: Callable[..., Path]) -> None:
    silent = [Session((Turn("hi"), Turn("onions", learn=False), Turn("why?"), Turn("soup", learn=False)))] * 3
    best = train(make_config(**{**LEARN, "steps": 60}, shards=make_shards(silent)))
    context = silent[0].turns
    assert greedy_replies(best, [context[:2]]) == ["why?"]
    assert greedy_replies(best, [context[:1], context[:3]]) != ["onions", "soup"]


def test_the_cut_of_a_step_into_micro_batches_does_not_change_it(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All sessions are one step, cut into 1 or into 4 and more; by plain descent, so that weights show the gradient."""
    monkeypatch.setattr(loop, "make_optimizer", lambda model, decay: torch.optim.SGD(model.parameters(), lr=0.0))
    found = []
    for number, micro in enumerate((4096, 60, 20)):
        out = tmp_path / str(number)
        config = make_config(
            out=out, batch_tokens=4096, micro_batch_tokens=micro, lr=0.5, schedule="constant", clip=0.0
        )
        found.append((checkpoint.load(train(config))[0].state_dict(), metrics(out)))
    (weights, lines), *others = found
    assert len({line["epoch"] for line in lines}) >= 2  # a step is an epoch
    for other_weights, other_lines in others:
        for name, weight in weights.items():
            torch.testing.assert_close(other_weights[name], weight, atol=1e-6, rtol=0)
        for line, other in zip(lines, other_lines, strict=True):
            assert other["targets_seen"] == line["targets_seen"]
            assert other["loss"] == pytest.approx(line["loss"], rel=1e-6)
            assert other["gradient_norm"] == pytest.approx(line["gradient_norm"], rel=1e-5)


def test_a_fresh_model_is_as_perplexed_as_its_vocabulary_is_large(
    make_config: Make, make_shards: Callable[..., Path]
) -> None:
    many = [Session((Turn(f"question {i}"), Turn(f"answer {i}"))) for i in range(40)]
    config = make_config(shards=make_shards(many, validation=0.3), steps=1, lr=1e-12, validate_every=1)
    train(config)
    (line,) = (line for line in metrics(config.out) if "validation_perplexity" in line)
    size = Tokenizer.load(config.shards).vocab_size
    assert line["validation_perplexity"] == pytest.approx(size, rel=0.1)
    assert line["validation_perplexity"] == pytest.approx(math.exp(line["validation_loss"]))


def test_the_best_checkpoint_is_that_of_the_lowest_validation_loss(
    make_config: Make, make_shards: Callable[..., Path]
) -> None:
    many = [Session((Turn(f"question {i}"), Turn("soup" if i % 2 else "onions"))) for i in range(40)]
    config = make_config(
        shards=make_shards(many, validation=0.3), steps=12, lr=0.02, schedule="constant", validate_every=2
    )
    best = train(config)
    validations = [line for line in metrics(config.out) if "validation_loss" in line]
    assert [line["step"] for line in validations] == [2, 4, 6, 8, 10, 12]
    lowest = min(validations, key=lambda line: line["validation_loss"])
    manifest = json.loads((best / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["counts"]["steps"] == lowest["step"]


def test_validating_does_not_change_training(
    make_config: Make, make_shards: Callable[..., Path], tmp_path: Path
) -> None:
    many = [Session((Turn(f"question {i}"), Turn(f"answer {i}"))) for i in range(40)]
    shards = make_shards(many, validation=0.3)
    found = []
    for number, every in enumerate((1, 100)):
        out = tmp_path / str(number)
        train(make_config(shards=shards, out=out, steps=4, dropout=0.3, validate_every=every))
        found.append(checkpoint.load(out / "checkpoints" / "step-000004")[0].state_dict())
    assert all(torch.equal(weight, found[1][name]) for name, weight in found[0].items())


def test_a_data_set_smaller_than_one_batch_trains(make_config: Make, make_shards: Callable[..., Path]) -> None:
    one = make_shards([Session((Turn("hi"), Turn("good morning")))])
    config = make_config(shards=one, steps=4, batch_tokens=1 << 20, micro_batch_tokens=1 << 16)
    train(config)
    lines = metrics(config.out)
    assert [(line["step"], line["epoch"]) for line in lines] == [(1, 0), (2, 1), (3, 2), (4, 3)]
    assert lines[-1]["loss"] < lines[0]["loss"]


def test_epochs_decide_the_steps(make_config: Make) -> None:
    config = make_config(steps=0, epochs=2.5, batch_tokens=60, micro_batch_tokens=30)
    train(config)
    lines = metrics(config.out)
    in_first = sum(line["epoch"] == 0 for line in lines)
    assert len(lines) == math.ceil(2.5 * in_first)


def test_bfloat16_products_train(make_config: Make) -> None:
    config = make_config(precision="bf16", steps=30, lr=3e-3)
    best = train(config)
    lines = metrics(config.out)
    assert lines[-1]["loss"] < 0.8 * lines[0]["loss"]
    assert all(weight.dtype == torch.float32 for weight in checkpoint.load(best)[0].state_dict().values())
    assert checkpoint.read_weights(best)["transformer.wte.weight"].dtype == torch.float32


def test_a_step_without_anything_to_learn_says_so(make_config: Make, make_shards: Callable[..., Path]) -> None:
    """Read backward, the only turn to learn of these comes first, as context."""
    only_last = make_shards([Session((Turn("hi", learn=False), Turn("good morning")))])
    config = make_config(shards=only_last, reverse=True)
    with pytest.raises(DataError, match="has nothing to learn"):
        train(config)
    assert not config.out.exists()
    train(make_config())  # there is no run in the way


def test_a_transformers_folder_is_trained_on(make_config: Make, shards: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = Tokenizer.load(shards)
    shape = {"n_layer": 1, "n_head": 2, "n_embd": 16, "n_positions": 48, "vocab_size": tokenizer.vocab_size}
    theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(**shape))
    theirs.save_pretrained(tmp_path / "theirs")
    tokenizer.save(tmp_path / "theirs")
    best = train(make_config(init=str(tmp_path / "theirs"), steps=1, lr=1e-12))
    again = transformers.GPT2LMHeadModel.from_pretrained(best)
    for name, weight in theirs.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], weight)
    moved = train(make_config(init=str(tmp_path / "theirs"), steps=3, lr=1e-2, out=tmp_path / "other"))
    assert not torch.equal(transformers.GPT2LMHeadModel.from_pretrained(moved).lm_head.weight, theirs.lm_head.weight)


def test_a_checkpoint_of_another_vocabulary_is_refused(make_config: Make, tmp_path: Path) -> None:
    best = train(make_config(steps=1))
    other = Tokenizer.train(["entirely different words in here"] * 9, 290)
    other.save(best)
    with pytest.raises(UsageError, match="another vocabulary") as caught:
        train(make_config(init=str(best), out=tmp_path / "second"))
    assert f"--tokenizer {best}" in caught.value.hint
    assert not (tmp_path / "second").exists()


def test_a_session_longer_than_the_context_is_refused(make_config: Make) -> None:
    config = make_config(n_ctx=20)
    with pytest.raises(DataError, match="longer than the model's n_ctx of 20") as caught:
        train(config)
    assert "--max-tokens 20" in caught.value.hint
    assert not config.out.exists()


def test_the_size_of_a_pass_is_the_devices_or_that_of_the_run(make_config: Make) -> None:
    """A run that began on another device goes on with the passes it has."""
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    left_open = make_config(micro_batch_tokens=0)
    assert with_pass_tokens(left_open, cpu).micro_batch_tokens == 2048
    assert with_pass_tokens(left_open, gpu).micro_batch_tokens == 8192
    assert with_pass_tokens(make_config(micro_batch_tokens=99), gpu).micro_batch_tokens == 99
    train(left_open)
    assert json.loads((left_open.out / "settings.json").read_text())["micro_batch_tokens"] == 2048
    assert with_pass_tokens(left_open, gpu).micro_batch_tokens == 2048
    train(dataclasses.replace(left_open, steps=4))


@pytest.mark.parametrize(
    "settings",
    [{"n_embd": 33}, {"n_layer": 0}, {"n_head": -1}, {"lr": -1.0}, {"lr": 0.0}, {"batch_tokens": -5}, {"n_ctx": 0},
     {"micro_batch_tokens": -1}, {"steps": -1}, {"steps": 0, "epochs": 0.0}, {"steps": 0, "epochs": -1.0},
     {"save_every": 0}, {"keep": 0}, {"chain": 0}, {"dropout": 1.5}, {"dropout": -0.1}, {"warmup": -1}, {"clip": -1.0},
     {"weight_decay": -0.1}, {"lr": math.nan}, {"device": "abacus"}],
    ids=str,
)  # fmt: skip
def test_settings_that_cannot_work_are_usage_errors(make_config: Make, settings: dict[str, Any]) -> None:
    config = make_config(**settings)
    with pytest.raises(UsageError, match=f"--{next(iter(settings)).replace('_', '-')}|nothing to do"):
        train(config)
    assert not config.out.exists()


def test_sessions_may_be_read_in_chains(make_config: Make, tmp_path: Path) -> None:
    plain, chained = (
        loop.Trainer(make_config(out=tmp_path / str(n), chain=n), World(torch.device("cpu"))) for n in (1, 3)
    )
    assert len(chained.feed.shards) < len(plain.feed.shards)
    assert chained.feed.shards.lengths.sum() == plain.feed.shards.lengths.sum()
    assert chained.feed.shards.lengths.max() <= chained.model.config.n_ctx
    assert train(make_config(chain=3, steps=2)).is_dir()


@pytest.mark.parametrize(("asked", "expected"), [(None, 0.0), (0.3, 0.3)])
def test_a_model_to_start_from_keeps_its_dropout_unless_another_is_asked_for(
    make_config: Make, tmp_path: Path, asked: float | None, expected: float
) -> None:
    train(make_config(out=tmp_path / "first", steps=1, dropout=0.0))
    config = make_config(init=str(tmp_path / "first"), dropout=asked)
    model = make_model(config, Tokenizer.load(config.shards))
    found = {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)}
    assert found | {block.attn.dropout for block in model.transformer.h} | {model.config.dropout} == {expected}


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_recomputed_activations_change_nothing(make_config: Make, tmp_path: Path, dropout: float) -> None:
    plain = make_config(dropout=dropout)
    expected = checkpoint.load(train(plain))[0].state_dict()
    best = train(dataclasses.replace(plain, out=tmp_path / "other", recompute=True))
    assert all(torch.equal(weight, expected[name]) for name, weight in checkpoint.load(best)[0].state_dict().items())


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++ on a CPU")
def test_a_compiled_model_learns_the_same(
    make_config: Make, tmp_path: Path, command_line: Callable[[TrainConfig], list[str]], environment: dict[str, str]
) -> None:
    plain = make_config(steps=3, lr=3e-4, n_layer=1)
    expected = checkpoint.load(train(plain))[0].state_dict()
    compiled = dataclasses.replace(plain, out=tmp_path / "compiled", compile="on")
    subprocess.run([sys.executable, "-m", "dialogpt", *command_line(compiled)], env=environment, check=True)
    for name, weight in checkpoint.load(compiled.out / "best")[0].state_dict().items():
        torch.testing.assert_close(weight, expected[name], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.9 GB, other allocations: 1 MB, max allowed: 9 GB)"),
    ],
    ids=["cuda", "mps"],
)
def test_memory_that_is_not_there_is_named_with_the_setting_to_halve(
    make_config: Make, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(Parallel, "backward", fail)
    with pytest.raises(DataError, match="out of memory in a step of batches of ") as caught:
        train(make_config())
    assert "halve --micro-batch-tokens 128" in caught.value.hint


def test_the_sessions_of_a_batch_without_a_finite_loss_are_named(
    make_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three batches, the second."""

    def backward(self: Parallel, batches: list[Batch], *_: float) -> list[torch.Tensor]:
        return [torch.tensor(math.nan if number == 1 else 1.0) for number in range(len(batches))]

    config = make_config(batch_tokens=180, micro_batch_tokens=60)
    monkeypatch.setattr(Parallel, "backward", backward)
    monkeypatch.setattr(loop, "clip", lambda *_: torch.tensor(1.0))
    (second,) = next(Feed(shards=TokenShards(config.shards), micro_batch_tokens=60, accumulate=3).steps(0, 0)).sessions[
        1:2
    ]
    with pytest.raises(DataError, match="sessions " + ", ".join(map(str, second))):
        train(config)


@pytest.mark.parametrize("reverse", [True, False])
def test_a_backward_model_to_begin_with_is_warned_of(
    make_config: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture, reverse: bool
) -> None:
    first = train(make_config(steps=1, reverse=True, out=tmp_path / "first"))
    caplog.clear()
    train(make_config(steps=1, init=str(first), reverse=reverse))
    said = f"--init {first} is a backward model: add --reverse to train it further, or start from another model"
    assert (said in caplog.messages) == (not reverse)
