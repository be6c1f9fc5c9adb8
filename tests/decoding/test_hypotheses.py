"""Contexts -> hypotheses: what is read, what is drawn, and that neither depends on the batch."""

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dialogpt import GPT, Tokenizer, Turn
from dialogpt.decoding import DecodingConfig, Hypothesis
from dialogpt.decoding.hypotheses import context_tokens, make, sayable
from dialogpt.errors import DataError
from dialogpt.logs import sparing
from dialogpt.model.engine import TorchEngine

Pair = tuple[GPT, Tokenizer]
TURNS = st.lists(st.text(max_size=12), min_size=1, max_size=8)
CONTEXTS = [[5, 6, 0], [7, 0], [*range(1, 30), 0], [9, 9, 9, 9, 0, 3, 0], [300, 0]]
SEEDS = [11, 12, 13, 14, 15]


def same(a: Hypothesis, b: Hypothesis) -> bool:
    return (a.text, a.tokens, a.ended) == (b.text, b.tokens, b.ended) and math.isclose(
        a.logprob, b.logprob, abs_tol=1e-4
    )


def replies(pair: Pair, contexts: Sequence[Sequence[int]], seeds: Sequence[int], **config: Any) -> list[Hypothesis]:
    made = make(TorchEngine(pair[0]), pair[1], contexts, DecodingConfig(**config), [[seed] for seed in seeds])
    return [hypothesis for (hypothesis,) in made]


