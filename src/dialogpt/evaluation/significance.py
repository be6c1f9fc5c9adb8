"""How certain a score is: 95% intervals, and whether two systems differ.

Scores that are arithmetic on sums over segments are resampled as matrix products over one table of statistics (the
design of sacreBLEU). Entropy and Distinct are not such sums, and a bootstrap biases them: its samples repeat segments,
so Distinct-2 of 6,000 human replies falls from 0.63 to 0.43. They get the jackknife, each segment left out once.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from dialogpt.evaluation.ngrams import Floats

COVERED = (0.025, 0.975)
WIDTH = 1.959963984540054  # standard errors to each side of 95%
CELLS = 1 << 23  # weights held at once
TINY = 1e-12  # sums in another order differ by less


@dataclass(frozen=True, slots=True)
class Additive:
    """Statistics of S segments, (S, C), and the N scores of their sums: (..., C) -> (..., N).

    Not `tested`: what a reply counts for depends on the system's other replies, so it changes when replies are swapped.
    """

    names: tuple[str, ...]
    signature: str
    statistics: Floats
    scores: Callable[[Floats], Floats]
    tested: bool = True

    @property
    def values(self) -> Floats:
        return self.scores(self.statistics.sum(axis=0))


@dataclass(frozen=True, slots=True)
class Jackknifed:
    """N scores that are not functions of sums, (N,), and their values with each segment left out, (S, N).

    NaN in `left_out`: this score has no interval. None of them is below 0 or above `most`.
    """

    names: tuple[str, ...]
    signature: str
    values: Floats
    left_out: Floats
    most: float = math.inf


Measure = Additive | Jackknifed


def ratio(sums: Floats) -> Floats:
    """The first statistic per unit of the second, (..., 1), of (..., 2); NaN, undefined, where there is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return sums[..., :1] / np.where(sums[..., 1:] > 0, sums[..., 1:], np.nan)


def exp_ratio(sums: Floats) -> Floats:
    """exp of `ratio`, (..., 1), of (..., 2): perplexity, of nats and tokens."""
    found: Floats = np.exp(ratio(sums))
    return found


RATIOS = (ratio, exp_ratio)


def draws(count: int, samples: int, seed: int) -> Iterator[Floats]:
    """How often each of `count` segments stands in each bootstrap sample, (rows, count), some samples at a time."""
    rng = np.random.default_rng(seed)
    for rows in _chunks(samples, count):
        places = rng.integers(0, count, (rows, count)) + np.arange(rows)[:, None] * count
        yield np.bincount(places.reshape(-1), minlength=rows * count).reshape(rows, count).astype(np.float64)


def resampled(statistics: Floats, samples: int, seed: int) -> Floats:
    """Sums over bootstrap samples of the segments, (samples, C); the same segments for every column."""
    return np.concatenate([drawn @ statistics for drawn in draws(len(statistics), samples, seed)])


def halves(statistics: Floats, trials: int, seed: int) -> Floats:
    """Sums over random halves of the segments (each in or out by a coin), (trials, C)."""
    count = len(statistics)
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [rng.integers(0, 2, (rows, count), np.int8).astype(np.float64) @ statistics for rows in _chunks(trials, count)]
    )


def percentiles(samples: Floats) -> Floats:
    """The 95% intervals of scores from their bootstrap samples, (B, N) -> (N, 2); NaN where a sample is undefined."""
    return np.quantile(samples, COVERED, axis=0).T


def jackknife(measure: Jackknifed) -> Floats:
    """The 95% intervals from the scores with each segment left out, (N, 2)."""
    far = WIDTH * _standard_error(measure.left_out)
    return np.clip(np.stack([measure.values - far, measure.values + far], axis=1), 0, measure.most)


def bootstrap_p(difference: Floats, samples: Floats, count: int) -> Floats:
    """Two-sided p of the observed differences, (N,), from those of paired samples, (B, N), shifted to mean 0.

    Samples of few segments spread too little, by (count - 1) / count, and by an error that is itself a guess: p becomes
    that of Student's t (Hesterberg 2015, What Teachers Should Know about the Bootstrap, expanded percentiles).
    """
    shifted = np.abs(samples - samples.mean(axis=0))
    shares = _share_as_far(np.abs(difference), shifted)
    far = np.array([NormalDist().inv_cdf(1 - share / 2) if share > 0 else np.nan for share in shares])
    return student_p(far * math.sqrt((count - 1) / count), count - 1)


