"""Statistics against published worked examples, and against their definitions written out plainly."""

import math
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogpt.evaluation.human import statistics as s

# Krippendorff (2011), Computing Krippendorff's Alpha-Reliability, part D: 4 observers, 12 units, missing data.
OBSERVERS = ("1 2 3 3 2 1 4 1 2 . . .", "1 2 3 3 2 2 4 1 2 5 . 3", ". 3 3 3 2 3 4 2 2 5 1 .", "1 2 3 3 2 4 4 1 2 5 1 .")
# The worked example of most textbooks on Fleiss' kappa: 10 subjects, 14 raters, 5 categories.
SUBJECTS = (
    (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
    (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
)  # fmt: skip

VALUES = np.arange(1.0, 6.0)
UNITS = st.lists(st.lists(st.integers(1, 5), max_size=5), min_size=1, max_size=8)
NUMBERS = st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=9)


def counted(units: list[list[int]]) -> np.ndarray:
    return np.array([[unit.count(value) for value in range(1, 6)] for unit in units], np.float64)


def alpha(units: list[list[int]], level: s.Level) -> float:
    return float(s.alpha(s.coincidences(counted(units)).sum(axis=0), VALUES, level))


@pytest.mark.parametrize("level, published", [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_krippendorffs_own_example(level: s.Level, published: float) -> None:
    columns = zip(*(line.split() for line in OBSERVERS), strict=True)
    units = [[int(value) for value in column if value != "."] for column in columns]
    assert alpha(units, level) == pytest.approx(published, abs=5e-4)


def test_fleiss_example() -> None:
    rows, judges = s.fleiss_rows(np.array(SUBJECTS, np.float64))
    assert judges == 14
    assert float(s.fleiss_kappa(rows.sum(axis=0))) == pytest.approx(0.210, abs=5e-4)


def plain_alpha(units: list[list[int]], level: s.Level) -> float:
    """1 - observed / expected disagreement, over all pairs of values of a unit, and over all pairs of all values."""
    units = [unit for unit in units if len(unit) > 1]
    everything = [value for unit in units for value in unit]

    def difference(one: int, other: int) -> float:
        if level == "nominal":
            return float(one != other)
        if level == "interval":
            return float(one - other) ** 2
        low, high = sorted((one, other))
        between = sum(everything.count(value) for value in range(low, high + 1))
        return (between - (everything.count(low) + everything.count(high)) / 2) ** 2

    count = len(everything)
    expected = sum(difference(*pair) for pair in permutations(everything, 2)) / (count * (count - 1)) if count else 0
    if not expected:
        return math.nan
    return 1 - sum(sum(difference(*p) for p in permutations(u, 2)) / (len(u) - 1) for u in units) / count / expected


@given(UNITS, st.sampled_from(s.LEVELS))
def test_alpha_is_its_definition(units: list[list[int]], level: s.Level) -> None:
    assert alpha(units, level) == pytest.approx(plain_alpha(units, level), nan_ok=True)


@given(st.lists(st.lists(st.integers(1, 5), min_size=3, max_size=3), min_size=1, max_size=8), st.data())
def test_kappa_is_its_definition(units: list[list[int]], data: st.DataObject) -> None:
    others = data.draw(st.lists(st.lists(st.integers(1, 5), max_size=2), max_size=max(0, (len(units) - 1) // 2)))
    rows, judges = s.fleiss_rows(counted(units + others))
    assert judges == 3
    assert rows[:, 0].sum() == len(units)
    observed = np.mean([sum(a == b for a, b in combinations(unit, 2)) / 3 for unit in units])
    everything = [value for unit in units for value in unit]
    chance = sum((everything.count(value) / len(everything)) ** 2 for value in range(1, 6))
    expected = math.nan if chance == 1 else (observed - chance) / (1 - chance)
    assert float(s.fleiss_kappa(rows.sum(axis=0))) == pytest.approx(expected, nan_ok=True)


def test_agreement_of_nobody_is_undefined() -> None:
    assert math.isnan(alpha([[1], [2], []], "nominal"))
    assert math.isnan(alpha([[3, 3], [3, 3]], "interval"))
    rows, judges = s.fleiss_rows(counted([[1], [2], []]))
    assert (judges, rows.sum()) == (0, 0)
    assert math.isnan(s.fleiss_kappa(rows.sum(axis=0)))


def test_equal_numbers_of_units_take_the_more_judges() -> None:
    assert s.fleiss_rows(counted([[1, 2], [1, 2, 3], [1]]))[1] == 3


@given(st.integers(0, 40), st.integers(0, 40))
def test_sign_test_is_twice_the_tail(wins: int, losses: int) -> None:
    count = wins + losses
    tail = sum(math.comb(count, heads) for heads in range(min(wins, losses) + 1)) / 2**count
    assert s.sign_test(wins, losses) == pytest.approx(min(1, 2 * tail))
    assert s.sign_test(wins, losses) == s.sign_test(losses, wins)


@pytest.mark.parametrize(
    "wins, losses, p",
    [(0, 0, 1), (1, 0, 1), (5, 0, 2 / 32), (8, 2, 112 / 1024), (2671, 2816, 0.0519), (2871, 2607, 0.00038)],
)
def test_sign_test_of_known_counts(wins: int, losses: int, p: float) -> None:
    """The last two are the paper's: relevance of the 345M model, and with MMI, against people."""
    assert s.sign_test(wins, losses) == pytest.approx(p, rel=2e-3)


def test_sign_test_of_very_many() -> None:
    assert s.sign_test(60_000, 59_000) == pytest.approx(0.0038, abs=2e-4)
    assert s.sign_test(3000, 0) == 0


def test_holm() -> None:
    """Steps down: 0.01 * 4, 0.02 * 3, then never less than the one before."""
    assert s.holm([0.04, 0.01, 0.03, 0.02]).tolist() == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert s.holm([0.5, 0.9]).tolist() == [1, 1]
    corrected = s.holm([math.nan, 0.02, 0.03])
    assert corrected.tolist() == pytest.approx([math.nan, 0.04, 0.04], nan_ok=True)


def plain_tau(points: list[tuple[int, int]]) -> float:
    """Kendall's tau-b: concordant less discordant pairs, over the mean of those untied on each side."""
    balance = x_untied = y_untied = 0
    for (x, y), (other_x, other_y) in combinations(points, 2):
        balance += int(np.sign(x - other_x) * np.sign(y - other_y))
        x_untied += x != other_x
        y_untied += y != other_y
    return balance / math.sqrt(x_untied * y_untied) if x_untied and y_untied else math.nan


def plain_ranks(values: list[int]) -> list[float]:
    order = sorted(values)
    return [order.index(value) + (order.count(value) + 1) / 2 for value in values]


@given(NUMBERS)
def test_correlations_are_their_definitions(points: list[tuple[int, int]]) -> None:
    x, y = np.array(points, np.float64).T * 0.1
    assert float(s.kendall(x, y)) == pytest.approx(plain_tau(points), nan_ok=True)
    assert s.ranks(x).tolist() == plain_ranks([point[0] for point in points])
    constant = len(set(points)) == 1 or np.ptp(x) == 0 or np.ptp(y) == 0
    expected = math.nan if constant else np.corrcoef(x, y)[0, 1]
    assert float(s.pearson(x, y)) == pytest.approx(expected, nan_ok=True)
    both = [plain_ranks([point[side] for point in points]) for side in (0, 1)]
    assert float(s.spearman(x, y)) == pytest.approx(math.nan if constant else np.corrcoef(*both)[0, 1], nan_ok=True)


def test_sums_in_another_order_are_constant_still() -> None:
    x = np.array([0.1 + 0.2, 0.3, 0.3, 0.15 * 2])
    y = np.array([1.0, 2, 3, 4])
    assert np.isnan([s.pearson(x, y), s.spearman(x, y), s.kendall(x, y)]).all()
    assert np.isnan([s.pearson(y, np.array([1, 2, np.nan, 4])), s.kendall(y, np.array([1, 2, np.nan, 4]))]).all()


@given(st.lists(st.integers(0, 4), min_size=1, max_size=9), st.data())
def test_middle_ranks_are_those_of_repeated_points(values: list[int], data: st.DataObject) -> None:
    times = data.draw(st.lists(st.integers(0, 3), min_size=len(values), max_size=len(values)))
    repeated = [value for value, count in zip(values, times, strict=True) for _ in range(count)]
    _, groups = np.unique(values, return_inverse=True)
    found = s.middle_ranks(groups, np.array(times, np.float64))
    by_value = dict(zip(repeated, plain_ranks(repeated), strict=True))
    for value, count, rank in zip(values, times, found, strict=True):
        assert not count or rank + 0.5 == pytest.approx(by_value[value])
