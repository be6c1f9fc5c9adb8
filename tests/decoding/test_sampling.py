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
from dialogpt.decoding.sampling import allowed, draw, repeated_next, top_k, top_p

TIED = st.sampled_from([-2.0, 0.0, 0.5, 3.0])
LOGITS = st.lists(TIED | st.floats(-20, 20, width=32), min_size=1, max_size=12)


def config(**changes: float | int) -> DecodingConfig:
    plain = {"temperature": 1, "top_k": 0, "top_p": 1, "no_repeat_ngram": 0, "min_new_tokens": 0}
    return DecodingConfig(**{**plain, **changes})  # type: ignore[arg-type]


def generators(count: int, seed: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng(seed + i) for i in range(count)]


def kept(filtered: Tensor) -> set[int]:
    return {i for i, value in enumerate(filtered.tolist()) if value != -math.inf}


def likeliest_first(logits: list[float]) -> list[int]:
    return sorted(range(len(logits)), key=lambda i: (-logits[i], i))


@settings(deadline=None)
@given(logits=LOGITS, k=st.integers(0, 14))
def test_top_k_keeps_exactly_k_also_on_ties(logits: list[float], k: int) -> None:
    row = torch.tensor(logits)
    filtered = top_k(row[None], k)[0]
    assert kept(filtered) == set(likeliest_first(logits)[: k or None])
    assert all(filtered[i] == row[i] for i in kept(filtered))


@settings(deadline=None)
@given(logits=LOGITS, p=st.floats(0.01, 1.0))
def test_top_p_keeps_the_smallest_set_that_reaches_p(logits: list[float], p: float) -> None:
    row = torch.tensor(logits)
    odds = np.exp(row.double().numpy() - max(row.tolist()))
    order = likeliest_first(row.tolist())
    reached = np.cumsum(odds[order] / odds.sum())
    assume(p == 1 or min(abs(reached - p)) > 1e-5)  # else it is for rounding to decide
    count = len(order) if p == 1 else int(np.argmax(reached >= p)) + 1
    filtered = top_p(row[None], p)[0]
    assert kept(filtered) == set(order[:count])
    assert all(filtered[i] == row[i] for i in kept(filtered))


def test_filters_keep_rows_apart_and_their_input_as_it_was() -> None:
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0], [0.0, 0.0, 0.0, 9.0]])
    before = logits.clone()
    assert [kept(row) for row in top_k(logits, 2)] == [{0, 1}, {0, 3}]
    assert [kept(row) for row in top_p(logits, 0.7)] == [{0, 1}, {3}]
    allowed(logits, [[1], [2]], 0, config(min_new_tokens=5, repetition_penalty=2.0, no_repeat_ngram=1))
    assert torch.equal(logits, before)


@pytest.mark.parametrize("p", [1e-9, 0.3, 1 - 1e-7])
def test_the_likeliest_token_is_never_filtered(p: float) -> None:
    logits = torch.linspace(0, 20, 50_257)[None]
    assert 50_256 in kept(top_p(logits, p)[0])
    assert kept(top_k(logits, 1)[0]) == {50_256}


def test_a_nucleus_of_a_large_vocabulary_has_no_holes() -> None:
    """Sums over 50,257 tokens are where rounding shows."""
    logits = torch.randn(4, 50_257, generator=torch.Generator().manual_seed(0)) * 4
    for p in (0.9, 0.999, 1 - 1e-6):
        for row, filtered in zip(logits, top_p(logits, p), strict=True):
            order = row.argsort(descending=True, stable=True)
            inside = torch.isfinite(filtered[order])
            count = int(inside.sum())
            assert bool(inside[:count].all())
            reached = row.double().softmax(-1)[order].cumsum(0)
            assert reached[count - 1] >= p - 1e-9
            assert reached[count - 2] < p + 1e-9


def brute_repeats(reply: list[int], n: int, vocabulary: int) -> list[int]:
    def grams(tokens: list[int]) -> list[tuple[int, ...]]:
        return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]

    return [t for t in range(vocabulary) if any(g in grams(reply) for g in grams([*reply, t])[-1:])]


@settings(deadline=None)
@given(reply=st.lists(st.integers(0, 3), max_size=12), n=st.integers(1, 4))
def test_repeated_next_bans_what_would_make_an_ngram_twice(reply: list[int], n: int) -> None:
    assert repeated_next(reply, n) == brute_repeats(reply, n, 4)


