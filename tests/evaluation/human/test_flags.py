"""Judges to look at: each reason is found where it is, and not where it is not."""

from pathlib import Path
from typing import Any

import pytest

from dialogpt.evaluation.human import Judgement
from dialogpt.evaluation.human.flags import flags
from dialogpt.evaluation.human.judgements import Judged, judged


def pair(judge: str, item: int, value: int, **more: Any) -> Judgement:
    return Judgement(judge=judge, item=str(item), criterion="c", systems=("A", "B"), value=value, **more)


def rating(judge: str, item: int, value: int, **more: Any) -> Judgement:
    return Judgement(judge=judge, item=str(item), criterion="c", systems=("AB"[item % 2],), value=value, **more)


def study(judgements: list[Judgement]) -> Judged:
    from collections import Counter

    return judged(Path("study"), [("study:1", each) for each in judgements], Counter())


def reasons(judgements: list[Judgement]) -> dict[str, tuple[str, ...]]:
    return {flag.judge: flag.reasons for flag in flags(study(judgements))}


ITEMS = range(30)
CAREFUL = [pair("careful", item, item % 3 - 1, swapped=bool(item % 2), seconds=9.0) for item in ITEMS]
RATER = [rating("careful", item, 1 + item % 5) for item in ITEMS]


@pytest.mark.parametrize(
    "failed, passed, flagged", [(2, 3, True), (1, 0, False), (2, 6, False), (3, 8, True), (0, 5, False)]
)
def test_failed_checks(failed: int, passed: int, flagged: bool) -> None:
    checks = [
        pair("j", item, 1, passed=item >= failed, seconds=float(item)).__class__(
            judge="j", item=str(item), criterion=criterion, systems=("A", "B"), value=1, passed=item >= failed
        )
        for item in range(failed + passed)
        for criterion in ("c", "d")  # of one check
    ]
    found = flags(study(CAREFUL + checks))
    assert [flag.reasons for flag in found if flag.failed] == (
        [(f"failed {failed} of {failed + passed} attention checks",)] if flagged else []
    )


def test_patterns_of_pairs() -> None:
    left = [pair("left", item, 1 if item % 2 else -1, swapped=not item % 2, seconds=9.0) for item in range(12)]
    right = [pair("right", item, 1, swapped=True) for item in range(10)]
    ties = [pair("ties", item, 0) for item in range(10)]
    system = [pair("system", item, 1, swapped=bool(item % 2)) for item in ITEMS]  # A may well be better
    few = [pair("few", item, 1) for item in range(9)]
    assert reasons(CAREFUL + left + right + ties + system + few) == {
        "left": ("chose the first reply shown in all of 12 items",),
        "right": ("chose the second reply shown in all of 10 items",),
        "ties": ("called all of 10 items a tie",),
    }


def test_patterns_of_ratings() -> None:
    same = [rating("same", item, 4) for item in range(10)]
    assert reasons(RATER + same) == {"same": ("gave 4 to all of 10 items",)}


@pytest.mark.parametrize("seconds, flagged", [(2.9, True), (3.0, False), (0.0, False)])
def test_fast_judges(seconds: float, flagged: bool) -> None:
    fast = [pair("fast", item, item % 3 - 1, seconds=seconds) for item in range(8)]
    fast.append(pair("fast", 8, 1, seconds=900.0))  # went for tea: the median does not mind
    assert reasons(CAREFUL + fast) == ({"fast": ("took 2.9 s for an item (median; below 3 s)",)} if flagged else {})


def test_agreement_below_chance() -> None:
    others = [rating(f"j{n}", item, 1 + item % 5) for item in ITEMS for n in range(3)]
    upside_down = [rating("down", item, 5 - item % 5) for item in ITEMS]
    found = reasons(others + upside_down)
    assert found == {"down": ("agrees less with others than chance (r = -1.00, 30 replies or pairs)",)}
    assert reasons(others + upside_down[:15]) == {}  # too few to say
