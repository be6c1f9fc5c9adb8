"""Words -> n-grams as numbers, all texts at once; what BLEU, NIST, entropy and Distinct count.

Equal n-grams have equal ids, without hashing: an n-gram is numbered by its first n-1 words and its last one. Each step
is a few NumPy operations over all texts, so that 6,000 replies against 90,000 references take seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Grams:
    """The occurrences of n-grams of one order, text after text.

    `ids` and `texts`, (G,), say which n-gram occurs in which text; ids run from 0 to `kinds`. `prefixes`, (kinds,), are
    the ids of their first n-1 words among the (n-1)-grams, 0 for single words.
    """

    ids: Ints
    texts: Ints
    prefixes: Ints

    @property
    def kinds(self) -> int:
        return len(self.prefixes)

    def part(self, first: int, end: int) -> "Grams":
        """Those of the texts from `first` to before `end`, numbered from 0; ids stay."""
        span = slice(*np.searchsorted(self.texts, [first, end]))
        return Grams(self.ids[span], self.texts[span] - first, self.prefixes)

    def counted(self) -> tuple[Ints, Ints, Ints]:
        """How often each n-gram occurs in each text that has it: texts, ids and counts, (P,), by text and id."""
        keys, counts = np.unique(self.texts * self.kinds + self.ids, return_counts=True)
        texts, ids = np.divmod(keys, max(self.kinds, 1))
        return texts, ids, counts


def number_grams(texts: Sequence[Sequence[str]], longest: int) -> list[Grams]:
    """The n-grams of the texts, given as words, for n from 1 to `longest`."""
    numbers: dict[str, int] = {}
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    count = int(lengths.sum())
    words = np.fromiter((numbers.setdefault(w, len(numbers)) for w in chain.from_iterable(texts)), np.int64, count)
    places = np.arange(count)  # where each n-gram begins
    owners = np.repeat(np.arange(len(texts)), lengths)
    last = np.cumsum(lengths)[owners]  # for each word, the place after its text
    orders = [Grams(words, owners, np.zeros(len(numbers), np.int64))]
    for n in range(2, longest + 1):
        whole = places + n <= last[places]
        places, shorter = places[whole], orders[-1].ids[whole]
        keys, ids = np.unique(shorter * max(len(numbers), 1) + words[places + n - 1], return_inverse=True)
        orders.append(Grams(ids.reshape(-1), owners[places], keys // max(len(numbers), 1)))
    return orders


def sums_by(rows: Ints, values: NDArray[np.generic] | None, count: int) -> Floats:
    """The sum of the values (None: ones) of each row, (count,)."""
    return np.bincount(rows, weights=values, minlength=count).astype(np.float64)
