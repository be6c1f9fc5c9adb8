"""The native engine beside the torch engine; no row's result depends on the batch, the cache's pages or the threads.

Bounds of logits are relative: the norm of the difference over that of the logits about their mean.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dialogpt.engine import Joining, Kept
from dialogpt.errors import DialoGPTError, UsageError
from dialogpt.hub import BUNDLED
from dialogpt.model import checkpoint
from dialogpt.model.engine import TorchEngine
from dialogpt.native.engine import NativeEngine, open_native

SHAPES: list[dict[str, int]] = [
    {"vocab_size": 360, "n_ctx": 64, "n_layer": 2, "n_head": 2, "n_embd": 32},
    {"vocab_size": 361, "n_ctx": 70, "n_layer": 1, "n_head": 1, "n_embd": 8},
    {"vocab_size": 367, "n_ctx": 33, "n_layer": 3, "n_head": 3, "n_embd": 30},
    {"vocab_size": 1000, "n_ctx": 700, "n_layer": 1, "n_head": 2, "n_embd": 160},
]
BOUND = {8: 0.05, 4: 0.3}  # of logits: what weights of so many bits cost random models of these shapes


@pytest.fixture(params=BOUND, ids=lambda bits: f"{bits} bits")
def bits(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def opened(folder: Path, bits: int = 8) -> NativeEngine:
    engine = open_native(folder, bits)
    assert engine is not None
    return engine


def error(found: Any, expected: Any) -> float:
    about = expected - expected.mean(-1, keepdims=True)
    return float(np.linalg.norm(found - expected) / np.linalg.norm(about))


def draw(rng: np.random.Generator, lengths: Sequence[int], vocabulary: int = 360) -> list[list[int]]:
    return [rng.integers(0, vocabulary, length).tolist() for length in lengths]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape.values())))
def test_logits_are_near_those_of_torch(
    kernels: str, bits: int, make_model: Callable[..., Any], save: Callable[[Any], Path], shape: dict[str, int]
) -> None:
    model = make_model(seed=3, **shape)
    engine, reference = opened(save(model), bits), TorchEngine(model)
    assert engine.kernels == kernels
    longest = shape["n_ctx"]
    contexts = draw(np.random.default_rng(0), [1, 7, 16, 17, longest // 2, longest], shape["vocab_size"])
    found, expected = engine.prefill(contexts, 0)[0].array(), reference.prefill(contexts, 0)[0].array()
    assert found.shape == expected.shape
    assert error(found, expected) < BOUND[bits]
    pairs = [(context[:-3], context[-3:]) for context in contexts[1:]]
    np.testing.assert_allclose(engine.nats(pairs), reference.nats(pairs), rtol=BOUND[bits], atol=BOUND[bits])


def test_the_bundled_model_is_near_torch(kernels: str) -> None:
    reference = TorchEngine(checkpoint.load()[0])
    contexts = draw(np.random.default_rng(1), [5, 64, 200], 8192)
    found = opened(BUNDLED).prefill(contexts, 0)[0].array()
    assert error(found, reference.prefill(contexts, 0)[0].array()) < 0.04


@pytest.fixture(scope="module")
def folder(make_model: Callable[..., Any], save: Callable[[Any], Path]) -> Path:
    return save(make_model(seed=5, n_head=3, n_embd=36, vocab_size=365))


def alone(engine: NativeEngine, tokens: Sequence[int]) -> Any:
    return engine.prefill([tokens], 0)[0].array()[0]


def test_a_ragged_batch_is_its_rows(kernels: str, bits: int, folder: Path) -> None:
    engine = opened(folder, bits)
    contexts = draw(np.random.default_rng(2), [3, 64, 1, 17, 16, 30, 31, 5, 9, 2, 40, 33, 12, 8])
    together = engine.prefill(contexts, 0)[0].array()
    for row, context in zip(together, contexts, strict=True):
        assert np.array_equal(row, alone(engine, context))
    pairs = [(context[:-1], context[-1:]) for context in contexts if len(context) > 1]
    assert engine.nats(pairs) == [engine.nats([pair])[0] for pair in pairs]


def test_token_by_token_is_all_at_once(kernels: str, bits: int, folder: Path) -> None:
    engine = opened(folder, bits)
    (tokens,) = draw(np.random.default_rng(3), [50])
    logits, cache = engine.prefill([tokens[:1]], 0)
    for place in range(1, len(tokens)):
        assert np.array_equal(logits.array()[0], alone(engine, tokens[:place]))
        logits = engine.decode([tokens[place]], cache)


def test_threads_change_nothing(kernels: str, bits: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contexts = draw(np.random.default_rng(4), [1, 40, 7, 64, 20])
    found = []
    for number in ("1", "2", "3", "7"):
        monkeypatch.setenv("DIALOGPT_THREADS", number)
        engine = opened(folder, bits)
        logits, cache = engine.prefill([context[:-1] or [1] for context in contexts], 0)
        found.append([logits.array(), engine.decode([context[-1] for context in contexts], cache).array()])
        found[-1].append(np.array(engine.nats([([1, 2], context) for context in contexts[:3]])))
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other, strict=True))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_pages_that_rows_share_are_as_copies(folder: Path, data: st.DataObject) -> None:
    """Rows branch, are rearranged, dropped, joined and cut in any order: each goes on as its tokens alone would."""
    engine = opened(folder)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    said: list[list[int]] = [*draw(rng, data.draw(st.lists(st.integers(1, 20), min_size=1, max_size=3)))]
    _, cache = engine.prefill([row for row in said if row], 0)
    for _ in range(data.draw(st.integers(1, 8))):
        acts = ["decode", "decode", "rearrange", "drop", "join", "joining", "prefix", "branch"]
        act = data.draw(st.sampled_from(acts))
        rows = st.integers(0, len(said) - 1)
        if act == "rearrange":
            chosen = data.draw(st.lists(rows, min_size=1, max_size=5))
            cache.rearrange(chosen)
            said = [[*said[row]] for row in chosen]
        elif act == "drop":
            row = data.draw(rows)
            cache.drop(row)
            said[row] = []
        elif act == "join":
            new, place = draw(rng, [5, 18]), data.draw(rows)
            cache.join([place, len(said)], engine.prefill(new, 0)[1])
            said[place : place + 1] = new[:1]
            said.append(new[1])
        elif act == "prefix" and (kept := said[row := data.draw(rows)]):
            length = data.draw(st.integers(1, len(kept)))
            cache, said = cache.prefix(row, length), [kept[:length]]
        elif act == "branch" and len(said) == 1 and said[0]:
            cache, said = cache.branch(3, 10), [[*said[0]] for _ in range(3)]
        if max((len(row) for row in said if row), default=0) > 50 or not any(said):
            return
        tokens = rng.integers(0, 360, len(said)).tolist()
        joining = coming(engine, rng, said, data.draw(st.permutations([1, 3]))) if act == "joining" else []
        logits = engine.decode(tokens, cache, joining)
        for row, token in zip(said, tokens, strict=True):
            row += [token] if row else []
        for places, context, _ in joining:
            said += [[] for _ in range(max(places) + 1 - len(said))]
            for place in places:
                said[place] = [*context]
        for place, row in enumerate(said):
            assert cache.tokens_read(place) == len(row)
            if row:
                assert np.array_equal(logits.array()[place], alone(engine, row))


def coming(
    engine: NativeEngine, rng: np.random.Generator, said: Sequence[list[int]], sizes: Sequence[int]
) -> list[Joining]:
    """Groups of rows of such sizes at the places that are free, then at new ones; the second group has been begun."""
    free = [place for place, row in enumerate(said) if not row]
    places = iter([*free, *range(len(said), len(said) + sum(sizes))])
    contexts = draw(rng, [12, 19])
    begun = [None, engine.prefill([contexts[1][:17]], 0)[1]]
    return [
        Joining([next(places) for _ in range(size)], *rest) for size, *rest in zip(sizes, contexts, begun, strict=True)
    ]


def test_a_conversation_reads_what_is_new(folder: Path) -> None:
    engine = opened(folder)
    (tokens,) = draw(np.random.default_rng(6), [60])
    kept: Kept | None = None
    for context in (tokens[:20], tokens[:45], tokens[:30], [*tokens[:10], *tokens[40:60]], tokens[:20]):
        logits, kept = engine.resume(context, kept)
        assert np.array_equal(logits.array()[0], alone(engine, context))
        assert (kept.tokens, kept.cache.tokens_read()) == (context, len(context))


def test_contexts_that_have_been_begun_are_read_together(folder: Path) -> None:
    engine = opened(folder)
    contexts = draw(np.random.default_rng(8), [40, 7, 33])
    _, read = engine.prefill([contexts[0][:17], contexts[2][:32]], 0)
    begun = [read.prefix(0, 17), None, read.prefix(1, 20)]
    logits, cache = engine.prefill(contexts, 0, begun)
    assert [cache.tokens_read(row) for row in range(3)] == [40, 7, 33]
    for row, context in enumerate(contexts):
        assert np.array_equal(logits.array()[row], alone(engine, context))


def test_shared_pages_are_counted_once(folder: Path) -> None:
    engine = opened(folder)
    _, cache = engine.prefill(draw(np.random.default_rng(7), [40]), 0)
    page = cache.size_bytes / 3
    branched = cache.branch(4, 10)
    assert branched.size_bytes == cache.size_bytes
    engine.decode([1, 2, 3, 4], branched)  # the page that is written to is copied
    assert branched.size_bytes == 6 * page


def test_what_cannot_be_read_is_said(folder: Path) -> None:
    engine = opened(folder)
    with pytest.raises(DialoGPTError, match="no token 365 in a vocabulary of 365"):
        engine.prefill([[1, 365]], 0)
    with pytest.raises(DialoGPTError, match="65 tokens in a row, the model has 64 positions"):
        engine.prefill([[1] * 65], 0)
    logits, cache = engine.prefill([[1] * 64], 0)
    with pytest.raises(DialoGPTError, match="positions"):
        engine.decode([1], cache)
    assert cache.tokens_read() == 64
    assert np.isfinite(logits.logsumexp()).all()
    with pytest.raises(UsageError, match="not one of the model's 365 tokens"):
        engine.nats([([1], [-1])])


def test_damaged_weights_make_logits_that_are_no_numbers(
    kernels: str, bits: int, make_model: Callable[..., Any], save: Callable[[Any], Path]
) -> None:
    for name in ("transformer.h.0.attn.c_attn.weight", "transformer.h.1.mlp.c_fc.bias", "transformer.ln_f.weight"):
        model = make_model(seed=1)
        with torch.no_grad():
            model.get_parameter(name).view(-1)[5] = torch.nan
        logits = opened(save(model), bits).prefill([[1, 2, 3]], 0)[0]
        assert not np.isfinite(logits.logsumexp()).any(), name
