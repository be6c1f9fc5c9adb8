"""Correlation by segment: each reply's metric against what its judges said, over all items and systems at once.

Points are replies, or for pairs of systems the differences of two replies; those without a value, such as BLEU-4 of
three words, are left out. Intervals come from bootstrap samples of the items, with ranks made anew in each.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from dialogpt.evaluation.human.comparison import with_all
from dialogpt.evaluation.human.findings import Basis, Finding, bounds, known
from dialogpt.evaluation.human.statistics import TINY, middle_ranks
from dialogpt.evaluation.human.tally import Tally
from dialogpt.evaluation.ngrams import Floats, Ints, sums_by
from dialogpt.evaluation.significance import Additive, Measure, draws, resampled


@dataclass(frozen=True, slots=True)
class _Points:
    """What is known of P points: their items, (P,), the judges' values, (C, P), and metrics by name, (P,) each."""

    items: Ints
    human: Floats
    metrics: dict[str, Floats] = field(default_factory=dict)


def segment_findings(
    tally: Tally,
    systems: Sequence[str],
    measured: Sequence[Sequence[Measure]],
    criteria: Sequence[str],
    wanted: Sequence[str],
    basis: Basis,
) -> Iterator[Finding]:
    """Pearson's and Spearman's correlation of all metrics that segments have.

    `measured` is by measure and system, in the order of `systems`.
    """
    signatures = {name: several[0].signature for several in measured for name in several[0].names}
    what = "replies" if tally.kind == "ratings" else "differences of replies"
    for points in _points(tally, systems, measured, wanted, len(criteria)):
        count = len(points.items)
        pearsons, spearmans = _pearson(points, len(tally.items), basis), _spearman(points, len(tally.items), basis)
        for name in points.metrics:
            for at, criterion in enumerate(criteria):
                for coefficient, found in (("pearson", pearsons), ("spearman", spearmans)):
                    value, *samples = found[name][:, at]
                    low, high = bounds(np.array(samples))
                    undefined = "|undefined:constant" if np.isnan(value) else ""
                    yield Finding(
                        name=f"{name}:segment-{coefficient}", criterion=criterion, value=known(value), n=count,
                        low=low, high=high,
                        signature=basis.signature(f"over {what}|{signatures[name]}{undefined}", drawn=True),
                    )  # fmt: skip


def of_units(units: Sequence[Sequence[str]], systems: Sequence[str], scores: Floats) -> Floats:
    """Scores of the systems' replies, (I, S), as those of the units, (I, U): of a pair the first less the second."""
    columns = []
    for unit in units:
        first, *second = (scores[:, systems.index(name)] for name in unit)
        columns.append(first - second[0] if second else first)
    return np.stack(columns, axis=1)


def _points(
    tally: Tally, systems: Sequence[str], measured: Sequence[Sequence[Measure]], wanted: Sequence[str], criteria: int
) -> list[_Points]:
    """The metrics, those together that have a value at the same points; all criteria are judged there."""
    human = with_all(tally.means(tally.counts))[..., :criteria]  # (I, U, C)
    judged = ~np.isnan(human).any(axis=-1)
    by_places: dict[bytes, _Points] = {}
    for several in measured:
        additive = [measure for measure in several if isinstance(measure, Additive)]
        if not additive:
            continue
        scores = np.stack([measure.scores(measure.statistics) for measure in additive], axis=1)  # (I, S, N)
        for at, name in enumerate(additive[0].names):
            if name in wanted:
                values = of_units(tally.units, systems, scores[..., at])
                there = judged & ~np.isnan(values)
                places = np.nonzero(there)
                points = by_places.setdefault(there.tobytes(), _Points(places[0], human[places].T))
                points.metrics[name] = values[places]
    return list(by_places.values())


def _pearson(points: _Points, items: int, basis: Basis) -> dict[str, Floats]:
    """For each metric its correlations, (1 + B, C): of the points as they are, and of bootstrap samples."""
    y = _centred(points.human)
    found = {}
    for name, values in points.metrics.items():
        x = _centred(values)[None]
        columns = np.concatenate([np.ones_like(x), x, x * x, y, y * y, x * y])
        table = np.stack([sums_by(points.items, column, items) for column in columns], axis=1)
        sums = table.sum(axis=0, keepdims=True)
        if basis.samples:
            sums = np.concatenate([sums, resampled(table, basis.samples, basis.seed)])
        count, of_x, of_xx = (sums[:, at : at + 1] for at in range(3))
        of_y, of_yy, of_xy = np.split(sums[:, 3:], 3, axis=1)
        found[name] = _ratio(of_xy - of_x * of_y / count, of_xx - of_x**2 / count, of_yy - of_y**2 / count)
    return found


def _spearman(points: _Points, items: int, basis: Basis) -> dict[str, Floats]:
    """The same of the ranks."""
    humans = [_groups(row) for row in points.human]
    metrics = {name: _groups(values) for name, values in points.metrics.items()}
    found: dict[str, list[Floats]] = defaultdict(list)
    for row in _weights(items, basis):
        weights = row[points.items]
        middle = weights.sum() / 2
        y = np.stack([middle_ranks(groups, weights) - middle for groups in humans])
        weighted = weights * y
        spread = (weighted * y).sum(axis=1)
        for name, groups in metrics.items():
            x = middle_ranks(groups, weights) - middle
            found[name].append(_ratio(weighted @ x, np.array(weights @ (x * x)), spread))
    return {name: np.stack(rows) for name, rows in found.items()}


def _weights(items: int, basis: Basis) -> Iterator[Floats]:
    """How often each item stands in the data as they are, once, and in each bootstrap sample."""
    yield np.ones(items)
    for rows in draws(items, basis.samples, basis.seed):
        yield from rows


def _ratio(covariance: Floats, x: Floats, y: Floats) -> Floats:
    """The correlation of summed products; NaN where one side is constant."""
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.where((x > TINY) & (y > TINY), x * y, np.nan)
        return np.clip(covariance / np.sqrt(spread), -1, 1)


def _centred(values: Floats) -> Floats:
    """Values less their mean, (..., P), the largest 1 then: sums of squares keep their digits."""
    if not values.shape[-1]:
        return values
    centred = values - values.mean(axis=-1, keepdims=True)
    largest = np.abs(centred).max(axis=-1, keepdims=True)
    varied = largest > TINY * np.abs(values).max(axis=-1, keepdims=True)
    scaled: Floats = centred / np.where(varied, largest, np.inf)
    return scaled


def _groups(values: Floats) -> Ints:
    """For each point the number of its value among all, by size; values that differ in the last digits are one."""
    largest = np.abs(values).max() if len(values) else 0
    _, found = np.unique(np.round(values / (largest or 1), 12), return_inverse=True)
    return found.reshape(-1)
