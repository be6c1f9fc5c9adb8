"""How long replies are -> a drawing: for each system, and for the references, the share of replies of each length."""

from pathlib import Path

import numpy as np

from dialogpt.artifact import atomic_file
from dialogpt.errors import UsageError
from dialogpt.evaluation.inputs import Inputs
from dialogpt.evaluation.ngrams import Floats
from dialogpt.evaluation.words import blank_words

KINDS = (".png", ".svg", ".pdf")
SHOWN = 0.99  # of all texts: the longest ones would press the rest together
REFERENCES = "references"


def check_plot(path: Path) -> None:
    """UsageError for a file that no drawing can be written to, and without matplotlib."""
    if path.suffix.lower() not in KINDS:
        raise UsageError(f"--plot {path} is no drawing", f"name a file that ends in {', '.join(KINDS)}")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UsageError("--plot needs matplotlib", 'pip install "dialogpt[plots]"') from error


def draw_lengths(inputs: Inputs, path: Path) -> None:
    """Write the drawing to a PNG, SVG or PDF file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
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
    with atomic_file(path) as partial:
        figure.savefig(partial, format=path.suffix[1:].lower(), dpi=150)


def length_shares(inputs: Inputs) -> dict[str, Floats]:
    """For each system, and for the references, the share of replies with 0, 1, 2, ... words; (longest shown + 1,)."""
    texts = {system.name: system.replies for system in inputs.systems}
    texts |= {REFERENCES: tuple(text for several in inputs.references for text in several)}
    lengths = {name: np.array([len(words) for words in blank_words(several)]) for name, several in texts.items()}
    longest = max(int(np.ceil(np.quantile(each, SHOWN))) for each in lengths.values())
    return {name: np.bincount(each, minlength=longest + 1)[: longest + 1] / len(each) for name, each in lengths.items()}
