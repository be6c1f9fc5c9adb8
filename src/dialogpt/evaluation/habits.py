"""What replies do wrong that the paper's table does not show: repetition, bland replies, copies of the training data.

Words are casefolded runs of letters and digits, in any script (`wordhash`). Each measure is a share of n-grams or of
replies, and adds up over segments; lengths come as percentiles.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dialogpt.data.wordhash import Grams, Hashes, grams, letters_and_digits, mix, whole_hashes
from dialogpt.evaluation.ngrams import Ints, sums_by
from dialogpt.evaluation.significance import Additive, Jackknifed, ratio

REPEATED = 3  # words of an n-gram that counts as repeated
COPIED = 4  # words of an n-gram that counts as copied, and the fewest of a reply
MOST_FREQUENT = 10  # replies
LENGTHS = ("length-p10", "length-p50", "length-p90", "length-max")

_WORDS = "case:folded|tok:letters-digits"


def self_repetition(replies: Sequence[str]) -> Additive:
    """The share of the replies' 3-grams that occurred earlier in the same reply."""
    found = grams(replies, REPEATED, letters_and_digits())
    owners = _owners(found)
    _, first = np.unique(_keys(found.hashes, owners), return_index=True)
    repeated = found.counts - sums_by(owners[first], None, len(replies))
    return _share("repetition-self", f"n:{REPEATED}|{_WORDS}", repeated, found.counts)


def context_repetition(replies: Sequence[str], contexts: Sequence[Sequence[str]]) -> Additive:
    """The share of the replies' 3-grams that occur in a turn of their context."""
    found = grams(replies, REPEATED, letters_and_digits())
    turns = grams([turn for context in contexts for turn in context], REPEATED, letters_and_digits())
    segments = np.repeat(np.arange(len(contexts)), [len(context) for context in contexts])
    owners = _owners(found)
    repeated = np.isin(_keys(found.hashes, owners), _keys(turns.hashes, segments[_owners(turns)]))
    return _share("repetition-context", f"n:{REPEATED}|{_WORDS}", sums_by(owners, repeated, len(replies)), found.counts)


def blandness(replies: Sequence[str]) -> Additive:
    """The share of replies that are among the system's ten most frequent ones, said twice at least."""
    hashes = _whole(grams(replies, 1, letters_and_digits()))
    _, kinds, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    frequent = np.zeros(len(counts), np.bool_)
    frequent[np.argsort(-counts, kind="stable")[:MOST_FREQUENT]] = True
    bland = (frequent & (counts > 1))[kinds]
    signature = f"most-frequent:{MOST_FREQUENT}|{_WORDS}"
    return replace(_share("bland", signature, bland, np.ones(len(replies))), tested=False)


def lengths(replies: Sequence[Sequence[str]]) -> tuple[Additive, Jackknifed]:
    """The mean length of the replies, given as words, and its distribution, which has no interval."""
    words = np.array([len(reply) for reply in replies], np.float64)
    quantiles = np.append(np.quantile(words, [0.1, 0.5, 0.9]), words.max())
    no_interval = np.full((len(words), len(LENGTHS)), np.nan)
    return _share("length", "tok:blanks", words, np.ones(len(words))), Jackknifed(
        LENGTHS, "tok:blanks", quantiles, no_interval
    )


class Copies:
    """What of several systems' replies occurs in training texts, which are fed once, in any portions."""

    def __init__(self, systems: Sequence[Sequence[str]]) -> None:
        self._found = [grams(replies, COPIED, letters_and_digits()) for replies in systems]
        words = [grams(replies, 1, letters_and_digits()) for replies in systems]
        self._replies = [_whole(each) for each in words]
        self._long = [each.counts >= COPIED for each in words]
        self._grams = _Seen(np.concatenate([found.hashes for found in self._found]))
        self._wholes = _Seen(np.concatenate(self._replies))

    def feed(self, texts: Sequence[str]) -> None:
        self._grams.mark(grams(texts, COPIED, letters_and_digits()).hashes)
        self._wholes.mark(_whole(grams(texts, 1, letters_and_digits())))

    def measures(self, turns: int) -> Iterable[tuple[Additive, Additive]]:
        """For each system, the share of 4-grams copied, and of replies of 4 words or more that are a training turn."""
        signature = f"training-turns:{turns}|n:{COPIED}|{_WORDS}"
        for found, replies, long in zip(self._found, self._replies, self._long, strict=True):
            copied = sums_by(_owners(found), self._grams.seen(found.hashes), len(replies))
            yield (
                _share(f"copy-{COPIED}", signature, copied, found.counts),
                _share("copy-reply", signature, self._wholes.seen(replies) & long, long),
            )


class _Seen:
    """Known hashes, and which of them have been met."""

    def __init__(self, hashes: Hashes) -> None:
        self._known = np.unique(hashes)
        self._met = np.zeros(len(self._known), np.bool_)

    def mark(self, hashes: Hashes) -> None:
        if len(self._known):
            places = np.searchsorted(self._known, hashes)
            there = self._known.take(places, mode="clip") == hashes
            self._met[places[there]] = True

    def seen(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Whether each of some known hashes has been met."""
        return self._met[np.searchsorted(self._known, hashes)]


def _share(name: str, signature: str, part: NDArray[np.generic], whole: NDArray[np.generic]) -> Additive:
    return Additive((name,), signature, np.stack([part, whole], axis=1).astype(np.float64), ratio)


def _whole(words: Grams) -> Hashes:
    return whole_hashes(words.hashes, words.ends)


def _owners(found: Grams) -> Ints:
    """Which text each n-gram stands in."""
    return np.repeat(np.arange(len(found.ends)), found.counts)


def _keys(hashes: Hashes, owners: Ints) -> Hashes:
    """A hash of each n-gram and its text."""
    return mix(hashes ^ mix(owners.astype(np.uint64) + np.uint64(1)))
