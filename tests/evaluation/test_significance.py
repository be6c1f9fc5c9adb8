"""Intervals that cover, p-values that are not too small, and both without a second count."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialogpt.evaluation import EvaluateConfig
from dialogpt.evaluation import significance as sig
from dialogpt.evaluation.diversity import diversity
from dialogpt.evaluation.habits import blandness, self_repetition
from dialogpt.evaluation.scoring import scored
from dialogpt.evaluation.significance import Additive, Jackknifed, ratio

DRAWS = 60


def mean(values: np.ndarray) -> Additive:
    return Additive(("mean",), "", np.stack([values, np.ones(len(values))], axis=1), ratio)


@settings(max_examples=30)
@given(st.integers(1, 20), st.integers(1, 9), st.integers(0, 5))
def test_a_sample_is_as_large_as_the_set(segments: int, samples: int, seed: int) -> None:
    weights = sig.resampled(np.eye(segments), samples, seed)
    assert weights.shape == (samples, segments)
    assert (weights.sum(axis=1) == segments).all()
    assert np.array_equal(weights, sig.resampled(np.eye(segments), samples, seed))
    halves = sig.halves(np.eye(segments), samples, seed)
    assert set(halves.reshape(-1)) <= {0, 1}


def test_samples_do_not_depend_on_how_many_are_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    table = np.random.default_rng(1).normal(size=(30, 2))
    whole, halves = sig.resampled(table, 50, 3), sig.halves(table, 50, 3)
    monkeypatch.setattr(sig, "CELLS", 128)
    assert np.allclose(sig.resampled(table, 50, 3), whole)
    monkeypatch.setattr(sig, "CELLS", 240)  # halves are drawn in bytes, eight at a time
    assert np.allclose(sig.halves(table, 50, 3).mean(), halves.mean(), atol=2)


def test_bootstrap_intervals_cover_the_truth() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for draw in range(DRAWS):
        measure = mean(rng.normal(5, 2, size=200))
        low, high = sig.percentiles(measure.scores(sig.resampled(measure.statistics, 300, draw)))[0]
        covered += low < 5 < high
        assert high - low == pytest.approx(4 * 1.96 / math.sqrt(200), rel=0.35)
    assert covered > 0.85 * DRAWS


def test_jackknife_error_is_the_means_own() -> None:
    values = np.random.default_rng(0).normal(9, size=50)
    left_out = (values.sum() - values) / 49
    measure = Jackknifed(("mean",), "", values.mean(keepdims=True), left_out[:, None])
    low, high = sig.jackknife(measure)[0]
    assert (high - low) / 2 == pytest.approx(sig.WIDTH * values.std(ddof=1) / math.sqrt(50))


def test_jackknife_error_is_that_of_fresh_replies() -> None:
    """Distinct of replies drawn again and again spreads as the jackknife of each says, within a third."""
    rng = np.random.default_rng(0)
    words = np.array([f"w{n}" for n in range(2000)])
    shares = 1 / np.arange(1, 2001)

    def replies() -> list[list[str]]:
        return [rng.choice(words, rng.integers(3, 12), p=shares / shares.sum()).tolist() for _ in range(150)]

    measures = [diversity(replies()) for _ in range(DRAWS)]
    for kind in (0, 1):
        spread = np.std([measure[kind].values for measure in measures], axis=0, ddof=1)
        widths = np.mean([np.diff(sig.jackknife(measure[kind]))[:, 0] for measure in measures], axis=0)
        assert widths / (2 * sig.WIDTH) == pytest.approx(spread, rel=0.34)


def test_an_interval_stays_within_what_can_be() -> None:
    entropies, distincts = diversity([["a", "b", "c", "d"], ["a", "a", "a", "a"], ["x", "y"]])
    assert sig.jackknife(entropies).min() == 0
    assert sig.jackknife(distincts).max() == 1


def test_one_segment_has_no_interval() -> None:
    (entropies, _) = diversity([["a", "b", "c", "d"]])
    assert np.isnan(sig.jackknife(entropies)).all()


@pytest.mark.parametrize("test", ["bootstrap", "randomised"])
def test_p_values(test: str) -> None:
    rng = np.random.default_rng(2)

    def p(one: np.ndarray, other: np.ndarray) -> float:
        first, second = mean(one), mean(other)
        if test == "randomised":
            return float(sig.randomised_p(first, second, 300, 1)[0])
        table = np.concatenate([first.statistics, second.statistics], axis=1)
        one_sums, other_sums = np.split(sig.resampled(table, 300, 1), 2, axis=1)
        return float(sig.bootstrap_p(first.values - second.values, ratio(one_sums) - ratio(other_sums), 100)[0])

    same = rng.normal(size=100)
    assert p(same, same) == 1
    far = NormalDist().inv_cdf(1 - 1 / 602) * math.sqrt(0.99)  # 1/301, the least there can be, as Student's t
    least = 1 / 301 if test == "randomised" else sig.student_p(np.array([far]), 99)[0]
    assert p(same, same + rng.normal(1, 0.5, size=100)) == pytest.approx(least)
    assert p(same + 1e-9, same) == pytest.approx(least)  # tiny and in every segment
    nothing = [p(same, same + rng.normal(0, 1, size=100)) for _ in range(DRAWS)]  # no difference: p is uniform
    assert np.mean(np.array(nothing) < 0.1) < 0.25
    assert 0.3 < np.mean(nothing) < 0.7


def p_values(one: Additive, other: Additive) -> dict[str, float]:
    """The p-values of every test that is made of two systems."""
    config = EvaluateConfig(hyps=(), samples=300, trials=300)
    _, tests = scored(["one", "other"], [[one], [other]], "", config)
    return {test.name.partition(":")[2]: test.value for test in tests if test.value is not None}


def test_p_of_shares_is_no_matter_of_length() -> None:
    rng = np.random.default_rng(3)

    def share(words: int, rate: float) -> Additive:
        whole = rng.integers(1, 2 * words, 200)
        return Additive(("share",), "", np.stack([rng.binomial(whole, rate), whole], axis=1).astype(float), ratio)

    same = [p_values(share(4, 0.05), share(80, 0.05)) for _ in range(DRAWS)]
    assert {name for each in same for name in each} == {"p-ratio"}
    found = np.array([each["p-ratio"] for each in same])
    assert np.mean(found < 0.1) < 0.25
    assert 0.3 < found.mean() < 0.7
    assert p_values(share(4, 0.2), share(80, 0.05))["p-ratio"] < 0.01
    assert p_values(share(80, 0.05), share(80, 0.06))["p-ratio"] < 0.01


@pytest.mark.parametrize("count", [20, 50, 200])
def test_p_of_rare_events_is_not_too_small(count: int) -> None:
    """Of two systems with one in fifty words repeated, one says five times as much; by luck a few have no repeat.

    By the error of the ratios alone, 12 to 20 in 100 of these had p < 0.05.
    """
    rng = np.random.default_rng(count)

    def share(words: int) -> Additive:
        whole = rng.integers(1, 2 * words, count)
        return Additive(("share",), "", np.stack([rng.binomial(whole, 0.02), whole], axis=1).astype(float), ratio)

    found = np.array([sig.ratio_p(share(5), share(25))[0] for _ in range(400)])
    assert np.mean(found < 0.05) < 0.05 + 2 * math.sqrt(0.05 * 0.95 / 400)


def test_p_of_ratios_knows_what_systems_share() -> None:
    """Of texts that are hard for both, a small and steady difference shows, as in perplexity."""
    rng = np.random.default_rng(4)
    tokens = rng.integers(5, 40, 300).astype(float)
    nats = tokens * rng.lognormal(1, 0.8, 300)
    one = Additive(("p",), "", np.stack([nats, tokens], axis=1), ratio)
    other = Additive(("p",), "", np.stack([nats * rng.normal(1.02, 0.01, 300), tokens + 1], axis=1), ratio)
    assert sig.ratio_p(one, other)[0] < 1e-6
    assert sig.ratio_p(one, one)[0] == 1


@pytest.mark.parametrize(
    "parts, wholes, difference, squared_error",
    [
        ([[1, 0, 0, 0], [0, 0, 0, 0]], [1, 1], 0.25, 0.0625),  # its own: 0.75 / 16 * 4 / 3; of one ratio 0.875 / 8 / 2
        ([[0, 0, 0, 0], [4, 0, 0, 0]], [1, 4], 0.25, 0.1925),  # of one ratio, 0.2: 12.32 / 20 * (1 / 4 + 1 / 16)
    ],
)
def test_p_of_ratios_by_hand(
    parts: list[list[float]], wholes: list[float], difference: float, squared_error: float
) -> None:
    one, other = (
        Additive(("x",), "", np.array([[part, whole] for part in several], float), ratio)
        for several, whole in zip(parts, wholes, strict=True)
    )
    expected = sig.student_p(np.array([difference / math.sqrt(squared_error)]), 3)
    assert sig.ratio_p(one, other) == pytest.approx(expected)


@pytest.mark.parametrize(
    "far, freedom, p",
    [(2.262, 9, 0.05), (2.093, 19, 0.05), (2.861, 19, 0.01), (3.883, 19, 0.001), (2.01, 49, 0.05), (1.972, 200, 0.05)],
)
def test_students_t_as_in_its_table(far: float, freedom: int, p: float) -> None:
    assert sig.student_p(np.array([far, -far]), freedom) == pytest.approx(p, rel=0.01)


def test_students_t_of_nothing_and_of_one_segment() -> None:
    assert sig.student_p(np.array([0.0, 3.0]), 0).tolist() == [1, 1]
    assert np.isnan(sig.student_p(np.array([np.nan]), 9)).all()
    assert sig.student_p(np.array([np.inf]), 9).tolist() == [0]


@pytest.mark.parametrize("count", [20, 50])
def test_bootstrap_p_of_few_segments_is_not_too_small(count: int) -> None:
    """Of 20, 7 to 8 in 100 had p < 0.05 without Student's t."""
    rng = np.random.default_rng(count)
    weights = sig.resampled(np.eye(count), 500, 1)
    found = []
    for _ in range(500):
        values = rng.normal(size=count)
        found.append(sig.bootstrap_p(values.mean(keepdims=True), weights @ values[:, None] / count, count)[0])
    assert np.mean(np.array(found) < 0.05) < 0.05 + 2 * math.sqrt(0.05 * 0.95 / 500)


