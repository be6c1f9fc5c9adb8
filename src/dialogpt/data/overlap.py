"""Test-set overlap: how much of a turn's text stands in held-out responses or references, in 4-grams of words.

Held-out files are told apart by their first line, plain or compressed: JSONL sessions, JSONL of `EvalItem`, or text; of
a text line every column between tabs counts, with `score|` taken off the front of a reference. Words are casefolded
runs of letters and digits.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from dialogpt.data.wordhash import Hashes, grams, letters_and_digits
from dialogpt.errors import DataError
from dialogpt.files import decode_text, read_lines
from dialogpt.session import EvalItem, Session, sessions_files

WORDS = 4
TEXTS_AT_ONCE = 4096

_SCORE = re.compile(r"\s*-?\d+(?:\.\d+)?\|")


class HeldOut:
    """The 4-grams of held-out texts as sorted hashes, 8 bytes each; may be pickled."""

    def __init__(self, texts: Iterable[str]) -> None:
        parts, batch = [np.zeros(0, np.uint64)], list[str]()
        for text in texts:
            batch.append(text)
            if len(batch) == TEXTS_AT_ONCE:
                parts.append(_four_grams(batch))
                batch.clear()
        parts.append(_four_grams(batch))
        self._hashes = np.unique(np.concatenate(parts))

    def __len__(self) -> int:
        return len(self._hashes)

    def overlaps(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """The share of each text's 4-grams that are held out, (T,); 0 for fewer than 4 words. Fast with hundreds."""
        found = grams(texts, WORDS, letters_and_digits())
        if not len(self._hashes):
            return np.zeros(len(texts))
        places = np.searchsorted(self._hashes, found.hashes)
        held_out = self._hashes[np.minimum(places, len(self._hashes) - 1)] == found.hashes
        shares: NDArray[np.float64] = found.sums(held_out) / np.maximum(found.counts, 1)
        return shares

    def overlap(self, text: str) -> float:
        """The share of one text's 4-grams that are held out."""
        return float(self.overlaps([text])[0])
