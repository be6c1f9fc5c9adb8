"""How long replies are -> a drawing: for each system, and for the references, the share of replies of each length."""

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from dialogpt.artifact import atomic_file
from dialogpt.errors import UsageError
from dialogpt.evaluation.inputs import Inputs
from dialogpt.evaluation.ngrams import Floats
from dialogpt.evaluation.words import blank_words

log = logging.getLogger(__name__)

ENDINGS = (".png", ".svg", ".pdf")
SHOWN = 0.99  # of all texts: the longest ones would squeeze the rest
REFERENCES = "the references"  # not what a file, and so a system, is called


def check_plot(path: Path) -> None:
    """UsageError when no drawing can be made at `path`: another ending, no such folder, or no matplotlib."""
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(
            f"--plot {path}: the ending does not say which format", f"name a file with {', '.join(ENDINGS)}"
        )
    if not path.parent.is_dir():
        raise UsageError(f"--plot {path}: there is no folder {path.parent}", "make it first")
    figure_class()


def figure_class() -> Any:
    """matplotlib's Figure; UsageError without it."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("--plot needs matplotlib", 'pip install "dialogpt[plots]"') from error
    return Figure


def save(figure: Any, path: Path) -> None:
    """Write a figure in the format of the file's ending, whole or not at all."""
    with warnings.catch_warnings(record=True) as caught, atomic_file(path) as partial:
        warnings.simplefilter("always")
        figure.savefig(partial, format=path.suffix.lower()[1:], dpi=200)
    if any("missing from" in str(each.message) for each in caught):
        log.warning("%s: some letters are not in matplotlib's font, and are drawn as boxes", path)


def draw_lengths(inputs: Inputs, path: Path) -> None:
    """Write the drawing to a PNG, SVG or PDF file."""
    figure = figure_class()(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, shares in length_shares(inputs).items():
        dashed = name == REFERENCES
        axes.plot(shares, label=name, linestyle="--" if dashed else "-", color="0.5" if dashed else None, linewidth=1.6)
    axes.set_xlabel("words of a reply")
    axes.set_ylabel("share of replies")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    save(figure, path)


def length_shares(inputs: Inputs) -> dict[str, Floats]:
    """For each system, and references if there are any, the share of texts of 0, 1, ... words; (longest shown + 1,)."""
    texts = {system.name: system.replies for system in inputs.systems}
    if references := tuple(text for several in inputs.references for text in several):
        texts[REFERENCES] = references
    lengths = {name: np.array([len(words) for words in blank_words(several)]) for name, several in texts.items()}
    longest = max(int(np.ceil(np.quantile(each, SHOWN))) for each in lengths.values())
    return {name: np.bincount(each, minlength=longest + 1)[: longest + 1] / len(each) for name, each in lengths.items()}
