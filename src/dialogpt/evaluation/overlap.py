"""Replies against several references each: the statistics that BLEU and NIST add up, a row a segment.

As in mteval: a reply's n-gram matches up to as often as the reference that has it most often; BLEU's reference
length is the one closest to the reply's (of two as close, the shorter), NIST's the mean. Numbers of references may
differ between segments. An n-gram's information, over all references, is log2(count of its first n-1 words / count).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dialogpt.evaluation.ngrams import Floats, Grams, Ints, number_grams, sums_by

ORDERS = 4


@dataclass(frozen=True, slots=True)
class Overlap:
    """For S segments and n-grams of orders 1 to 4.

    `totals`, `matches` and `information` (of the matches, in bits) are (S, 4); `closest` and `mean_length`, lengths of
    references in words, are (S,). A reply's length is its total of 1-grams.
    """

    totals: Floats
    matches: Floats
    information: Floats
    closest: Floats
    mean_length: Floats


def overlaps(
    systems: Sequence[Sequence[Sequence[str]]], references: Sequence[Sequence[Sequence[str]]]
) -> list[Overlap]:
    """The overlap of each system's replies, as words, with the references of their segments (one or more each)."""
    flat = [reference for several in references for reference in several]
    segments = np.repeat(np.arange(len(references)), [len(several) for several in references])
    lengths = np.fromiter(map(len, flat), np.int64, len(flat))
    orders = number_grams([*flat, *(reply for replies in systems for reply in replies)], ORDERS)
    shorter = [None, *orders[:-1]]
    found = [
        _Order(grams, segments, len(references), previous) for grams, previous in zip(orders, shorter, strict=True)
    ]
    made = []
    for place, replies in enumerate(systems):
        first = len(flat) + place * len(references)
        columns = [order.match(first) for order in found]
        totals, matches, information = (np.stack(column, axis=1) for column in zip(*columns, strict=True))
        closest = _closest(lengths, segments, totals[:, 0].astype(np.int64))
        mean_length = sums_by(segments, lengths, len(replies)) / np.bincount(segments, minlength=len(replies))
        made.append(Overlap(totals, matches, information, closest, mean_length))
    return made


class _Order:
    """The references' n-grams of one order: the most of each in a segment, and its information."""

    def __init__(self, grams: Grams, segments: Ints, count: int, previous: Grams | None) -> None:
        self._grams, self._count = grams, count
        self._references = grams.part(0, len(segments))
        self._information = _information(self._references, previous, len(segments))
        in_replies = np.zeros(grams.kinds, np.bool_)
        in_replies[grams.ids[len(self._references.ids) :]] = True
        wanted = in_replies[self._references.ids]  # few of the longer n-grams: nothing else needs sorting
        asked = Grams(self._references.ids[wanted], self._references.texts[wanted], grams.prefixes)
        texts, ids, counts = asked.counted()
        keys = segments[texts] * grams.kinds + ids
        order = np.lexsort((counts, keys))
        last = np.diff(keys[order], append=-1) != 0  # of equal keys, the highest count
        self._keys, self._most = keys[order][last], counts[order][last]

    def match(self, first: int) -> tuple[Floats, Floats, Floats]:
        """Totals, matches and their information for the segments' replies, which are the texts from `first` on."""
        rows, ids, counts = self._grams.part(first, first + self._count).counted()
        keys = rows * self._grams.kinds + ids
        matches = np.zeros(len(keys))
        if len(self._keys):
            places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
            there = self._keys[places] == keys
            matches[there] = np.minimum(counts, self._most[places])[there]
        information = matches * self._information[ids]
        total, matched, bits = (sums_by(rows, values, self._count) for values in (counts, matches, information))
        return total, matched, bits


def _information(references: Grams, previous: Grams | None, texts: int) -> Floats:
    """The bits of each n-gram that the references have, (kinds,), 0 for others."""
    counts = np.bincount(references.ids, minlength=references.kinds)
    if previous is None:
        before = np.full(references.kinds, len(references.ids))
    else:
        shorter = previous.part(0, texts)
        before = np.bincount(shorter.ids, minlength=shorter.kinds)[references.prefixes]
    known = counts > 0
    bits = np.zeros(references.kinds)
    bits[known] = np.log2(before[known] / counts[known])
    return bits


def _closest(lengths: Ints, segments: Ints, replies: Ints) -> Floats:
    """For each segment, the reference length closest to its reply's, of two as close the shorter."""
    order = np.lexsort((lengths, np.abs(lengths - replies[segments]), segments))
    first = np.searchsorted(segments, np.arange(len(replies)))
    return lengths[order][first].astype(np.float64)
