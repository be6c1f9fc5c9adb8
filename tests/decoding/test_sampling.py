"""Filters and draws as properties, against plain Python."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from dialogpt.decoding import DecodingConfig
from dialogpt.decoding.sampling import candidates, draw, only_allowed, repeated_next
from dialogpt.model.logits import TorchLogits

TIED = st.sampled_from([-2.0, 0.0, 0.5, 3.0])
LOGITS = st.lists(TIED | st.floats(-20, 20, width=32), min_size=1, max_size=12)


def config(**changes: float | int) -> DecodingConfig:
    plain = {"temperature": 1, "top_k": 0, "top_p": 1, "no_repeat_ngram": 0, "min_new_tokens": 0}
    return DecodingConfig(**{**plain, **changes})  # type: ignore[arg-type]


def generators(count: int, seed: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng(seed + i) for i in range(count)]


def allowed(
    logits: Tensor, contexts: list[list[int]], replies: list[list[int]], end_id: int, settings: DecodingConfig
) -> Tensor:
    """The logits (B, V) while only what is allowed is left."""
    held = TorchLogits(logits)
    with only_allowed(held, contexts, replies, [settings] * len(logits), end_id):
        return torch.tensor(held.array())


def drawn_from(logits: Tensor, settings: DecodingConfig, generators: list[np.random.Generator]) -> list[int]:
    drawn = draw(TorchLogits(logits), [settings] * len(logits), generators)
    assert drawn.shape == (len(logits),)
    return drawn.tolist()


def kept(filtered: Tensor) -> set[int]:
    return {i for i, value in enumerate(filtered.tolist()) if value != -math.inf}


def left(logits: Tensor, **changes: float | int) -> list[list[int]]:
    """The tokens that may be drawn, of each row (B, V), in the order of the candidates."""
    found = candidates(TorchLogits(logits), [config(**changes)] * len(logits))
    return [
        [token for token, logit in zip(tokens, row, strict=True) if logit != -math.inf]
        for tokens, row in zip(found.tokens.tolist(), found.logits.tolist(), strict=True)
    ]


def likeliest_first(logits: list[float]) -> list[int]:
    return sorted(range(len(logits)), key=lambda i: (-logits[i], i))


@settings(deadline=None)
@given(logits=LOGITS, k=st.integers(1, 14), temperature=st.sampled_from([1e-9, 0.7, 1.0, 5.0]))
def test_top_k_keeps_exactly_k_also_on_ties(logits: list[float], k: int, temperature: float) -> None:
    row = torch.tensor([logits])
    found = candidates(TorchLogits(row), [config(top_k=k, temperature=temperature)])
    if k < len(logits):
        assert found.tokens.tolist() == [likeliest_first(row[0].tolist())[:k]]
    else:
        assert sorted(found.tokens[0].tolist()) == list(range(len(logits)))
    np.testing.assert_allclose(found.logits[0], ((row[0] - row.max()) / temperature).numpy()[found.tokens[0]], 1e-5)


@settings(deadline=None)
@given(logits=LOGITS, p=st.floats(0.01, 1.0), temperature=st.sampled_from([0.5, 1.0, 2.0]))
def test_top_p_keeps_the_smallest_set_that_reaches_p(logits: list[float], p: float, temperature: float) -> None:
    row = torch.tensor(logits)
    odds = np.exp((row.double().numpy() - max(row.tolist())) / temperature)
    order = likeliest_first(row.tolist())
    reached = np.cumsum(odds[order] / odds.sum())
    assume(p == 1 or min(abs(reached - p)) > 1e-5)  # else it is for rounding to decide
    count = len(order) if p == 1 else int(np.argmax(reached >= p)) + 1
    assert sorted(left(row[None], top_p=p, temperature=temperature)[0]) == sorted(order[:count])


@settings(deadline=None)
@given(logits=LOGITS, p=st.floats(0.01, 1.0))
def test_min_p_keeps_what_is_near_the_likeliest(logits: list[float], p: float) -> None:
    row = torch.tensor(logits)
    ratio = np.exp(row.double().numpy() - max(row.tolist()))
    assume(min(abs(ratio - p)) > 1e-5 or p == 1)
    expected = [i for i in likeliest_first(row.tolist()) if ratio[i] >= p]
    assert sorted(left(row[None], min_p=p)[0]) == sorted(expected)


def test_filters_keep_rows_apart_and_their_input_as_it_was() -> None:
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0], [0.0, 0.0, 0.0, 9.0]])
    before = logits.clone()
    assert left(logits, top_k=2) == [[0, 1], [3, 0]]
    assert left(logits, top_p=0.7) == [[0, 1], [3]]
    assert left(logits, min_p=0.3) == [[0, 1], [3]]
    changed = config(min_new_tokens=5, repetition_penalty=2.0, no_repeat_ngram=1, no_repeat_context=1)
    allowed(logits, [[3], [3]], [[1], [2]], 0, changed)
    assert torch.equal(logits, before)


@pytest.mark.parametrize("p", [1e-9, 0.3, 1 - 1e-7])
def test_the_likeliest_token_is_never_filtered(p: float) -> None:
    logits = torch.linspace(0, 20, 50_257)[None]
    assert left(logits, top_p=p)[0][0] == 50_256
    assert left(logits, min_p=p)[0][0] == 50_256
    assert left(logits, top_k=1) == [[50_256]]


@pytest.mark.parametrize("sharpness", [0.5, 4.0])
def test_a_nucleus_of_a_large_vocabulary_has_no_holes(sharpness: float) -> None:
    """Sums over 50,257 tokens are where rounding shows; a flat distribution needs more than 1,024 candidates."""
    logits = torch.randn(4, 50_257, generator=torch.Generator().manual_seed(0)) * sharpness
    for p in (0.01, 0.9, 0.999, 1 - 1e-6):
        for row, tokens in zip(logits, left(logits, top_p=p), strict=True):
            order = row.argsort(descending=True, stable=True)
            count = len(tokens)
            assert tokens == order[:count].tolist()
            reached = row.double().softmax(-1)[order].cumsum(0)
            assert reached[count - 1] >= p - 1e-7
            assert count == 1 or reached[count - 2] < p + 1e-7


def brute_repeats(reply: list[int], n: int, vocabulary: int) -> list[int]:
    def grams(tokens: list[int]) -> list[tuple[int, ...]]:
        return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]

    return [t for t in range(vocabulary) if any(g in grams(reply) for g in grams([*reply, t])[-1:])]


@settings(deadline=None)
@given(reply=st.lists(st.integers(0, 3), max_size=12), n=st.integers(1, 4))
def test_repeated_next_bans_what_would_make_an_ngram_twice(reply: list[int], n: int) -> None:
    assert sorted(repeated_next(reply, n)) == brute_repeats(reply, n, 4)
    assert repeated_next(tuple(reply), n) == repeated_next(reply, n)


@settings(deadline=None)
@given(
    context=st.lists(st.integers(0, 3), max_size=8), reply=st.lists(st.integers(0, 3), max_size=8), n=st.integers(1, 4)
)
def test_no_ngram_of_the_context_either(context: list[int], reply: list[int], n: int) -> None:
    filtered = allowed(torch.zeros(1, 5), [context], [reply], 4, config(no_repeat_context=n))
    assert kept(filtered[0]) == {0, 1, 2, 3, 4} - set(brute_repeats([*context, *reply], n, 5))


def test_no_end_token_before_the_shortest_length() -> None:
    logits = torch.zeros(3, 5)
    filtered = allowed(logits, [[]] * 3, [[], [1], [1, 2]], 4, config(min_new_tokens=2))
    assert [kept(row) for row in filtered] == [{0, 1, 2, 3}, {0, 1, 2, 3}, {0, 1, 2, 3, 4}]


def test_the_repetition_penalty_lowers_what_was_said_whatever_its_sign() -> None:
    logits = torch.tensor([[2.0, -2.0, 2.0, -2.0]])
    filtered = allowed(logits, [[2]], [[0, 1, 1]], 3, config(repetition_penalty=2.0))
    assert filtered.tolist() == [[1.0, -4.0, 2.0, -2.0]]
    assert torch.equal(allowed(logits, [[1]], [[]], 3, config(repetition_penalty=2.0)), logits)


@settings(deadline=None)
@given(logits=LOGITS, temperature=st.sampled_from([0.0, 5e-324, 1e-30, 0.5, 1.0, 5.0]), seed=st.integers(0, 99))
def test_a_draw_is_a_token_that_the_filters_left(logits: list[float], temperature: float, seed: int) -> None:
    row = torch.tensor([logits])
    row[0, likeliest_first(logits)[0]] = -math.inf
    assume(len(logits) > 1)
    (drawn,) = drawn_from(row, config(temperature=temperature, top_k=3, top_p=0.8), generators(1, seed))
    assert drawn in set(likeliest_first(row[0].tolist())[:3]) - {likeliest_first(logits)[0]}


@settings(deadline=None)
@given(logits=LOGITS, temperature=st.sampled_from([0.0, 5e-324, 1e-40, 1e-9]), seed=st.integers(0, 9))
def test_temperatures_next_to_zero_are_greedy(logits: list[float], temperature: float, seed: int) -> None:
    first, *rest = likeliest_first(logits)
    assume(not rest or logits[first] - logits[rest[0]] > 1e-3)
    assert drawn_from(torch.tensor([logits]), config(temperature=temperature), generators(1, seed)) == [first]


CHI_SQUARE_999 = {1: 10.83, 2: 13.82, 3: 16.27, 4: 18.47, 5: 20.52, 6: 22.46, 7: 24.32}  # by degrees of freedom


@pytest.mark.parametrize(
    "temperature, k, p, min_p",
    [(1.0, 0, 1.0, 0.0), (0.5, 0, 1.0, 0.0), (2.0, 0, 1.0, 0.0), (1.0, 4, 1.0, 0.0), (1.0, 0, 0.8, 0.0),
     (0.8, 5, 0.9, 0.0), (1.0, 0, 1.0, 0.2), (1.5, 6, 1.0, 0.3)],
)  # fmt: skip
def test_draws_are_distributed_as_asked(temperature: float, k: int, p: float, min_p: float) -> None:
    """A chi-square test over 10,000 rows, each with its own seed, as contexts of a batch have."""
    logits = [1.5, -0.5, 0.0, 2.0, 0.0, 1.0, -1.0, 0.7]
    rows = 10_000
    odds = {i: math.exp(logits[i] / temperature) for i in likeliest_first(logits)[: k or None]}
    total = sum(odds.values())
    expected: dict[int, float] = {}
    for token, share in odds.items():
        if sum(expected.values()) < p * total and share >= min_p * max(odds.values()):
            expected[token] = share
    total = sum(expected.values())
    asked = config(temperature=temperature, top_k=k, top_p=p, min_p=min_p)
    counts = Counter(drawn_from(torch.tensor([logits]).expand(rows, -1), asked, generators(rows)))
    assert counts.keys() == expected.keys()
    statistic = sum((counts[i] - rows * e / total) ** 2 / (rows * e / total) for i, e in expected.items())
    assert statistic < CHI_SQUARE_999[len(expected) - 1]


@settings(deadline=None)
@given(seed=st.integers(0, 1000), rows=st.integers(2, 6))
def test_a_draw_depends_on_its_row_alone(seed: int, rows: int) -> None:
    logits = torch.randn(rows, 50, generator=torch.Generator().manual_seed(seed))
    settings = DecodingConfig()
    kinds = [DecodingConfig(top_k=0), DecodingConfig(temperature=0), DecodingConfig(top_k=3, temperature=2.0)]
    for configs in ([settings] * rows, ([*kinds, settings] * 2)[:rows]):
        together = draw(TorchLogits(logits), configs, generators(rows, seed)).tolist()
        alone = [drawn_from(logits[i : i + 1], configs[i], generators(rows, seed)[i : i + 1])[0] for i in range(rows)]
        assert together == alone


def test_a_draw_takes_one_number_from_its_generator() -> None:
    taken, expected = np.random.default_rng(3), np.random.default_rng(3)
    drawn_from(torch.zeros(1, 9), DecodingConfig(), [taken])
    expected.random()
    assert taken.random() == expected.random()
