"""Texts -> 64-bit hashes of their words and word n-grams, many texts at once; the same on every machine.

All texts of a call are laid end to end as code points, and each step is one NumPy operation over all of them: a
thousand turns a call take 2 to 4 microseconds each, a single one about a hundred.
A word's hash is the sum of value(character) * BASE ** position, taken from running sums, then mixed.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from dialogpt.data.filters import UNSPACED
from dialogpt.data.normalize import ARABIC_SIGNS

Hashes = NDArray[np.uint64]
Kinds = NDArray[np.uint8]  # code point -> what it is in a word

BLANK, LETTER, WORD, DROPPED = range(4)  # between words, in a word, a word of its own, as if it were not there

_CODES = 0x110000
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse
_INVERSE = pow(_BASE, -1, 1 << 64)
_FACTORS = (0xD6E8FEB86659FD93, 0xA0761D6478BD642F, 0xE7037ED1A0B428DB, 0x8EBC6AF09C88C6E3)
# Apostrophes, Arabic signs, joiners, variation selectors: spelling differs in them, words do not.
_DROPPED = f"'’ʼ`{ARABIC_SIGNS}\u00ad\u200c\u200d\ufe0e\ufe0f"


@dataclass(frozen=True, slots=True)
class Grams:
    """Hashes of the texts' n-grams, text after text; those of text t are `hashes[ends[t - 1]:ends[t]]`."""

    hashes: Hashes
    ends: NDArray[np.int64]

    @property
    def counts(self) -> NDArray[np.int64]:
        """The number of n-grams of each text."""
        return np.diff(self.ends, prepend=0)

    def sums(self, values: NDArray[np.bool_]) -> NDArray[np.int64]:
        """For each text, how many of its n-grams are true in `values`."""
        running = np.concatenate(([0], np.cumsum(values, dtype=np.int64)))
        return np.diff(running[self.ends], prepend=0)


def grams(texts: Sequence[str], n: int, kinds: Kinds) -> Grams:
    """The n-grams of the casefolded texts' words, n from 1 to 4; a text of fewer words has none."""
    codes, text_ends = _codes([text.casefold() for text in texts])
    kind = kinds[codes]
    if (kind == DROPPED).any():
        kept = kind != DROPPED
        text_ends = np.concatenate(([0], np.cumsum(kept)))[text_ends]
        codes, kind = codes[kept], kind[kept]
    starts, ends = _words(kind, text_ends)
    words = _hash_spans(_values()[codes], starts, ends)
    word_ends = np.searchsorted(starts, text_ends)
    if n == 1:
        return Grams(words, word_ends)
    mixed = words[: max(len(words) - n + 1, 0)].copy()
    for place in range(1, n):
        mixed *= np.uint64(_FACTORS[place - 1])
        mixed ^= words[place : place + len(mixed)]
    whole = np.ones(len(mixed), np.bool_)  # n-grams that do not cross the end of a text
    for place in range(1, n):
        inner = word_ends - place
        whole[inner[(inner >= 0) & (inner < len(whole))]] = False
    gram_ends = np.concatenate(([0], np.cumsum(whole)))[np.minimum(word_ends, len(whole))]
    return Grams(mix(mixed[whole]), gram_ends)


def text_hashes(texts: Sequence[str]) -> Hashes:
    """A hash of each text as it stands, (T,)."""
    codes, ends = _codes(texts)
    return whole_hashes(_values()[codes], ends)


def whole_hashes(values: Hashes, ends: NDArray[np.int64]) -> Hashes:
    """One hash for each list of hashes, in their order; list t is `values[ends[t - 1]:ends[t]]`, (T,)."""
    return _hash_spans(values, np.concatenate((np.zeros(1, np.int64), ends))[:-1], ends)


def mix(values: Hashes) -> Hashes:
    """Let every bit of a value bear on every bit of the result (the end of SplitMix64); equal stays equal."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@cache
def between_blanks() -> Kinds:
    """Words are what stands between white space: for texts that are tokenised."""
    return _kinds(r"\S+")


@cache
def letters_and_digits() -> Kinds:
    """Words are runs of letters and digits, or one character of a script written without blanks."""
    kinds = _kinds(r"[^\W_]+")
    for code in (code for span in ((0x300, 0x2000), (0xA000, 0xD7A4), (0x10000, 0x20000)) for code in range(*span)):
        if unicodedata.category(chr(code))[0] == "M":  # vowel signs belong to their letters
            kinds[code] = LETTER
    _set(kinds, UNSPACED.pattern, WORD)
    _set(kinds, f"[{_DROPPED}]", DROPPED)
    return kinds


@cache
def letters() -> Kinds:
    """As `letters_and_digits`, with digits for blanks."""
    kinds = letters_and_digits().copy()
    _set(kinds, r"\d+", BLANK)
    return kinds


def _codes(texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The code points of all texts, and the index after each text's last one."""
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.dtype("<u4"))
    return codes, np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))


def _words(kind: Kinds, text_ends: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where words start, and the indexes after their last characters."""
    letter, alone = kind == LETTER, kind == WORD
    joined = letter[:-1] & letter[1:]  # to the character after it
    joined[text_ends[(text_ends > 0) & (text_ends < len(kind))] - 1] = False
    starts, ends = letter.copy(), letter
    starts[1:] &= ~joined
    ends[:-1] &= ~joined
    return np.flatnonzero(starts | alone), np.flatnonzero(ends | alone) + 1


def _hash_spans(values: Hashes, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> Hashes:
    """A hash of the values of each span, in their order."""
    running = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(values * _powers(_BASE, len(values)), out=running[1:])
    sums = (running[ends] - running[starts]) * _powers(_INVERSE, len(values) + 1)[starts]
    return mix(sums + (ends - starts).astype(np.uint64))  # the length, for values of 0


def _powers(base: int, count: int) -> Hashes:
    """`base` to the power of 0, 1, ... modulo 2 ** 64."""
    powers = np.full(count, base, np.uint64)
    powers[:1] = 1
    return np.cumprod(powers, out=powers)


@cache
def _values() -> Hashes:
    return mix(np.arange(1, _CODES + 1, dtype=np.uint64))


@cache
def _characters() -> str:
    return "".join(map(chr, range(_CODES)))


def _kinds(pattern: str) -> Kinds:
    kinds = np.full(_CODES, BLANK, np.uint8)
    _set(kinds, pattern, LETTER)
    return kinds


def _set(kinds: Kinds, pattern: str, kind: int) -> None:
    for match in re.finditer(pattern, _characters()):
        kinds[match.start() : match.end()] = kind
