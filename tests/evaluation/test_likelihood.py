"""Perplexity of references, by hand and in the table; published rows; the drawing of lengths."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dialogpt.errors import UsageError
from dialogpt.evaluation import EvaluateConfig, published
from dialogpt.evaluation.evaluate import evaluate
from dialogpt.evaluation.inputs import read_inputs, read_replies
from dialogpt.evaluation.likelihood import nats_and_tokens
from dialogpt.evaluation.plots import length_shares
from dialogpt.model.engine import TorchEngine
from dialogpt.session import Turn

CONTEXTS = [("hi", "صباح الخير"), ("what is the best way?",), ("ok",)]
REFERENCES = [("good morning", "الحمد لله"), ("money",), ("see you 👍🏽", "fine", "no")]


def by_hand(model: Any, tokenizer: Any, context: tuple[str, ...], response: str) -> tuple[float, int]:
    tokens = [token for text in (*context, response) for token in (*tokenizer.encode(text), tokenizer.end_id)]
    target = len(tokenizer.encode(response)) + 1
    with torch.inference_mode():
        logprobs = model(torch.tensor([tokens])).float().log_softmax(-1)[0]
    return -sum(float(logprobs[i - 1, tokens[i]]) for i in range(len(tokens) - target, len(tokens))), target


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    refs, hyps = tmp_path / "refs.jsonl", tmp_path / "ours.txt"
    lines = [{"context": c, "references": r} for c, r in zip(CONTEXTS, REFERENCES, strict=True)]
    refs.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    hyps.write_text("good\nmoney money\nsee you\n", encoding="utf-8")
    return hyps, refs


def test_nats_and_tokens_by_hand(tiny_model: tuple[Any, Any]) -> None:
    model, tokenizer = tiny_model
    pairs = [(c, r) for c, several in zip(CONTEXTS, REFERENCES, strict=True) for r in several]
    found = nats_and_tokens(
        TorchEngine(model), tokenizer, [list(map(Turn, c)) for c, _ in pairs], [r for _, r in pairs]
    )
    assert found == pytest.approx(np.array([by_hand(model, tokenizer, c, r) for c, r in pairs]), rel=1e-5)


def test_what_is_too_long_is_cut(tiny_model: tuple[Any, Any]) -> None:
    model, tokenizer = tiny_model  # reads 64 tokens
    long = "does money buy happiness? " * 20
    ((nats, tokens),) = nats_and_tokens(TorchEngine(model), tokenizer, [[Turn(long), Turn("hi")]], [long])
    assert tokens == 32
    assert 0 < nats < math.inf


def test_perplexity_in_the_table(files: tuple[Path, Path], tiny_model: tuple[Any, Any], tiny_checkpoint: Path) -> None:
    hyps, refs = files
    settings: dict[str, Any] = {"hyps": (hyps,), "refs": (refs,), "metrics": ("perplexity", "length"), "samples": 300}
    text = evaluate(EvaluateConfig(**settings, models=(str(tiny_checkpoint),), format="json"))
    found = {score["name"]: score for score in json.loads(text)}
    pairs = [by_hand(*tiny_model, c, r) for c, several in zip(CONTEXTS, REFERENCES, strict=True) for r in several]
    nats, tokens = map(sum, zip(*pairs, strict=True))
    assert found["perplexity"]["value"] == pytest.approx(math.exp(nats / tokens), rel=1e-4)
    assert found["perplexity"]["low"] < found["perplexity"]["value"] < found["perplexity"]["high"]
    assert f"|tokens:{tokens}|" in found["perplexity"]["signature"]
    assert "perplexity" in evaluate(EvaluateConfig(**settings, models=(str(tiny_checkpoint),)))
    settings["metrics"] = ("perplexity",)
    alone = json.loads(evaluate(EvaluateConfig(**settings, models=(str(tiny_checkpoint),), format="json")))
    assert alone == [found["perplexity"]]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"models": ("a", "b")}, "2 models for 1 systems"),
        ({"metrics": ("perplexity",)}, "perplexity needs the systems' models"),
        ({"plot": Path("x.gif")}, "--plot x.gif: the ending does not say which format"),
    ],
)
def test_what_cannot_be_asked(files: tuple[Path, Path], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        evaluate(EvaluateConfig(hyps=files[:1], refs=files[1:], **changes))
    assert caught.value.message == message


def test_perplexity_needs_contexts(files: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "r.txt").write_text("a\nb\nc\n", encoding="utf-8")
    with pytest.raises(UsageError, match="perplexity needs the contexts"):
        evaluate(EvaluateConfig(hyps=files[:1], refs=(tmp_path / "r.txt",), models=("bundled",)))


@pytest.mark.parametrize("table", published.TABLES)
def test_published_rows_stand_below(files: tuple[Path, Path], table: Any) -> None:
    settings: dict[str, Any] = {"hyps": files[:1], "refs": files[1:], "samples": 0, "published": table}
    metrics = ("nist", "bleu", "entropy", "distinct", "length", "bland")
    lines = evaluate(EvaluateConfig(**settings, metrics=metrics)).splitlines()
    rows = [line for line in lines if line.startswith("paper: ")]
    assert len(rows) == len(published.TABLES[table])
    beam = next(row for row in rows if row.startswith("paper: 345M, beam"))
    nist, bleu = ("3.50", "7.92") if table == "reddit-6k" else ("2.97", "6.05")
    assert nist in beam.split()
    assert bleu in beam.split()
    (bland,) = [line for line in lines if line.startswith("bland %")]
    assert len(bland.split()) == 3  # of our system alone
    for score in published.published(table):
        assert score.value is not None
        if score.name in published.PERCENT:
            assert 0 < score.value < 1


def test_lengths_without_references(files: tuple[Path, Path]) -> None:
    assert list(length_shares(read_replies(files[:1], in_context=False))) == ["ours"]


def test_lengths_are_drawn(files: tuple[Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    shares = length_shares(read_inputs(files[:1], files[1:]))
    assert shares["ours"].tolist() == pytest.approx([0, 1 / 3, 2 / 3, 0])
    assert shares["the references"].tolist() == pytest.approx([0, 3 / 6, 2 / 6, 1 / 6])
    for name, begins in (("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("A.PDF", b"%PDF")):
        evaluate(EvaluateConfig(hyps=files[:1], refs=files[1:], metrics=("length",), samples=0, plot=tmp_path / name))
        assert (tmp_path / name).read_bytes().startswith(begins)