def test_no_end_token_before_the_shortest_length() -> None:
    logits = torch.zeros(3, 5)
    filtered = allowed(logits, [[], [1], [1, 2]], 4, config(min_new_tokens=2))
    assert [kept(row) for row in filtered] == [{0, 1, 2, 3}, {0, 1, 2, 3}, {0, 1, 2, 3, 4}]


def test_the_repetition_penalty_lowers_what_was_said_whatever_its_sign() -> None:
    logits = torch.tensor([[2.0, -2.0, 2.0, -2.0]])
    filtered = allowed(logits, [[0, 1, 1]], 3, config(repetition_penalty=2.0))
    assert filtered.tolist() == [[1.0, -4.0, 2.0, -2.0]]
    assert torch.equal(allowed(logits, [[]], 3, config(repetition_penalty=2.0)), logits)


@settings(deadline=None)
@given(logits=LOGITS, temperature=st.sampled_from([0.0, 5e-324, 1e-30, 0.5, 1.0, 1e30]), seed=st.integers(0, 99))
def test_a_draw_is_a_token_that_the_filters_left(logits: list[float], temperature: float, seed: int) -> None:
    row = torch.tensor([logits])
    row[0, likeliest_first(logits)[0]] = -math.inf
    assume(len(logits) > 1)
    drawn = draw(row, config(temperature=temperature, top_k=3, top_p=0.8), generators(1, seed))
    assert drawn.shape == (1,)
    assert drawn.item() in set(likeliest_first(row[0].tolist())[:3]) - {likeliest_first(logits)[0]}


@settings(deadline=None)
@given(logits=LOGITS, temperature=st.sampled_from([0.0, 5e-324, 1e-40, 1e-9]), seed=st.integers(0, 9))
def test_temperatures_next_to_zero_are_greedy(logits: list[float], temperature: float, seed: int) -> None:
    first, *rest = likeliest_first(logits)
    assume(not rest or logits[first] - logits[rest[0]] > 1e-3)
    assert draw(torch.tensor([logits]), config(temperature=temperature), generators(1, seed)).tolist() == [first]


CHI_SQUARE_999 = {1: 10.83, 2: 13.82, 3: 16.27, 4: 18.47, 5: 20.52, 6: 22.46, 7: 24.32}  # by degrees of freedom


@pytest.mark.parametrize(
    "temperature, k, p", [(1.0, 0, 1.0), (0.5, 0, 1.0), (2.0, 0, 1.0), (1.0, 4, 1.0), (1.0, 0, 0.8), (0.8, 5, 0.9)]
)
def test_draws_are_distributed_as_asked(temperature: float, k: int, p: float) -> None:
    """A chi-square test over 10,000 rows, each with its own seed, as contexts of a batch have."""
    logits = [1.5, -0.5, 0.0, 2.0, 0.0, 1.0, -1.0, 0.7]
    rows = 10_000
    odds = {i: math.exp(logits[i] / temperature) for i in likeliest_first(logits)[: k or None]}
    total = sum(odds.values())
    expected: dict[int, float] = {}
    for token, share in odds.items():
        if sum(expected.values()) < p * total:
            expected[token] = share
    total = sum(expected.values())
    drawn = draw(torch.tensor([logits]).expand(rows, -1), config(temperature=temperature, top_k=k, top_p=p),
                 generators(rows))  # fmt: skip
    counts = Counter(drawn.tolist())
    assert counts.keys() == expected.keys()
    statistic = sum((counts[i] - rows * e / total) ** 2 / (rows * e / total) for i, e in expected.items())
    assert statistic < CHI_SQUARE_999[len(expected) - 1]


@settings(deadline=None)
@given(seed=st.integers(0, 1000), rows=st.integers(2, 6))
def test_a_draw_depends_on_its_row_alone(seed: int, rows: int) -> None:
    logits = torch.randn(rows, 50, generator=torch.Generator().manual_seed(seed))
    settings = DecodingConfig()
    together = draw(logits, settings, generators(rows, seed)).tolist()
    alone = [draw(logits[i : i + 1], settings, generators(rows, seed)[i : i + 1]).item() for i in range(rows)]
    assert together == alone


def test_a_draw_takes_one_number_from_its_generator() -> None:
    taken, expected = np.random.default_rng(3), np.random.default_rng(3)
    draw(torch.zeros(1, 9), DecodingConfig(), [taken])
    expected.random()
    assert taken.random() == expected.random()
