"""Curves are thinned honestly, and drawn in no colours but the page's."""

import math
import re
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogpt.errors import UsageError
from dialogpt.train.metrics import StepLine, ValidationLine
from dialogpt.train.plots import LARGEST, POINTS, Plot, curve, draw, plots

NUMBERS = st.floats(-1e6, 1e6)


@given(st.lists(NUMBERS, max_size=50), st.integers(1, 40))
def test_a_thinned_curve_keeps_ends_mean_and_extremes(values: list[float], times: int) -> None:
    y = [value + i % 3 for i in range(times) for value in values]
    thinned = curve("training", range(len(y)), y)
    assert len(thinned.x) == min(len(y), POINTS)
    assert (np.diff(thinned.x) > 0).all()
    if y:
        assert (thinned.low.min(), thinned.high.max()) == (min(y), max(y))
        assert ((thinned.low <= thinned.y + 1e-6) & (thinned.y <= thinned.high + 1e-6)).all()
    if len(y) <= POINTS:
        assert (thinned.y == y).all()


@pytest.mark.parametrize("lost", [math.inf, -math.inf, math.nan, LARGEST * 10])
def test_what_cannot_be_drawn_is_left_out(lost: float) -> None:
    assert curve("training", [1, 2, 3], [5.0, lost, 7.0]).x.tolist() == [1, 3]
    assert len(curve("training", [1], [lost]).x) == 0
    assert plots([], [ValidationLine(step=1, validation_loss=math.inf)]) == []


def test_each_kind_of_line_has_its_curves() -> None:
    step = StepLine(step=1, targets_seen=10, loss=math.log(8), lr=0.5, gradient_norm=3.0, tokens_per_s=7.0)
    validation = ValidationLine(step=1, targets_seen=20, validation_loss=math.log(16))
    found = {
        plot.title: {c.name: (c.x[0], round(c.y[0], 6)) for c in plot.curves} for plot in plots([step], [validation])
    }
    assert found["perplexity"] == {"training": (10, 8.0), "validation": (20, 16.0)}
    assert found["learning rate"] == {"training": (10, 0.5)}
    assert found["target tokens per second"] == {"training": (10, 7.0)}
    assert found["gradient norm"] == {"training": (10, 3.0)}
    assert len(found) == 5
    assert len(plots([], [validation])) == 2


CURVES = [[5.0], [0.0], [-1.0, 1.0], [1e-9, 1e-9], [1e-5, 2e-5], [20_000.0, 3.0], [1e29, 1e-29], [0.0, 5.0, 500.0]]


@pytest.mark.parametrize("values", [*CURVES, [float(i % 7) for i in range(5000)]], ids=lambda values: str(values[:3]))
@pytest.mark.parametrize("may_be_log", [False, True])
def test_a_drawing_has_only_colours_that_the_page_sets(values: list[float], may_be_log: bool) -> None:
    pytest.importorskip("matplotlib")
    line = curve("validation", range(len(values)), values)
    svg = draw(Plot("loss", [line, line._replace(name="training")], may_be_log), 3)
    assert not re.search(r"#[0-9a-f]{6}\b|rgb\(", svg)
    assert set(re.findall(r"(?:fill|stroke): ([^;\"]+)", svg)) <= {
        "none", "var(--ink)", "var(--grid)", "var(--training)", "var(--validation)"
    }  # fmt: skip
    root = ElementTree.fromstring(svg)
    assert root.get("viewBox")
    assert "loss" in (root.get("aria-label") or "")
    ids = {element.get("id") for element in root.iter()} - {None}
    assert ids
    assert all(name.startswith("plot3-") for name in ids if name)
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg)) <= ids


def test_without_matplotlib_an_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    (plot, *_) = plots([StepLine(step=1, loss=2.0)], [])
    with pytest.raises(UsageError) as caught:
        draw(plot, 1)
    assert caught.value.hint == 'pip install "dialogpt[plots]"'
