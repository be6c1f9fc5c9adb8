"""Entropy-1 to 4 and Distinct-1 and 2 of a system's replies, on words between blanks, as in the released code.

Over all replies together: entropy, in nats, of the distribution of n-grams; Distinct, the number of different n-grams
per n-gram. Both are given with each reply left out too, which costs no second count.
"""

import math
from collections.abc import Sequence

import numpy as np

from dialogpt.evaluation.ngrams import Floats, Grams, Ints, number_grams, sums_by
from dialogpt.evaluation.significance import Jackknifed

ORDERS = 4
SIGNATURE = "case:mixed|tok:blanks"


def diversity(replies: Sequence[Sequence[str]]) -> tuple[Jackknifed, Jackknifed]:
    """Entropy and Distinct of the replies, given as words; NaN, undefined, for orders that they have no n-gram of."""
    orders = number_grams(replies, ORDERS)
    entropies = [entropy(grams, len(replies)) for grams in orders]
    distincts = [distinct(grams, len(replies)) for grams in orders[:2]]
    return (
        _measure("entropy", SIGNATURE + "|unit:nats", entropies, math.inf),
        _measure("distinct", SIGNATURE, distincts, 1),
    )


def entropy(grams: Grams, texts: int) -> tuple[float, Floats]:
    """The entropy of the n-grams in nats, and with each text left out, (texts,)."""
    owners, ids, counts = grams.counted()
    all_counts = np.bincount(grams.ids, minlength=grams.kinds)
    weight = _weighed(all_counts).sum()
    totals = sums_by(owners, counts, texts)
    gone = sums_by(owners, _weighed(all_counts[ids]) - _weighed(all_counts[ids] - counts), texts)
    left_out = _entropy(weight - gone, len(grams.ids) - totals)
    return float(_entropy(weight, np.array(len(grams.ids), np.float64))), left_out


def distinct(grams: Grams, texts: int) -> tuple[float, Floats]:
    """Different n-grams per n-gram, and with each text left out, (texts,)."""
    owners, ids, counts = grams.counted()
    only_here = np.bincount(ids, minlength=grams.kinds)[ids] == 1
    kinds = grams.kinds - sums_by(owners, only_here, texts)
    totals = len(grams.ids) - sums_by(owners, counts, texts)
    value = grams.kinds / len(grams.ids) if len(grams.ids) else math.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        left_out: Floats = kinds / totals
    return value, left_out


def _entropy(weight: Floats, total: Floats) -> Floats:
    """ln N - sum of c ln c / N; NaN for no n-gram."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(total) - weight / total


def _weighed(counts: Ints) -> Floats:
    """c ln c, 0 for 0."""
    return counts.astype(np.float64) * np.log(np.maximum(counts, 1))


def _measure(family: str, signature: str, found: Sequence[tuple[float, Floats]], most: float) -> Jackknifed:
    names = tuple(f"{family}-{n}" for n in range(1, len(found) + 1))
    values, left_out = zip(*found, strict=True)
    return Jackknifed(names, signature, np.array(values), np.stack(left_out, axis=1), most)
