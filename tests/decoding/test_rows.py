"""Rows decoded together: places refilled, contexts shared, conversations kept; none of it changes a reply."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dialogpt import GPT, Tokenizer
from dialogpt.decoding import DecodingConfig, Hypothesis
from dialogpt.decoding.hypotheses import make, make_from, stream_tokens
from dialogpt.engine import Kept
from dialogpt.model.engine import TorchEngine

Pair = tuple[GPT, Tokenizer]


def same(a: Hypothesis, b: Hypothesis) -> bool:
    return (a.text, a.tokens, a.ended) == (b.text, b.tokens, b.ended) and abs(a.logprob - b.logprob) < 1e-3


def contexts_of(lengths: Sequence[int], end: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(sum(lengths))
    return [[*torch.randint(1, 350, (length - 1,), generator=generator).tolist(), end] for length in lengths]


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 64), min_size=1, max_size=12), copies=st.integers(1, 3),
    batch_size=st.sampled_from([1, 2, 3, 5, 64]), longest=st.sampled_from([1, 5, 40]),
)  # fmt: skip
def test_places_are_refilled_and_no_reply_changes(
    tiny_model: Pair, lengths: list[int], copies: int, batch_size: int, longest: int
) -> None:
    model, tokenizer = tiny_model
    engine, config = TorchEngine(model), DecodingConfig(max_new_tokens=longest)
    contexts = contexts_of(lengths, tokenizer.end_id)
    seeds = [[(i, copy) for copy in range(copies)] for i in range(len(contexts))]
    together = make(engine, tokenizer, contexts, config, seeds, batch_size)
    for context, mine, made in zip(contexts, seeds, together, strict=True):
        for seed, hypothesis in zip(mine, made, strict=True):
            ((alone,),) = make(engine, tokenizer, [context], config, [[seed]])
            assert same(hypothesis, alone)


def test_rows_of_one_context_share_what_is_read(tiny_model: Pair) -> None:
    engine, config = TorchEngine(tiny_model[0]), DecodingConfig(max_new_tokens=20)
    context = [5, 6, 7, 8, 0, 9, 10, 0]
    seeds = [(3, i) for i in range(16)]
    made, kept = make_from(engine, tiny_model[1], context, config, seeds, None)
    (expected,) = make(engine, tiny_model[1], [context], config, [seeds])
    assert all(same(a, b) for a, b in zip(made, expected, strict=True))
    assert kept.cache.tokens_read() == len(context)  # as it was read, whatever its branches said


class CountingEngine(TorchEngine):
    """Counts the positions that the model goes through."""

    def __init__(self, model: GPT) -> None:
        super().__init__(model)
        self.read = 0
        hidden = model.hidden

        def counted(tokens: Any, cache: Any = None) -> Any:
            self.read += tokens.numel()
            return hidden(tokens, cache)

        self.model = type("Counted", (), {
            "hidden": staticmethod(counted), "logits": model.logits, "config": model.config,
            "transformer": model.transformer, "device": model.device,
        })()  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(turns=st.lists(st.lists(st.integers(1, 300), min_size=1, max_size=8), min_size=1, max_size=6), data=st.data())
def test_a_conversation_reads_only_what_is_new(tiny_model: Pair, turns: list[list[int]], data: st.DataObject) -> None:
    """Turns are added, taken back, replaced, and dropped at the beginning."""
    engine = CountingEngine(tiny_model[0])
    kept: Kept | None = None
    context: list[int] = []
    for turn in turns:
        change = data.draw(st.sampled_from(["add", "replace", "drop"]))
        before = list(context)
        if change == "replace":
            context = context[: data.draw(st.integers(0, len(context)))]
        elif change == "drop":
            context = context[data.draw(st.integers(0, len(context))) :]
        context = [*context, *turn, 0]
        common = next((i for i, (a, b) in enumerate(zip(before, context, strict=False)) if a != b), None)
        common = min(len(before), len(context)) if common is None else common
        engine.read = 0
        logits, kept = engine.resume(context, kept)
        assert engine.read == len(context) - min(common, len(context) - 1)
        with torch.inference_mode():
            expected = tiny_model[0](torch.tensor([context]))[:, -1]
        torch.testing.assert_close(torch.tensor(logits.array()), expected, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_a_stream_that_is_left_does_no_harm(tiny_model: Pair, taken: int) -> None:
    model, tokenizer = tiny_model
    engine, config = TorchEngine(model), DecodingConfig(max_new_tokens=10, min_new_tokens=8)
    stream = stream_tokens(engine, tokenizer.end_id, [5, 6, 0], config, 1, None)
    kept = None
    for _ in range(taken):
        _, kept = next(stream)
    stream.close()
    logits, _ = engine.resume([5, 6, 0, 7, 0], kept)
    with torch.inference_mode():
        torch.testing.assert_close(
            torch.tensor(logits.array()), model(torch.tensor([[5, 6, 0, 7, 0]]))[:, -1], atol=2e-4, rtol=1e-4
        )


class InterruptedEngine(TorchEngine):
    """Is interrupted in the last block, when the others have stored what they read."""

    @torch.inference_mode()
    def resume(self, context: Sequence[int], kept: Kept | None) -> Any:
        block = self.model.transformer.h[-1]
        hook = block.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        try:
            return super().resume(context, kept)
        finally:
            hook.remove()


@pytest.mark.parametrize("later", [[5, 6, 0, 7, 8, 0], [5, 6, 0, 9, 9, 0, 1, 0], [5, 0], [3, 0]])
def test_a_reading_that_is_interrupted_does_no_harm(make_model: Callable[..., GPT], later: list[int]) -> None:
    model = make_model(seed=4)
    _, kept = TorchEngine(model).resume([5, 6, 0], None)
    with pytest.raises(KeyboardInterrupt):
        InterruptedEngine(model).resume([5, 6, 0, 7, 7, 7, 0], kept)
    logits, _ = TorchEngine(model).resume(later, kept)
    with torch.inference_mode():
        torch.testing.assert_close(
            torch.tensor(logits.array()), model(torch.tensor([later]))[:, -1], atol=2e-4, rtol=1e-4
        )


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=6))
def test_nats_are_those_of_the_targets_alone(tiny_model: Pair, lengths: list[tuple[int, int]]) -> None:
    model, _ = tiny_model
    generator = torch.Generator().manual_seed(len(lengths))
    pairs = [tuple(torch.randint(0, 350, (n,), generator=generator).tolist() for n in both) for both in lengths]
    found = TorchEngine(model).nats(pairs)
    for (context, target), nats in zip(pairs, found, strict=True):
        with torch.inference_mode():
            logprobs = model(torch.tensor([[*context, *target]]))[0].log_softmax(-1)
        by_hand = -sum(float(logprobs[len(context) - 1 + i, token]) for i, token in enumerate(target))
        assert nats == pytest.approx(by_hand, rel=1e-4, abs=1e-3)


def test_many_pairs_are_scored_in_several_passes(tiny_model: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [([5] * (i + 1), [6] * (9 - i)) for i in range(9)]
    expected = TorchEngine(tiny_model[0]).nats(pairs)
    monkeypatch.setattr("dialogpt.model.engine.SCORED_TOGETHER", 20)
    assert TorchEngine(tiny_model[0]).nats(pairs) == pytest.approx(expected, abs=1e-4)


def test_rows_may_have_settings_of_their_own(tiny_model: Pair, make_model: Callable[..., GPT]) -> None:
    import numpy as np

    from dialogpt.decoding.rows import Group, Row, Rows

    model, tokenizer = tiny_model
    engine = TorchEngine(model)
    configs = [
        DecodingConfig(max_new_tokens=9),
        DecodingConfig(temperature=0, max_new_tokens=4),
        DecodingConfig(top_k=3),
    ]
    rows = [Row([5, 6, 0], config, np.random.default_rng(1), min(config.max_new_tokens, 32)) for config in configs]
    batch = Rows(engine, tokenizer.end_id)
    batch.add([Group([row]) for row in rows])
    while batch.alive:
        batch.draw()
        if batch.alive:
            batch.advance()
    for row, config in zip(rows, configs, strict=True):
        ((alone,),) = make(engine, tokenizer, [[5, 6, 0]], config, [[1]])
        assert tuple(row.tokens) == alone.tokens[: len(row.tokens)]
