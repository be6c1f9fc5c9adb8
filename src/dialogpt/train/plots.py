"""A run's metrics -> curves against target tokens -> SVG for a page that is read in light and in dark.

Colours are names of CSS variables, which the page sets: matplotlib draws with a stand-in for each, which is replaced in
the SVG. A curve of many lines is cut into stretches: their means are the line, their extremes a band around it.
"""

import io
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dialogpt.errors import UsageError
from dialogpt.train.metrics import StepLine, ValidationLine, perplexity

POINTS = 400  # per curve; more than a phone has pixels
LARGEST = 1e30  # beyond it the drawing overflows; such a run is lost anyway
LOG_SCALE_FROM = 5.0  # largest / smallest
SIZE_INCHES = (5.0, 3.1)  # 360 wide in SVG units, so that letters have about this size on a phone
# Stand-ins by the name of the CSS variable: colours that nothing else has.
COLOURS = {"ink": "#010203", "grid": "#010204", "training": "#010205", "validation": "#010206"}


class Curve(NamedTuple):
    """`x` target tokens, `y` what is plotted, and the band `low` to `high` around it: (points,) each."""

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


class Plot(NamedTuple):
    title: str
    curves: list[Curve]
    may_be_log: bool = False


def plots(steps: Sequence[StepLine], validations: Sequence[ValidationLine]) -> list[Plot]:
    """Loss, perplexity, learning rate, throughput and gradient norm; a plot without a point is left out."""
    seen = [line.targets_seen for line in steps]
    held_out = [line.targets_seen for line in validations]
    validation_losses = [line.validation_loss for line in validations]
    found = [
        Plot(
            "loss, nats per target token",
            [
                curve("training", seen, (line.loss for line in steps)),
                curve("validation", held_out, validation_losses),
            ],
        ),
        Plot(
            "perplexity",
            [
                curve("training", seen, (perplexity(line.loss) for line in steps)),
                curve("validation", held_out, map(perplexity, validation_losses)),
            ],
            may_be_log=True,
        ),
        Plot("learning rate", [curve("training", seen, (line.lr for line in steps))]),
        Plot("target tokens per second", [curve("training", seen, (line.tokens_per_s for line in steps))]),
        Plot("gradient norm", [curve("training", seen, (line.gradient_norm for line in steps))], may_be_log=True),
    ]
    kept = [plot._replace(curves=[line for line in plot.curves if len(line.x)]) for plot in found]
    return [plot for plot in kept if plot.curves]


def curve(name: str, x: Iterable[float], y: Iterable[float]) -> Curve:
    """A curve of at most POINTS points; values that are not finite are left out."""
    points = np.array([(float(a), b) for a, b in zip(x, y, strict=True) if abs(b) < LARGEST]).reshape(-1, 2)
    stretches = np.array_split(points, min(len(points), POINTS)) if len(points) else []
    columns = [(*stretch.mean(axis=0), stretch[:, 1].min(), stretch[:, 1].max()) for stretch in stretches]
    return Curve(name, *np.array(columns).reshape(-1, 4).T)


def draw(plot: Plot, number: int) -> str:
    """The plot as an `<svg>` element, its ids made the page's own by `number`; UsageError without matplotlib."""
    figure = _figure(plot)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    for name, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>plot{number}-", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{plot.title}, against target tokens seen"', 1)


def _figure(plot: Plot) -> Any:
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import EngFormatter, LogLocator
    except ImportError as error:
        raise UsageError("the plots need matplotlib", 'pip install "dialogpt[plots]"') from error
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    figure.patch.set_visible(False)
    axes = figure.subplots()
    axes.patch.set_visible(False)
    for line in plot.curves:
        colour = COLOURS[line.name]
        marker = "o" if len(line.x) == 1 or (line.name == "validation" and len(line.x) <= 30) else ""
        axes.plot(line.x, line.y, color=colour, linewidth=1.6, marker=marker, markersize=3.5, label=line.name)
        if (line.low < line.high).any():
            axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.2, linewidth=0)
    shorten = EngFormatter(sep="")
    axes.xaxis.set_major_formatter(shorten)
    if plot.may_be_log and _spans(plot.curves) >= LOG_SCALE_FROM:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(shorten)
        axes.minorticks_off()
    else:
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 5))
    _dress(axes, legend=len(plot.curves) > 1)
    return figure


def _dress(axes: Any, *, legend: bool) -> None:
    """Give everything but the curves its colour; the title is the page's."""
    ink = COLOURS["ink"]
    axes.set_xlabel("target tokens seen", color=ink, fontsize=10)
    axes.tick_params(colors=ink, labelsize=10, length=3)
    axes.yaxis.get_offset_text().set_color(ink)
    axes.grid(color=COLOURS["grid"], linewidth=0.7)
    axes.set_axisbelow(True)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(ink)
    if legend:
        axes.legend(frameon=False, labelcolor=ink, fontsize=10)


def _spans(curves: Sequence[Curve]) -> float:
    """The largest value over the smallest; 1 if one is not above 0, which has no logarithm."""
    low, high = min(float(line.low.min()) for line in curves), max(float(line.high.max()) for line in curves)
    return high / low if low > 0 and math.isfinite(high / low) else 1.0