def exchangeable(one: Additive, other: Additive) -> bool:
    """Whether swapping replies tests a difference: not for ratios with different denominators in a segment.

    It would change the denominators, and so the ratios, whatever was counted: a single repeat in 200 replies of one
    system would be significant if the other's replies were longer.
    """
    return one.scores not in RATIOS or np.array_equal(one.statistics[:, 1], other.statistics[:, 1])


def randomised_p(one: Additive, other: Additive, trials: int, seed: int) -> Floats:
    """Two-sided p of the systems' differences, (N,), when replies are exchanged by a coin in each segment."""
    exchanged = halves(one.statistics - other.statistics, trials, seed)
    ones = one.scores(one.statistics.sum(axis=0) - exchanged)
    others = one.scores(other.statistics.sum(axis=0) + exchanged)
    return _share_as_far(np.abs(one.values - other.values), np.abs(ones - others))


def ratio_p(one: Additive, other: Additive) -> Floats:
    """Two-sided p, (1,), of two ratios, by the larger of two errors of their difference.

    One is that of the ratios as they are, which is too small if a system happens to have little or none of what is
    counted. The other is that of one ratio common to both, with a variance proportional to the denominator
    (quasi-Poisson). From both, what the systems share segment by segment is subtracted.
    """
    count = len(one.statistics)
    parts, wholes = np.moveaxis(np.stack([one.statistics, other.statistics]), -1, 0)  # (2, S) each
    totals = wholes.sum(axis=1, keepdims=True)
    if count < 2 or not totals.all():
        return np.full(1, np.nan)
    rates = parts.sum(axis=1, keepdims=True) / totals
    first, second = (parts - rates * wholes) / totals
    as_they_are = ((first - second) ** 2).sum() * count / (count - 1)
    spread = ((parts - parts.sum() / totals.sum() * wholes) ** 2).sum() / totals.sum()
    of_one_ratio = spread * (1 / totals).sum() - 2 * first @ second
    error = math.sqrt(max(as_they_are, of_one_ratio))
    return student_p(_in_errors(rates[0] - rates[1], np.array([error])), count - 1)


def jackknife_p(one: Jackknifed, other: Jackknifed) -> Floats:
    """Two-sided p of the systems' differences, (N,), by their jackknife error and Student's t."""
    error = _standard_error(one.left_out - other.left_out)
    return student_p(_in_errors(one.values - other.values, error), len(one.left_out) - 1)


def student_p(far: Floats, freedom: int) -> Floats:
    """Two-sided p of Student's t, (N,), through the normal distribution: Wallace (1959), within 1% from 9 degrees on.

    With fewer degrees it is a little too large, and with none it is 1.
    """
    with np.errstate(invalid="ignore"):
        normal = (8 * freedom + 1) / (8 * freedom + 3) * np.sqrt(freedom * np.log1p(far**2 / max(freedom, 1)))
    return np.array([math.erfc(each / math.sqrt(2)) for each in normal])


def _in_errors(difference: Floats, error: Floats) -> Floats:
    """How many standard errors a difference is; 0 for none without an error, NaN for one without an error."""
    return np.where((difference == 0) & (error <= TINY), 0.0, difference / np.where(error > TINY, error, np.nan))


def _standard_error(left_out: Floats) -> Floats:
    count = len(left_out)
    if count < 2:
        return np.full(left_out.shape[1], np.nan)
    spread: Floats = (count - 1) * left_out.var(axis=0)
    return np.sqrt(spread)


def _share_as_far(observed: Floats, drawn: Floats) -> Floats:
    """The share of draws at least as far out, the observation among them, so that p is never 0; NaN stays NaN."""
    share: Floats = (1 + (drawn >= observed - TINY).sum(axis=0)) / (len(drawn) + 1)
    undefined = np.isnan(observed) | np.isnan(drawn).any(axis=0)
    return np.where(undefined, np.nan, share)


def _chunks(rows: int, count: int) -> Iterator[int]:
    """How many rows to take at once, of `count` cells each."""
    at_once = max(CELLS // max(count, 1), 1)
    for start in range(0, rows, at_once):
        yield min(at_once, rows - start)
