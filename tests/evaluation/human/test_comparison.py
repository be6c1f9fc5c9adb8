"""Pairs and ratings: counts, shares, ranks, intervals and tests, on judgements small enough to count by hand."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from dialogpt.evaluation.human import Judgement
from dialogpt.evaluation.human.agreement import agreement
from dialogpt.evaluation.human.comparison import compare
from dialogpt.evaluation.human.findings import Basis, Finding
from dialogpt.evaluation.human.judgements import judged
from dialogpt.evaluation.human.tally import Tally, tally
from dialogpt.evaluation.significance import student_p

BASIS = Basis(samples=200, seed=1, common="version:x")


def tallied(rows: Sequence[tuple[str, str, str, tuple[str, ...], int]]) -> Tally:
    made = [Judgement(judge=j, item=i, criterion=c, systems=s, value=v) for j, i, c, s, v in rows]
    return tally(judged(Path("study"), [("study:1", each) for each in made], Counter()))


def found(counts: Tally, basis: Basis = BASIS) -> dict[tuple[str, tuple[str, ...], str], Finding]:
    every = [*compare(counts, basis), *agreement(counts, basis)]
    return {(each.name, each.systems, each.criterion): each for each in every}


def pairs(values: Sequence[Sequence[int]], systems: tuple[str, ...] = ("A", "B")) -> list:
    return [(f"j{n}", f"i{at}", "c", systems, v) for at, item in enumerate(values) for n, v in enumerate(item)]


def interval(finding: Finding) -> tuple[float, float]:
    assert finding.low is not None
    assert finding.high is not None
    return finding.low, finding.high


def test_wins_ties_and_losses() -> None:
    made = found(tallied(pairs([(1, 1, 0), (1, 0, -1), (1, 1, 1), (-1, 1, 1), (-1, -1, 1), (0, 0, 1)])))
    ab = (("A", "B"), "c")
    assert [made[name, *ab].value for name in ("wins", "ties", "losses")] == [10, 4, 4]
    share = made["preference", *ab]
    assert share.value == 12 / 18
    low, high = interval(share)
    assert 0.4 < low < 12 / 18 < high < 1
    judgements, items = made["sign-test-judgements", *ab], made["sign-test-items", *ab]
    assert (judgements.n, judgements.p) == (14, pytest.approx(2 * 1471 / 2**14))  # 4 of 14 or fewer
    assert (items.n, items.value, items.p) == (5, 4 / 5, 2 * 6 / 2**5)  # the second item is a tie
    assert judgements.p_holm is None


def test_several_pairs_are_corrected() -> None:
    rows = pairs([(1,)] * 8) + pairs([(1,)] * 6 + [(-1,)], ("A", "C")) + pairs([(0,)], ("B", "C"))
    made = found(tallied(rows))
    tests = [made["sign-test-items", systems, "c"] for systems in (("A", "B"), ("A", "C"), ("B", "C"))]
    assert [test.p for test in tests] == [2 / 2**8, 2 * 8 / 2**7, 1]
    assert [test.p_holm for test in tests] == [3 * 2 / 2**8, 2 * 2 * 8 / 2**7, 1]
    assert tests[2].value is None


def test_a_pair_of_one_item_has_no_interval() -> None:
    made = found(tallied(pairs([(1, 0, 1)])))
    share = made["preference", ("A", "B"), "c"]
    assert (share.value, share.low, share.high) == (5 / 6, None, None)


RATINGS = [
    ("j1", "i1", "x", ("A",), 5), ("j2", "i1", "x", ("A",), 4), ("j1", "i2", "x", ("A",), 3),
    ("j1", "i1", "y", ("A",), 1), ("j1", "i2", "y", ("A",), 2),
    ("j1", "i1", "x", ("B",), 2), ("j1", "i2", "x", ("B",), 2), ("j1", "i1", "y", ("B",), 2),
    ("j1", "i2", "x", ("C",), 4), ("j2", "i2", "x", ("C",), 4),
]  # fmt: skip


def test_means_and_ranks() -> None:
    made = found(tallied(RATINGS))
    assert [made["mean", (name,), "x"].value for name in "ABC"] == [4, 2, 4]
    assert [made["rank", (name,), "x"].value for name in "ABC"] == [1, 3, 1]
    assert [made["mean", (name,), "all"].value for name in "ABC"] == [(4 + 1.5) / 2, 2, None]
    assert [made["rank", (name,), "all"].value for name in "ABC"] == [1, 2, None]
    assert [made["mean", (name,), "all"].n for name in "ABC"] == [5, 3, 2]
    difference = made["difference", ("A", "B"), "all"]
    assert (difference.value, difference.n, difference.p_holm) == (0.75, 2, None)
    assert made["difference", ("C", "B"), "x"].n == 1


def test_intervals_and_differences_come_of_the_same_items() -> None:
    """Two systems that always differ by 1 differ surely, however wide each one's interval is."""
    rng = np.random.default_rng(0)
    rows = []
    for item in range(60):
        value = int(rng.integers(1, 5))
        rows += [("j", str(item), "x", ("A",), value), ("j", str(item), "x", ("B",), value + 1)]
    made = found(tallied(rows))
    difference = made["difference", ("B", "A"), "x"]
    assert (difference.value, difference.low, difference.high) == pytest.approx((1, 1, 1))
    far = NormalDist().inv_cdf(1 - 1 / 402) * math.sqrt(59 / 60)  # p 1/201, the least there can be, as Student's t
    assert difference.p == pytest.approx(student_p(np.array([far]), 59)[0])
    low, high = interval(made["mean", ("A",), "x"])
    assert high - low > 0.4
    values = [row[4] for row in rows[::2]]
    assert (high - low) / 2 == pytest.approx(1.96 * np.std(values) / np.sqrt(60), rel=0.25)


def test_agreement_counts_who_is_left_out() -> None:
    made = found(tallied(RATINGS))
    assert made["alpha-interval", (), "x"].n == 2
    assert "left-out:3 of one judge" in made["alpha-interval", (), "x"].signature
    assert "judges-of-a-unit:2|left-out:3 of other numbers" in made["kappa-fleiss", (), "x"].signature
    alone = made["alpha-nominal", (), "y"]
    assert (alone.value, alone.low, alone.n) == (None, None, 0)
    assert "undefined" in alone.signature


@pytest.mark.parametrize("rows", [RATINGS, pairs([(1, 0), (0, -1), (1, 1)])])
def test_without_samples_there_are_no_intervals(rows: list) -> None:
    made = found(tallied(rows), Basis(samples=0, seed=1, common=""))
    assert {each.low for each in made.values()} == {None}
    assert not any("bs:" in each.signature for each in made.values())


def test_the_same_seed_gives_the_same_numbers() -> None:
    assert list(found(tallied(RATINGS)).values()) == list(found(tallied(RATINGS)).values())
