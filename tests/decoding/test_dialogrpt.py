"""Rankers of DialogRPT's kind: the numbers of transformers' own model, by both engines, and what they are used for."""

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2ForSequenceClassification

from dialogpt import GPT, Chatbot, Tokenizer, Turn
from dialogpt.decoding import Hypothesis, ReplyConfig
from dialogpt.decoding.dialogrpt import DialogRPT
from dialogpt.decoding.loading import load_engine, load_ranker, with_companion
from dialogpt.errors import CheckpointError, UsageError
from dialogpt.info import InfoConfig, info
from dialogpt.native.library import kernels

Pair = tuple[GPT, Tokenizer]
CONTEXT = [Turn("I love NLP!"), Turn("صباح الخير"), Turn("what is in it?")]
TEXTS = ["Can you tell me how it works?", "Me too!", "He is a great basketball player 😀", "بخير"]


def made(*texts: str) -> list[Hypothesis]:
    return [Hypothesis(text=text, tokens=(1,), logprob=-1.0, ended=True) for text in texts]


def expected(tiny_ranker: Path, tokenizer: Tokenizer, context: Sequence[Turn], texts: Sequence[str]) -> list[float]:
    """log sigmoid of transformers' numbers, each hypothesis alone."""
    theirs = GPT2ForSequenceClassification.from_pretrained(tiny_ranker, dtype=torch.float32).eval()
    read = [token for turn in context for token in (*tokenizer.encode(turn.text), tokenizer.end_id)]
    with torch.no_grad():
        logits = [theirs(torch.tensor([[*read, *tokenizer.encode(text)]])).logits.item() for text in texts]
    assert max(logits) - min(logits) > 0.5  # it tells them apart
    return [math.log(1 / (1 + math.exp(-logit))) for logit in logits]


def test_the_numbers_are_those_of_transformers(tiny_ranker: Path, tiny_model: Pair) -> None:
    ((ours, weight),) = load_ranker(ReplyConfig(ranker=str(tiny_ranker), precision="fp32"), device="cpu")
    assert (ours.name, weight) == ("ranker", 1.0)
    assert ours(CONTEXT, made(*TEXTS)) == pytest.approx(expected(tiny_ranker, tiny_model[1], CONTEXT, TEXTS), abs=1e-4)
    assert ours(CONTEXT[:1], made("yes")) == pytest.approx(ours(CONTEXT[:1], made("yes", "no"))[:1], abs=1e-5)