def test_a_single_repeat_is_no_difference() -> None:
    short = self_repetition(["so it is then"] * 199 + ["i know i know i know"])
    long = self_repetition(["well that is very nice of you to say"] * 200)
    for systems in ((short, long), (long, short)):
        found = p_values(*systems)
        assert found
        assert min(found.values()) > 0.05
    assert p_values(short, short) == {"p-bootstrap": 1, "p-randomisation": 1}  # of as many n-grams in each segment


def test_no_test_of_what_hangs_on_the_other_replies() -> None:
    """Whether a reply is bland does: of two equal systems, 11 to 17 in 100 had p < 0.05 by tests of its sums."""
    assert p_values(blandness(["yes", "yes", "no"]), blandness(["no", "yes", "so"])) == {}


def test_p_of_the_jackknife() -> None:
    one, other = (diversity(replies)[1] for replies in ([["a", f"{n}"] for n in range(18)], [["a"] * 3, ["a"] * 4] * 9))
    assert sig.jackknife_p(one, one).tolist() == [1, 1]
    assert (sig.jackknife_p(one, other) < 0.01).all()
    unknown = Jackknifed(("max",), "", np.array([3.0]), np.full((9, 1), np.nan))
    assert np.isnan(sig.jackknife_p(unknown, unknown)).all()


