"""Counts of judgements -> tests, agreement and correlations: arrays in, numbers out, each with its source.

Units (a reply that was rated, a pair of replies) are rows, values (1 to 5; worse, tie, better) are columns, so there
may be any number of judges, and any may be missing. What is undefined is NaN. Leading axes, written `...`, are
bootstrap samples or criteria.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from dialogpt.evaluation.ngrams import Floats, Ints

Level = Literal["nominal", "ordinal", "interval"]
LEVELS: tuple[Level, ...] = ("nominal", "ordinal", "interval")
TINY = 1e-12  # values that differ by less, relative to their size, are the same


def sign_test(wins: int, losses: int) -> float:
    """Two-sided p of the exact sign test, ties left out; 1 where there is nothing to test.

    Dixon and Mood (1946), The Statistical Sign Test: twice the binomial tail, at most 1.
    """
    count = wins + losses
    ways, tail = 1, 0  # of `count` coins, in whole numbers, exact for thousands of judgements
    for heads in range(min(wins, losses) + 1):
        tail += ways
        ways = ways * (count - heads) // (heads + 1)
    return min(1.0, 2 * tail / 2**count) if count else 1.0


def holm(p: Sequence[float] | Floats) -> Floats:
    """The p-values of one family corrected for their number; NaN, undefined, does not count.

    Holm (1979), A Simple Sequentially Rejective Multiple Test Procedure.
    """
    values = np.array(p, np.float64)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    corrected = values.copy()
    corrected[order] = np.minimum(1, np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1)))
    return corrected


def coincidences(counts: Floats) -> Floats:
    """Pairs of values that judges gave one unit, (..., V) -> (..., V, V), 1 / (m - 1) for each pair of m judges.

    Krippendorff (2011), Computing Krippendorff's Alpha-Reliability, step C. A unit of one judge adds nothing.
    """
    judges = counts.sum(axis=-1)[..., None, None]
    pairs = counts[..., :, None] * counts[..., None, :] - counts[..., None] * np.eye(counts.shape[-1])
    made: Floats = np.where(judges > 1, pairs / np.maximum(judges - 1, 1), 0)
    return made


def alpha(coincident: Floats, values: Floats, level: Level) -> Floats:
    """Krippendorff's alpha of summed coincidences, (..., V, V) -> (...); NaN where all judges gave one value.

    Krippendorff (2011), as above. The ordinal difference, values between two and half of both, squared, is the squared
    difference of their mean ranks.
    """
    marginals = coincident.sum(axis=-1)
    if level == "nominal":
        difference = 1 - np.eye(len(values))
    else:
        places = values if level == "interval" else np.cumsum(marginals, axis=-1) - marginals / 2
        difference = (places[..., :, None] - places[..., None, :]) ** 2
    observed = (coincident * difference).sum(axis=(-1, -2))
    expected = (marginals[..., :, None] * marginals[..., None, :] * difference).sum(axis=(-1, -2))
    with np.errstate(invalid="ignore"):
        found: Floats = 1 - (marginals.sum(axis=-1) - 1) * observed / np.where(expected > 0, expected, np.nan)
    return found


def fleiss_rows(counts: Floats) -> tuple[Floats, int]:
    """What Fleiss' kappa adds up: units, (R, V), -> rows, (R, 2 + V), and how many judges the units have.

    Kappa asks for equal numbers of judges: the most frequent one (of two as frequent, the larger) from 2 on. Rows of
    units with another number are 0; the number is 0 where no unit has two judges.
    """
    judges = counts.sum(axis=-1)
    numbers, units = np.unique(judges[judges > 1], return_counts=True)
    if not len(numbers):
        return np.zeros((len(counts), 2 + counts.shape[-1])), 0
    number = float(numbers[len(units) - 1 - np.argmax(units[::-1])])
    agreeing = ((counts**2).sum(axis=-1) - number) / (number * (number - 1))
    rows = np.concatenate([np.ones((len(counts), 1)), agreeing[:, None], counts], axis=1)
    return np.where((judges == number)[:, None], rows, 0), int(number)


def fleiss_kappa(sums: Floats) -> Floats:
    """Fleiss' kappa of summed rows, (..., 2 + V) -> (...); NaN where all judges gave one value.

    Fleiss (1971), Measuring Nominal Scale Agreement among Many Raters.
    """
    units, agreeing, counts = sums[..., 0], sums[..., 1], sums[..., 2:]
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = agreeing / units
        by_chance = ((counts / counts.sum(axis=-1, keepdims=True)) ** 2).sum(axis=-1)
        kappa: Floats = (observed - by_chance) / np.where(by_chance < 1, 1 - by_chance, np.nan)
    return kappa


def pearson(x: Floats, y: Floats) -> Floats:
    """Pearson's correlation over the last axis, (..., n) -> (...); NaN where x or y is constant or holds NaN."""
    x, y = _centred(x), _centred(y)
    with np.errstate(invalid="ignore"):
        found: Floats = (x * y).sum(axis=-1) / np.sqrt((x * x).sum(axis=-1) * (y * y).sum(axis=-1))
    return np.clip(found, -1, 1)


def ranks(x: Floats) -> Floats:
    """Ranks over the last axis, the smallest 1, equal ones their mean; NaN where any is NaN."""
    signs = _signs(x)
    found: Floats = (x.shape[-1] + 1) / 2 + signs.sum(axis=-1) / 2
    return found


def spearman(x: Floats, y: Floats) -> Floats:
    """Spearman's rank correlation over the last axis: Pearson's of the ranks (Spearman 1904; ties: Kendall 1948)."""
    return pearson(ranks(x), ranks(y))


def kendall(x: Floats, y: Floats) -> Floats:
    """Kendall's tau-b over the last axis (Kendall 1945, The Treatment of Ties in Ranking Problems).

    For few values, such as systems: all pairs are held at once.
    """
    x_signs, y_signs = _signs(x), _signs(y)
    untied = (x_signs**2).sum(axis=(-1, -2)) * (y_signs**2).sum(axis=(-1, -2))
    with np.errstate(invalid="ignore"):
        tau: Floats = (x_signs * y_signs).sum(axis=(-1, -2)) / np.sqrt(np.where(untied > 0, untied, np.nan))
    return tau


def middle_ranks(groups: Ints, weights: Floats) -> Floats:
    """Ranks of points that occur several times each: group numbers by size and weights, (n,), -> ranks less 1/2."""
    in_group = np.bincount(groups, weights=weights)
    found: Floats = (np.cumsum(in_group) - in_group / 2)[groups]
    return found


def _centred(x: Floats) -> Floats:
    """x less its mean; NaN where x is constant, up to rounding."""
    size = np.abs(x).max(axis=-1, keepdims=True)
    varied = np.ptp(x, axis=-1, keepdims=True) > TINY * size
    return np.where(varied, x - x.mean(axis=-1, keepdims=True), np.nan)


def _signs(x: Floats) -> Floats:
    """The sign of every difference, (..., n) -> (..., n, n)."""
    differences = x[..., :, None] - x[..., None, :]
    size = np.abs(x).max(axis=-1)[..., None, None]
    return np.where(np.abs(differences) <= TINY * size, 0, np.sign(differences))