@settings(max_examples=100, deadline=None)
@given(texts=TURNS, n_ctx=st.integers(8, 80), longest=st.integers(1, 80))
def test_a_context_is_the_newest_whole_turns_that_leave_room(
    tiny_tokenizer: Tokenizer, texts: list[str], n_ctx: int, longest: int
) -> None:
    turns = tiny_tokenizer.encode_turns(Turn(text) for text in texts if text.strip())
    assume(turns)
    room = n_ctx - min(longest, n_ctx // 2)
    made = context_tokens(tiny_tokenizer, map(Turn, texts), n_ctx, longest)
    assert made[-1] == tiny_tokenizer.end_id
    if len(turns[-1]) > room:
        assert made == turns[-1][-room:]
        return
    suffixes = [[token for turn in turns[i:] for token in turn] for i in range(len(turns))]
    assert made == max((s for s in suffixes if len(s) <= room), key=len)


def test_a_cut_turn_is_told(tiny_tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        made = context_tokens(tiny_tokenizer, [Turn("hello"), Turn("x" * 100)], 32, 16)
    assert made == [*tiny_tokenizer.encode("x" * 15), tiny_tokenizer.end_id]
    assert "a turn of 101 tokens is too long; only its last 16 are read" in caplog.text


def test_no_turn_is_an_error(tiny_tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="context is empty"):
        context_tokens(tiny_tokenizer, [], 64, 8)


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(st.sampled_from(["<|endoftext|>", "a<|endoftext|>b", " ", "x\ud800", "\udfff"]), min_size=1))
def test_only_turns_end_turns(tiny_tokenizer: Tokenizer, texts: list[str]) -> None:
    said = [text for text in texts if text.strip()]
    if not said:
        with pytest.raises(DataError, match="context is empty"):
            context_tokens(tiny_tokenizer, map(Turn, texts), 4096, 64)
        return
    made = context_tokens(tiny_tokenizer, map(Turn, texts), 4096, 64)
    assert made.count(tiny_tokenizer.end_id) == len(said)


def test_turns_that_do_not_fit_cost_nothing(tiny_tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long conversation's next reply is as quick as the first one's."""
    encoded: list[Turn] = []
    encode_turns = tiny_tokenizer.encode_turns

    def counted(turns: Iterable[Turn]) -> list[list[int]]:
        encoded.extend(listed := list(turns))
        return encode_turns(listed)

    monkeypatch.setattr(tiny_tokenizer, "encode_turns", counted)
    made = context_tokens(tiny_tokenizer, [Turn(f"turn {i}") for i in range(10_000)], 64, 16)
    assert len(made) <= 48
    assert len(encoded) == made.count(tiny_tokenizer.end_id) + 1


@pytest.mark.parametrize(
    "config",
    [
        {"temperature": 0},
        {},
        {"temperature": 1.5, "top_k": 0, "top_p": 1},
        {"max_new_tokens": 60, "no_repeat_ngram": 2},
    ],
    ids=str,
)
def test_a_row_is_the_same_in_a_batch_and_alone(tiny_model: Pair, config: dict[str, Any]) -> None:
    together = replies(tiny_model, CONTEXTS, SEEDS, **config)
    backwards = replies(tiny_model, CONTEXTS[::-1], SEEDS[::-1], **config)[::-1]
    alone = [replies(tiny_model, [c], [s], **config)[0] for c, s in zip(CONTEXTS, SEEDS, strict=True)]
    assert len({hypothesis.tokens for hypothesis in together}) > 1
    for a, b, c in zip(together, backwards, alone, strict=True):
        assert same(a, b), (a, b)
        assert same(a, c), (a, c)


def test_seeds_decide(tiny_model: Pair) -> None:
    first, again, other = (replies(tiny_model, CONTEXTS[:1] * 3, seeds) for seeds in ([1, 2, 3], [1, 2, 3], [4, 5, 6]))
    assert first == again
    assert len({hypothesis.tokens for hypothesis in first + other}) == 6


@pytest.mark.parametrize("longest", [1, 5, 32, 60, 1000])
@pytest.mark.parametrize("length", [1, 31, 32, 60, 63, 64])
def test_a_reply_never_leaves_the_models_context(
    make_model: Callable[..., GPT], tiny_tokenizer: Tokenizer, longest: int, length: int
) -> None:
    pair = make_model(end_logit=-30.0), tiny_tokenizer  # it would go on for ever
    (made,) = replies(pair, [[5] * length], [0], max_new_tokens=longest, no_repeat_ngram=0)
    assert not made.ended
    assert len(made.tokens) == min(longest, 32, 64 - length)


def test_the_logprob_is_the_models_own(make_model: Callable[..., GPT], tiny_tokenizer: Tokenizer) -> None:
    model, tokenizer = make_model(seed=1, end_logit=2.5), tiny_tokenizer
    made = replies(
        (model, tokenizer), CONTEXTS, SEEDS, temperature=0.7, top_k=5, repetition_penalty=1.3, min_new_tokens=2
    )
    assert {hypothesis.ended for hypothesis in made} == {True, False}
    for context, hypothesis in zip(CONTEXTS, made, strict=True):
        row = [*context, *hypothesis.tokens]
        with torch.no_grad():
            logprobs = model(torch.tensor([row[:-1]]))[0].double().log_softmax(-1)
        by_hand = sum(logprobs[len(context) - 1 + i, token].item() for i, token in enumerate(hypothesis.tokens))
        assert hypothesis.logprob == pytest.approx(by_hand, abs=1e-3)
        assert hypothesis.ended == (hypothesis.tokens[-1] == tokenizer.end_id)
        assert hypothesis.text == sayable(tokenizer.decode(hypothesis.tokens))


def test_rows_that_have_ended_leave_the_batch(scripted_engine: Callable[..., Any], tiny_tokenizer: Tokenizer) -> None:
    """By halves: leaving means to copy what the others have read."""
    end = tiny_tokenizer.end_id
    scripts = [[5, end], [6, 7, 8, 9, end], [end], [9, 10, end]]
    engine = scripted_engine(scripts, tiny_tokenizer.vocab_size)
    config = DecodingConfig(temperature=0, min_new_tokens=0)
    made = make(engine, tiny_tokenizer, [[1, end]] * 4, config, [[0]] * 4)
    assert [list(hypothesis.tokens) for (hypothesis,) in made] == scripts[::-1]  # the last waits on top
    assert engine.decoded_rows == [[0, 1, 2, 3], [1, 3], [1], [1]]


def test_the_shortest_length(tiny_model: Pair, make_model: Callable[..., GPT]) -> None:
    pair = make_model(end_logit=30.0), tiny_model[1]  # it would say nothing
    assert [len(h.tokens) for h in replies(pair, CONTEXTS, SEEDS, min_new_tokens=0)] == [1] * 5
    assert [len(h.tokens) for h in replies(pair, CONTEXTS, SEEDS, min_new_tokens=4)] == [5] * 5


@pytest.mark.parametrize("n", [1, 2, 3])
def test_no_ngram_twice_in_a_reply(make_model: Callable[..., GPT], tiny_tokenizer: Tokenizer, n: int) -> None:
    pair = make_model(end_logit=-30.0), tiny_tokenizer
    for made in replies(pair, CONTEXTS, SEEDS, temperature=0, no_repeat_ngram=n):
        grams = [made.tokens[i : i + n] for i in range(len(made.tokens) - n + 1)]
        assert len(grams) == len(set(grams)) > 20
    looped = replies(pair, CONTEXTS, SEEDS, temperature=0, no_repeat_ngram=0)
    assert any(len(set(made.tokens)) < len(made.tokens) for made in looped)  # without it, it does repeat itself


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_an_error(
    make_model: Callable[..., GPT], tiny_tokenizer: Tokenizer, value: float
) -> None:
    model = make_model()
    with torch.no_grad():
        model.transformer.ln_f.weight[3] = value
    with pytest.raises(DataError, match="logits are not finite"):
        replies((model, tiny_tokenizer), CONTEXTS, SEEDS)


def test_many_cut_turns_are_told_in_few_words(tiny_tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture) -> None:
    def cut(times: int) -> None:
        for _ in range(times):
            context_tokens(tiny_tokenizer, [Turn("x" * 100)], 32, 16)

    with sparing("dialogpt.decoding.hypotheses"):
        cut(10)
    assert [message[:9] for message in caplog.messages[:3]] == ["a turn of"] * 3
    assert caplog.messages[3:] == ["7 more such warnings are not shown"]
    caplog.clear()
    with sparing("dialogpt.decoding.hypotheses"):
        cut(3)
    cut(5)
    assert len(caplog.messages) == 8