def test_no_p_of_a_difference_without_an_error() -> None:
    """Three equal replies and three others: leaving one out changes nothing, which does not make it certain."""
    same, others = (diversity(replies)[1] for replies in ([["a", "b"]] * 3, [["a", "b"], ["c", "d"], ["e", "f"]]))
    assert np.isnan(sig.jackknife_p(same, others)).all()


def test_a_lone_segment_has_no_interval() -> None:
    scores, tests = scored(
        ["one", "other"], [[mean(np.array([each]))] for each in (1.0, 2.0)], "", EvaluateConfig(hyps=())
    )
    assert [(score.value, score.low, score.high) for score in scores] == [(1, None, None), (2, None, None)]
    assert {test.name: test.value for test in tests} == {"mean:p-randomisation": 1}


def test_what_is_undefined_stays_undefined() -> None:
    nothing = Additive(("share",), "", np.zeros((5, 2)), ratio)
    assert np.isnan(nothing.values).all()
    assert np.isnan(sig.percentiles(ratio(sig.resampled(nothing.statistics, 9, 1)))).all()
    assert np.isnan(sig.randomised_p(nothing, nothing, 9, 1)).all()
    assert np.isnan(sig.ratio_p(nothing, nothing)).all()
    assert np.isnan(sig.bootstrap_p(np.array([np.nan]), np.zeros((9, 1)), 9)).all()
