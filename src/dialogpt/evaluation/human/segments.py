"""Correlation by segment: each reply's metric against what its judges said, over all items and systems at once.

Points are replies, or for pairs of systems the differences of two replies. Intervals come from bootstrap samples of the
items, ranks made anew in each.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from dialogpt.evaluation.human.comparison import with_all
from dialogpt.evaluation.human.findings import Basis, Finding, bounds
from dialogpt.evaluation.human.statistics import TINY, middle_ranks
from dialogpt.evaluation.human.tally import Tally
from dialogpt.evaluation.ngrams import Floats, Ints
from dialogpt.evaluation.significance import Additive, Measure, draws


def segment_findings(
    tally: Tally, several: Sequence[Measure], criteria: Sequence[str], wanted: Sequence[str], basis: Basis
) -> Iterator[Finding]:
    """Pearson's and Spearman's correlation of one measure's metrics; none of a measure that segments do not have."""
    additive = [measure for measure in several if isinstance(measure, Additive)]
    if not additive:
        return
    scores = np.stack([measure.scores(measure.statistics) for measure in additive], axis=1)  # (I, S, N)
    human = with_all(tally.means(tally.counts))  # (I, U, C + 1)
    for metric_at, metric in enumerate(additive[0].names):
        if metric not in wanted:
            continue
        points = of_units(tally, scores[..., metric_at])
        for at, criterion in enumerate(criteria):
            items, units = np.nonzero(~np.isnan(points) & ~np.isnan(human[..., at]))
            x, y = points[items, units], human[items, units, at]
            how = f"over {'replies' if tally.kind == 'ratings' else 'pairs of replies'}|{additive[0].signature}"
            if _constant(x) or _constant(y):
                found, how = [(None, (None, None))] * 2, how + "|undefined:constant"
            else:
                found = list(_correlations(x, y, items, len(tally.items), basis))
            for name, (value, (low, high)) in zip(("pearson", "spearman"), found, strict=True):
                yield Finding(
                    name=f"{metric}:segment-{name}", criterion=criterion, value=value, low=low, high=high, n=len(x),
                    signature=basis.signature(how, drawn=True),
                )  # fmt: skip


def of_units(tally: Tally, scores: Floats) -> Floats:
    """Scores of the systems' replies, (I, S), as those of the units, (I, U): of a pair the first less the second."""
    places = [[tally.systems.index(name) for name in unit] for unit in tally.units]
    signs = (1, -1)
    return np.stack(
        [sum(sign * scores[:, at] for sign, at in zip(signs, unit, strict=False)) for unit in places], axis=1
    )


def _correlations(
    x: Floats, y: Floats, items: Ints, count: int, basis: Basis
) -> Iterator[tuple[float, tuple[float | None, float | None]]]:
    """Pearson's and Spearman's correlation of points, (P,), each with its interval; `items` says whose they are."""
    x, y = x - x.mean(), y - y.mean()
    groups = (_groups(x), _groups(y))
    whole = _both(x, y, groups, np.ones(len(x)))
    drawn = [
        _both(x, y, groups, row[items]) for rows in draws(count, basis.samples, basis.seed) for row in rows
    ]
    for at, value in enumerate(whole):
        yield value, bounds(np.array([each[at] for each in drawn]))


def _both(x: Floats, y: Floats, groups: tuple[Ints, Ints], weights: Floats) -> tuple[float, float]:
    x_ranks, y_ranks = (middle_ranks(each, weights) for each in groups)
    return _weighted(x, y, weights), _weighted(x_ranks, y_ranks, weights)


def _weighted(x: Floats, y: Floats, weights: Floats) -> float:
    """Pearson's correlation of points that stand several times each; NaN where one side is constant."""
    total = weights.sum()
    x, y = x - weights @ x / total, y - weights @ y / total
    weighted_x = weights * x
    spread = (weighted_x @ x) * (weights @ (y * y))
    return float(np.clip(weighted_x @ y / np.sqrt(spread), -1, 1)) if spread > 0 else float("nan")


def _groups(x: Floats) -> Ints:
    """For each point the number of its value among all values, by size; nearly equal ones are equal."""
    _, found = np.unique(np.round(x / np.abs(x).max(), 12), return_inverse=True)
    return found.reshape(-1)


def _constant(x: Floats) -> bool:
    return len(x) < 2 or bool(np.ptp(x) <= TINY * np.abs(x).max())
