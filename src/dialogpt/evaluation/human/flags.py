"""Judgements -> the judges whose answers should be looked at, each with the reasons.

Only failed attention checks leave a judge out (unless --keep-flagged): only a question with a known answer tells
carelessness from a different opinion. The other reasons are named, and the reader decides.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dialogpt.evaluation.human import Judgement
from dialogpt.evaluation.human.judgements import Judged
from dialogpt.evaluation.human.statistics import pearson

FAILED_SHARE, FAILED_LEAST = 0.25, 2  # more than a quarter, and more than a single slip
PATTERN_ITEMS = 10  # the same side of ten by chance: 1 in 512
FAST_S, FAST_ITEMS = 3.0, 5  # a context and a reply of some 10 words each are read in 5 s and more
AGREEMENT_UNITS = 20
ONE_SIDED = 1.645  # standard errors below 0, which chance exceeds once in twenty times


class Flag(NamedTuple):
    """A judge, the items judged, the reasons, and whether one of them is failed checks."""

    judge: str
    items: int
    reasons: tuple[str, ...]
    failed: bool


def flags(judged: Judged) -> list[Flag]:
    """The judges to look at, in the order of their judgements."""
    by_judge: dict[str, list[Judgement]] = defaultdict(list)
    for each in (*judged.judgements, *judged.checks):
        by_judge[each.judge].append(each)
    correlations = _with_others(judged.judgements)
    found = []
    for judge, all_of in by_judge.items():
        answers = [each for each in all_of if each.passed is None]
        failed = list(_failed(all_of))
        reasons = [*failed, *_patterns(answers), *_fast(answers), *_disagreeing(*correlations.get(judge, (0, 0.0)))]
        if reasons:
            found.append(Flag(judge, len({each.item for each in answers}), tuple(reasons), bool(failed)))
    return found


def _failed(all_of: Sequence[Judgement]) -> Iterator[str]:
    """A check counts once, whatever it asked: it is failed where any of its answers is."""
    checks: dict[tuple[str, tuple[str, ...], float], bool] = {}
    for each in all_of:
        if each.passed is not None:
            check = (each.item, each.systems, each.seconds)
            checks[check] = checks.get(check, True) and each.passed
    failed = sum(not passed for passed in checks.values())
    if failed >= FAILED_LEAST and failed > FAILED_SHARE * len(checks):
        yield f"failed {failed} of {len(checks)} attention checks"


def _patterns(answers: Sequence[Judgement]) -> Iterator[str]:
    items = len({each.item for each in answers})
    if items < PATTERN_ITEMS:
        return
    pairs = all(len(each.systems) == 2 for each in answers)
    given = {each.value for each in answers}
    if len(given) == 1 and not pairs:
        yield f"gave {given.pop()} to all of {items} items"
    elif given == {0}:
        yield f"called all of {items} items a tie"
    if pairs:
        sides = [(each.item, -each.value if each.swapped else each.value) for each in answers if each.value]
        if len({side for _, side in sides}) == 1 and (chosen := len({item for item, _ in sides})) >= PATTERN_ITEMS:
            yield f"chose the {'first' if sides[0][1] > 0 else 'second'} reply shown in all of {chosen} items"


def _fast(answers: Sequence[Judgement]) -> Iterator[str]:
    seconds = {(each.item, each.systems): each.seconds for each in answers if each.seconds > 0}
    if len(seconds) >= FAST_ITEMS and (median := float(np.median(list(seconds.values())))) < FAST_S:
        yield f"took {median:.1f} s for an item (median; below {FAST_S:g} s)"


def _disagreeing(units: int, correlation: float) -> Iterator[str]:
    if units >= AGREEMENT_UNITS and correlation < -ONE_SIDED / math.sqrt(units):
        yield f"agrees less with others than chance (r = {correlation:.2f}, {units} replies or pairs)"


def _with_others(judgements: Sequence[Judgement]) -> Mapping[str, tuple[int, float]]:
    """For each judge the units that others judged too, and the correlation of the judge's mean values with theirs.

    With squared differences, as in the interval alpha, the disagreement that chance expects less the one observed is
    twice the covariance of a judge's values with the others' means: agreement below chance is a correlation below 0.
    """
    sums: dict[tuple[str, tuple[str, ...]], list[float]] = defaultdict(lambda: [0.0, 0.0])
    own: dict[str, dict[tuple[str, tuple[str, ...]], list[float]]] = defaultdict(
        lambda: defaultdict(lambda: [0.0, 0.0])
    )
    for each in judgements:
        unit = (each.item, each.systems)
        for total in (sums[unit], own[each.judge][unit]):
            total[0] += each.value
            total[1] += 1
    found = {}
    for judge, units in own.items():
        shared = [
            (mine / count, (sums[unit][0] - mine) / (sums[unit][1] - count))
            for unit, (mine, count) in units.items()
            if sums[unit][1] > count
        ]
        if len(shared) > 1:
            correlation = float(pearson(*np.array(shared).T))
            found[judge] = (len(shared), correlation)
    return found
