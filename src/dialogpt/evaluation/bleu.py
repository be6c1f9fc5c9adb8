"""BLEU-1 to BLEU-4 of a corpus, as mteval and sacreBLEU (`-lc -tok 13a -s exp`) compute it.

The geometric mean of the clipped precisions up to n, times exp(1 - r / c) where the replies' length c is below the
references' r. A precision without a match is 1 / (2^k * total) for the k-th such order, as mteval smooths it.
"""

import numpy as np

from dialogpt.evaluation.ngrams import Floats
from dialogpt.evaluation.overlap import ORDERS, Overlap

NAMES = tuple(f"bleu-{n}" for n in range(1, ORDERS + 1))
SIGNATURE = "case:lc|tok:13a|blanked:&<|smooth:exp|ref-length:closest"


def statistics(overlap: Overlap) -> Floats:
    """A row for each segment: the reference length, 4 matches, 4 totals."""
    return np.concatenate([overlap.closest[:, None], overlap.matches, overlap.totals], axis=1)


def scores(sums: Floats) -> Floats:
    """BLEU-1 to 4, (..., 4), of summed statistics, (..., 9).

    0 when nothing matches at all; NaN, undefined, for orders of which the replies have no n-gram.
    """
    reference_length, matches, totals = sums[..., 0], sums[..., 1 : ORDERS + 1], sums[..., ORDERS + 1 :]
    missed = np.cumsum(matches == 0, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        precisions = np.where(matches > 0, matches, 0.5**missed) / np.where(totals > 0, totals, np.nan)
        brevity = np.minimum(0, 1 - reference_length / totals[..., 0])
    means = np.cumsum(np.log(precisions), axis=-1) / np.arange(1, ORDERS + 1)
    bleu: Floats = np.exp(means + brevity[..., None])
    nothing = (matches[..., :1] == 0) & (totals > 0)
    return np.where(nothing, 0.0, bleu)
