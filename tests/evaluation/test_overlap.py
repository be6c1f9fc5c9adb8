"""BLEU and NIST against sacreBLEU and against mteval's own loops, with unequal numbers of references."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU

from dialogpt.evaluation import bleu, nist
from dialogpt.evaluation.overlap import overlaps

Words = Sequence[str]
TEXTS = st.lists(st.sampled_from(["a", "b", "c", "да", "😀"]), max_size=7)
SEGMENTS = st.lists(st.tuples(TEXTS, st.lists(TEXTS.filter(bool), min_size=1, max_size=4)), min_size=1, max_size=6)


def ngrams(words: Words) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for n in range(1, 5) for i in range(len(words) - n + 1))


def plain_nist(replies: Sequence[Words], references: Sequence[Sequence[Words]]) -> list[float]:
    """NIST by mteval-v14's loops, one n-gram at a time; its mean reference length is each segment's own."""
    every = sum((ngrams(text) for several in references for text in several), Counter())
    total = sum(len(text) for several in references for text in several)
    gained, count, mean_length = [0.0] * 4, [0] * 4, 0.0
    for reply, several in zip(replies, references, strict=True):
        most: Counter[tuple[str, ...]] = Counter()
        for text in several:
            most |= ngrams(text)
        mean_length += sum(map(len, several)) / len(several)
        for gram, times in ngrams(reply).items():
            count[len(gram) - 1] += times
            if gram in most:
                before = every[gram[:-1]] if len(gram) > 1 else total
                gained[len(gram) - 1] += min(times, most[gram]) * math.log2(before / every[gram])
    ratio = min(count[0] / mean_length, 1)
    penalty = math.exp(-math.log(2) / math.log(1.5) ** 2 * math.log(ratio) ** 2) if ratio else 0
    return [sum(g / max(c, 1) for g, c in zip(gained[:n], count, strict=False)) * penalty for n in range(1, 5)]


def measured(replies: Sequence[Words], references: Sequence[Sequence[Words]]) -> tuple[list[float], list[float]]:
    (found,) = overlaps([replies], references)
    return (
        bleu.scores(bleu.statistics(found).sum(axis=0)).tolist(),
        nist.scores(nist.statistics(found).sum(axis=0)).tolist(),
    )


@settings(max_examples=50)
@given(SEGMENTS)
def test_bleu_is_sacrebleus(segments: list[tuple[Words, list[Words]]]) -> None:
    replies = [reply for reply, _ in segments]
    made, _ = measured(replies, [references for _, references in segments])
    most = max(len(references) for _, references in segments)
    streams = [[" ".join(refs[i]) if i < len(refs) else None for _, refs in segments] for i in range(most)]
    for n, value in enumerate(made, 1):
        peer = BLEU(tokenize="none", lowercase=True, max_ngram_order=n)
        expected = peer.corpus_score([" ".join(reply) for reply in replies], streams).score / 100
        if any(len(reply) >= n for reply in replies):
            assert value == pytest.approx(expected, abs=1e-12)
        else:
            assert math.isnan(value)


@settings(max_examples=50)
@given(SEGMENTS)
def test_nist_is_mtevals(segments: list[tuple[Words, list[Words]]]) -> None:
    replies, references = zip(*segments, strict=True)
    assert measured(replies, references)[1] == pytest.approx(plain_nist(replies, references), abs=1e-12)


@settings(max_examples=20)
@given(SEGMENTS, SEGMENTS)
def test_systems_do_not_touch_each_other(
    one: list[tuple[Words, list[Words]]], two: list[tuple[Words, list[Words]]]
) -> None:
    replies, references = zip(*one, strict=True)
    others = [two[place % len(two)][0] for place in range(len(one))]
    together = overlaps([replies, others], references)
    for alone, found in zip([overlaps([replies], references), overlaps([others], references)], together, strict=True):
        assert np.array_equal(bleu.statistics(alone[0]), bleu.statistics(found))
        assert np.array_equal(nist.statistics(alone[0]), nist.statistics(found))


NAN = math.nan
SHORT = 0.5 ** (math.log(0.5) / math.log(1.5)) ** 2  # NIST's penalty for half of the reference's length
DEGENERATE: dict[str, tuple[list[str], list[list[str]], list[float], list[float]]] = {
    "the same": (["a b c d"], [["a b c d"]], [1, 1, 1, 1], [2, 2, 2, 2]),
    "nothing in common": (["x y z w"], [["a b c d"]], [0, 0, 0, 0], [0, 0, 0, 0]),
    "orders without a match": (  # they count 1/2, 1/4 and 1/8 of an n-gram
        ["a c b x"], [["a b c"]], [3 / 4, (3 / 24) ** 0.5, (3 / 192) ** (1 / 3), (3 / 1536) ** 0.25],
        [0.75 * math.log2(3)] * 4,
    ),
    "an empty reply among others": (["", "a b"], [["a b"], ["a b"]], [math.exp(-1)] * 2 + [NAN] * 2, [SHORT] * 4),
    "shorter than the order": (["a"], [["a"]], [1, NAN, NAN, NAN], [0, 0, 0, 0]),
    "unequal numbers of references": (
        ["a b", "x"], [["a b", "c", "d d d"], ["x"]], [1, 1, NAN, NAN], [math.log2(7)] * 4,
    ),
    "Russian, Arabic, emoji": (["да 😀"], [["да 😀", "كيف"]], [1, 1, NAN, NAN], [math.log2(3)] * 4),
}  # fmt: skip


@pytest.mark.parametrize("kind", DEGENERATE)
def test_degenerate_input(kind: str) -> None:
    texts, several, expected_bleu, expected_nist = DEGENERATE[kind]
    replies, references = [text.split() for text in texts], [[text.split() for text in each] for each in several]
    made_bleu, made_nist = measured(replies, references)
    assert made_nist == pytest.approx(plain_nist(replies, references))
    assert made_nist == pytest.approx(expected_nist)
    assert made_bleu == pytest.approx(expected_bleu, nan_ok=True)


@pytest.mark.parametrize(
    "reply, references, closest, mean",
    [
        ("a b c", ["a b c d", "a b"], 2, 3),  # of two as close, the shorter
        ("a b c", ["a b", "a b c d"], 2, 3),
        ("a b c", ["a", "a b c d e"], 1, 3),
        ("a b c", ["a", "a b c d"], 4, 2.5),
        ("", ["a b c", "a"], 1, 2),
    ],
)
def test_reference_lengths(reply: str, references: list[str], closest: float, mean: float) -> None:
    (found,) = overlaps([[reply.split()]], [[text.split() for text in references]])
    assert (found.closest.tolist(), found.mean_length.tolist()) == ([closest], [mean])


def test_an_ngram_matches_as_often_as_in_one_reference() -> None:
    (found,) = overlaps([[list("aaabb")]], [[list("aab"), list("abb")]])
    assert found.matches[0].tolist() == [4, 3, 2, 0]  # `a` as often as in the first, and so on
    assert found.totals[0].tolist() == [5, 4, 3, 2]