@pytest.mark.skipif(kernels() is None, reason="no native engine")
def test_the_native_engine_is_near(tiny_ranker: Path, tiny_model: Pair) -> None:
    engine, tokenizer = load_engine(str(tiny_ranker), device="cpu", precision="int8", ranker=True)
    assert type(engine).__name__ == "NativeEngine"
    found = DialogRPT(engine, tokenizer)(CONTEXT, made(*TEXTS))
    reference = expected(tiny_ranker, tiny_model[1], CONTEXT, TEXTS)
    assert found == pytest.approx(reference, abs=0.05 * (max(reference) - min(reference)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_score_in_another_type(tiny_ranker: Path, tmp_path: Path, precision: str, dtype: torch.dtype) -> None:
    """The old file had some of its weights in half precision."""
    if precision == "int8" and kernels() is None:
        pytest.skip("no native engine")
    shutil.copytree(tiny_ranker, tmp_path, dirs_exist_ok=True)
    weights = load_file(tiny_ranker / "model.safetensors")
    save_file(weights | {"score.weight": weights["score.weight"].to(dtype)}, tmp_path / "model.safetensors")
    scores = [
        DialogRPT(*load_engine(str(folder), device="cpu", precision=precision, ranker=True))(CONTEXT, made(*TEXTS))
        for folder in (tiny_ranker, tmp_path)
    ]
    assert scores[0] == pytest.approx(scores[1], abs=0.02)


def test_the_released_file(tiny_ranker: Path, tmp_path: Path) -> None:
    """`updown.pth`: a state dict with the tokenizer's files beside it, whose heads are 64 wide."""
    shutil.copytree(tiny_ranker, tmp_path, dirs_exist_ok=True)
    config = json.loads((tiny_ranker / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | {"n_head": 1}), encoding="utf-8")
    torch.save(load_file(tiny_ranker / "model.safetensors"), tmp_path / "updown.pth")
    (file,), (folder,) = (
        load_ranker(ReplyConfig(ranker=str(name), precision="fp32"), device="cpu")
        for name in (tmp_path / "updown.pth", tmp_path)
    )
    assert file[0](CONTEXT, made(*TEXTS)) == pytest.approx(folder[0](CONTEXT, made(*TEXTS)), abs=1e-5)
    assert "n_embd 64" in info(InfoConfig(path=(tmp_path / "updown.pth",)))


@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_what_does_not_fit(tiny_ranker: Path, precision: str) -> None:
    """Older turns are left out, a hypothesis keeps its end, and one that is empty is scored too."""
    ((ours, _),) = load_ranker(ReplyConfig(ranker=str(tiny_ranker), precision=precision), device="cpu")  # type: ignore[arg-type]
    long = [Turn("x" * 50), *CONTEXT[-1:]]
    assert ours(long, made("yes", "a" * 20)) == pytest.approx(ours(CONTEXT[-1:], made("yes", "a" * 20)), abs=1e-5)
    ending = "z" * 32
    first, second, empty = ours([Turn("a")], made("x" * 500 + ending, "y" * 300 + ending, ""))
    assert first == pytest.approx(second, abs=1e-5)
    assert math.isfinite(empty)


@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_each_in_its_place(tiny_ranker: Path, tiny_checkpoint: Path, precision: str) -> None:
    with pytest.raises(CheckpointError, match="scores replies and makes none"):
        load_engine(str(tiny_ranker), device="cpu", precision=precision)
    with pytest.raises(CheckpointError, match=r"is not a ranker: it has no score\.weight"):
        load_engine(str(tiny_checkpoint), device="cpu", precision=precision, ranker=True)


@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_a_classifier_of_two_classes_is_no_ranker(tiny_ranker: Path, tmp_path: Path, precision: str) -> None:
    shutil.copytree(tiny_ranker, tmp_path, dirs_exist_ok=True)
    weights = load_file(tiny_ranker / "model.safetensors")
    save_file(weights | {"score.weight": torch.zeros(2, 64)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"score\.weight has shape \(2, 64\), a ranker's is \(1, 64\)"):
        load_engine(str(tmp_path), device="cpu", precision=precision, ranker=True)


def test_the_reply_is_the_rankers_first(tiny_ranker: Path, tiny_checkpoint: Path) -> None:
    settings: dict[str, Any] = {"seed": 1, "temperature": 1.0, "max_new_tokens": 6, "safety": False}
    reply = {}
    for weight in (1.0, -1.0):
        config = ReplyConfig(ranker=str(tiny_ranker), ranker_weight=weight, **settings)
        assert config.hypotheses == 16
        bot = Chatbot.load(tiny_checkpoint, settings=config, device="cpu")
        reply[weight] = bot.reply("hello")
        scores = [hypothesis.scores["ranker"] for hypothesis in bot.hypotheses]
        assert scores == sorted(scores, reverse=weight > 0)
        assert scores[0] != scores[-1]
    assert reply[1.0] != reply[-1.0]


def test_mmi_and_ranker_are_summed(tiny_ranker: Path, tiny_checkpoint: Path) -> None:
    config = ReplyConfig(
        ranker=str(tiny_ranker), ranker_weight=5.0, mmi=True, backward=str(tiny_checkpoint), seed=1, max_new_tokens=4,
        temperature=1.0, safety=False,
    )  # fmt: skip
    bot = Chatbot.load(tiny_checkpoint, settings=config, device="cpu")
    bot.reply("hello")
    totals = [h.scores["mmi"] + 5 * h.scores["ranker"] for h in bot.hypotheses]
    assert totals == sorted(totals, reverse=True)


def test_a_ranker_takes_the_place_of_mmi_by_default() -> None:
    assert with_companion(ReplyConfig(), None).mmi
    assert not with_companion(ReplyConfig(ranker="x"), None).mmi


def test_a_small_model_chooses_from_many(monkeypatch: pytest.MonkeyPatch) -> None:
    assert with_companion(ReplyConfig(), None).hypotheses == 64
    assert with_companion(ReplyConfig(num_hypotheses=4), None).hypotheses == 4
    monkeypatch.setattr("dialogpt.decoding.loading.SMALL", 6_000_000)
    large = with_companion(ReplyConfig(), None)
    assert large.mmi
    assert large.hypotheses == 16


def test_a_weight_of_nothing() -> None:
    with pytest.raises(UsageError, match="--ranker-weight nan is out of range"):
        ReplyConfig(ranker_weight=math.nan)
    with pytest.raises(UsageError, match="--ranker-weight needs a ranker, and none is named"):
        ReplyConfig(ranker_weight=2.0)


def test_info_tells_a_ranker(tiny_ranker: Path) -> None:
    assert "of a ranker, for --ranker" in info(InfoConfig(path=(tiny_ranker,)))
