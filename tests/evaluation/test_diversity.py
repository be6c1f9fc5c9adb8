"""Entropy and Distinct against the released code's counting, and with each reply left out."""

import math
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialogpt.evaluation.diversity import diversity

REPLIES = st.lists(st.lists(st.sampled_from(["a", "A", "да", "😀"]), max_size=6), min_size=1, max_size=6)


def counts(replies: Sequence[Sequence[str]], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for words in replies for i in range(len(words) - n + 1))


def entropy(replies: Sequence[Sequence[str]], n: int) -> float:
    """`calc_entropy` of the released dstc/metrics.py."""
    found = counts(replies, n)
    total = sum(found.values())
    return sum(-c / total * (math.log(c) - math.log(total)) for c in found.values()) if total else math.nan


def distinct(replies: Sequence[Sequence[str]], n: int) -> float:
    """`calc_diversity` of the released dstc/metrics.py."""
    found = counts(replies, n)
    return len(found) / sum(found.values()) if found else math.nan


@settings(max_examples=50)
@given(REPLIES)
def test_values_and_each_reply_left_out(replies: list[list[str]]) -> None:
    for measure, plain in zip(diversity(replies), (entropy, distinct), strict=True):
        orders = range(1, len(measure.names) + 1)
        assert measure.values.tolist() == pytest.approx([plain(replies, n) for n in orders], abs=1e-12, nan_ok=True)
        for place, made in enumerate(measure.left_out.tolist()):
            others = replies[:place] + replies[place + 1 :]
            assert made == pytest.approx([plain(others, n) for n in orders], abs=1e-9, nan_ok=True)


def test_names_and_signatures() -> None:
    entropies, distincts = diversity([["a", "b"]])
    assert entropies.names == ("entropy-1", "entropy-2", "entropy-3", "entropy-4")
    assert distincts.names == ("distinct-1", "distinct-2")
    assert entropies.signature == "case:mixed|tok:blanks|unit:nats"
    assert entropies.values[:2] == pytest.approx([math.log(2), 0])
    assert all(map(math.isnan, entropies.values[2:]))  # no 3-gram: undefined, not 0
