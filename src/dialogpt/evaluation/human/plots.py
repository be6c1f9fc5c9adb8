"""Findings -> a drawing: wins, ties and losses, or mean ratings with intervals, and metrics against the judges.

One file, PNG, SVG or PDF by its ending. The colours can be told apart by colour-blind readers, and in grey.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dialogpt.evaluation.human.correlation import Correlations
from dialogpt.evaluation.human.findings import ALL, Finding, of_name
from dialogpt.evaluation.plots import figure_class, save
from dialogpt.evaluation.report import PAPER, title

BLUE, GREY, ORANGE, GREEN, PINK = "#0072b2", "#c8c8c8", "#e69f00", "#009e73", "#cc79a7"  # Okabe and Ito's
SERIES = (BLUE, ORANGE, GREEN, PINK)
MARKERS = "osD^"
WIDTH_INCHES, ROW_INCHES, SCATTER_INCHES = 7.0, 0.32, 2.4
SCATTERS = 3  # beside each other


def plot(findings: Sequence[Finding], correlations: Correlations | None, path: Path) -> None:
    """Draw everything into one file."""
    metrics = _shown(correlations) if correlations else []
    rows, scatter_rows = _rows(findings), -(-len(metrics) // SCATTERS)
    heights = [1.0 + ROW_INCHES * rows, *[SCATTER_INCHES] * scatter_rows]
    figure = figure_class()(figsize=(WIDTH_INCHES, sum(heights)), layout="constrained")
    grid = figure.add_gridspec(len(heights), SCATTERS, height_ratios=heights)
    axes = figure.add_subplot(grid[0, :])
    if any(each.name == "preference" for each in findings):
        _bars(axes, findings)
    else:
        _means(axes, findings)
    if correlations:
        for place, metric in enumerate(metrics):
            scatter = figure.add_subplot(grid[1 + place // SCATTERS, place % SCATTERS])
            _scatter(scatter, correlations, metric, legible=place % SCATTERS == 0)
    save(figure, path)


def _shown(correlations: Correlations) -> list[str]:
    """The metrics of the paper's table, or where none of them is there, all; those that are undefined are not."""
    defined = [name for name, values in correlations.metrics.items() if np.isfinite(values).any()]
    return [name for name in PAPER if name in defined] or defined


def _rows(findings: Sequence[Finding]) -> int:
    """How many lines of text the first drawing has."""
    pairs = of_name(findings, "preference")
    return len(pairs) if pairs else len({each.systems for each in findings if each.name == "mean"})


def _bars(axes: Any, findings: Sequence[Finding]) -> None:
    """A bar for each criterion and pair: wins, ties and losses in percent."""
    counts = [of_name(findings, name) for name in ("wins", "ties", "losses")]
    places = list(counts[0])
    several = len({systems for systems, _ in places}) > 1
    left = np.zeros(len(places))
    for found, colour, label in zip(counts, (BLUE, GREY, ORANGE), ("wins", "ties", "losses"), strict=True):
        shares = np.array([100 * (found[place].value or 0) / found[place].n for place in places])
        axes.barh(range(len(places)), shares, left=left, color=colour, label=label, height=0.7)
        for at, share in enumerate(shares):
            if share >= 5:  # percent: narrower ones have no room for a number
                ink = "white" if colour == BLUE else "black"
                axes.text(left[at] + share / 2, at, f"{share:.0f}", ha="center", va="center", color=ink, fontsize=8)
        left += shares
    labels = [f"{criterion}: {one} - {other}" if several else criterion for (one, other), criterion in places]
    pair = "" if several else f", for {_text(places[0][0][0])} (wins) or {_text(places[0][0][1])} (losses)"
    axes.axvline(50, color="black", linewidth=0.7, linestyle=":")
    axes.set_yticks(range(len(places)), list(map(_text, labels)))
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel(f"% of judgements{pair}")
    _dress(axes, grid="")
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))


def _means(axes: Any, findings: Sequence[Finding]) -> None:
    """A row a system, the best on top, and in it the mean of each criterion with its interval."""
    means = of_name(findings, "mean")
    criteria = list(dict.fromkeys(criterion for _, criterion in means))
    by = criteria[-1]
    systems = list(dict.fromkeys(systems for systems, _ in means))
    systems.sort(key=lambda each: -(means[each, by].value or 0))
    for number, criterion in enumerate(criteria):
        found = [means[each, criterion] for each in systems]
        values = np.array([np.nan if each.value is None else each.value for each in found])
        ends = np.array([(each.low, each.high) if each.low is not None else (np.nan, np.nan) for each in found], float)
        errors = np.nan_to_num(np.abs(ends.T - values))
        colour = "black" if criterion == ALL else SERIES[number % len(SERIES)]
        heights = np.arange(len(systems)) + (number - (len(criteria) - 1) / 2) * 0.2
        label = "all criteria" if criterion == ALL else _text(criterion)
        marker = MARKERS[number % len(MARKERS)]
        axes.errorbar(values, heights, xerr=errors, fmt=marker, color=colour, markersize=4, linewidth=1.2, label=label)
    axes.set_yticks(range(len(systems)), [_text(name) for (name,) in systems])
    axes.invert_yaxis()
    axes.set_xlabel("mean rating, 95% interval")
    _dress(axes, grid="x")
    axes.legend(frameon=False, fontsize=8)


def _scatter(axes: Any, correlations: Correlations, metric: str, *, legible: bool) -> None:
    """A point a system: the metric against what the judges said."""
    values = correlations.metrics[metric]
    axes.scatter(values, correlations.human, color=BLUE, s=14)
    for x, y, name in zip(values, correlations.human, correlations.systems, strict=True):
        if np.isfinite(x + y):
            axes.annotate(_text(name), (x, y), xytext=(3, 2), textcoords="offset points", fontsize=6)
    axes.set_xlabel(title(metric).removesuffix(" %"), fontsize=9)
    axes.margins(x=0.2)
    if legible:
        axes.set_ylabel("judges", fontsize=9)
    _dress(axes, grid="both")


def _dress(axes: Any, *, grid: str) -> None:
    axes.tick_params(labelsize=8, length=3)
    if grid:
        axes.grid(axis=grid, color="#e4e4e4", linewidth=0.7)
        axes.set_axisbelow(True)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))


def _text(name: str) -> str:
    """A name as it is: matplotlib would read text between dollar signs as mathematics."""
    return name.replace("$", r"\$")
