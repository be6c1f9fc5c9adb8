"""NIST-1 to NIST-4 of a corpus, as mteval-v14 computes it (Doddington 2002).

The information of the matches per n-gram of the replies, summed over the orders up to n, times a penalty for replies
shorter than the mean reference, 0.5 at two thirds of its length. With several references, mteval and nltk differ: here
information weights come from all references, and the mean reference length is each segment's own.
"""

import math

import numpy as np

from dialogpt.evaluation.ngrams import Floats
from dialogpt.evaluation.overlap import ORDERS, Overlap

NAMES = tuple(f"nist-{n}" for n in range(1, ORDERS + 1))
SIGNATURE = "case:lc|tok:13a|blanked:&<|weights:all-references|ref-length:mean"
BETA = math.log(2) / math.log(1.5) ** 2


def statistics(overlap: Overlap) -> Floats:
    """A row for each segment: the mean reference length, 4 sums of information, 4 totals."""
    return np.concatenate([overlap.mean_length[:, None], overlap.information, overlap.totals], axis=1)


def scores(sums: Floats) -> Floats:
    """NIST-1 to 4, (..., 4), of summed statistics, (..., 9)."""
    reference_length, information, totals = sums[..., 0], sums[..., 1 : ORDERS + 1], sums[..., ORDERS + 1 :]
    gained = np.cumsum(information / np.maximum(totals, 1), axis=-1)
    with np.errstate(divide="ignore"):
        ratio = np.minimum(totals[..., 0] / np.maximum(reference_length, 1), 1)
        penalty = np.exp(-BETA * np.log(ratio) ** 2)  # without any word: exp(-inf), 0
    nist: Floats = gained * penalty[..., None]
    return nist
