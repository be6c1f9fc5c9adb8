"""Responses of other contexts, to tell the human one from: drawn at random, or those most like the context.

None is a response to the same context or to one with the same last turn, and none is said twice in one choice, however
it is cased. The nearest are those with the highest cosine to the context, of words weighted by tf-idf.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dialogpt.data.wordhash import Hashes, grams, letters_and_digits
from dialogpt.errors import UsageError
from dialogpt.evaluation.ngrams import Floats, Ints
from dialogpt.session import Turn

COMMON = 0.1  # a word in more than this share of the responses says nothing about their subject
TRIES = 20  # this many times the number wanted is drawn at once

Contexts = Sequence[Sequence[Turn]]
References = Sequence[Sequence[str]]


class _Known:
    """The distractors that a context may not have."""

    def __init__(self, contexts: Contexts, references: References, distractors: int) -> None:
        self.texts = [several[0] for several in references]
        self.keys = list(map(_key, self.texts))
        self._of_turn: dict[str, set[str]] = defaultdict(set)
        self._turns = [_key(context[-1].text) for context in contexts]
        for turn, several in zip(self._turns, references, strict=True):
            self._of_turn[turn].update(map(_key, several))
        if len(set(self.keys)) <= distractors:
            raise UsageError(
                f"--distractors {distractors} is too many for {len(set(self.keys))} different responses",
                "ask for fewer, or add data",
            )
        self._distractors = distractors

    def take(self, place: int, ordered: Sequence[int]) -> list[str]:
        """The first responses in that order that may stand beside the ones of the context; perhaps too few."""
        taken = dict[str, str]()
        for other in ordered:
            if self.keys[other] not in self._of_turn[self._turns[place]]:
                taken.setdefault(self.keys[other], self.texts[other])
                if len(taken) == self._distractors:
                    break
        return list(taken.values())

    def complain(self, place: int) -> UsageError:
        return UsageError(
            f"context {place + 1} has fewer than {self._distractors} distractors: its last turn is that of most others",
            "ask for fewer --distractors",
        )


def draw(
    contexts: Contexts, references: References, chosen: NDArray[np.intp], distractors: int, rng: np.random.Generator
) -> list[list[str]]:
    """For each of the chosen contexts, responses of others at random."""
    known = _Known(contexts, references, distractors)
    found = []
    for place in chosen.tolist():
        taken = known.take(place, rng.integers(0, len(contexts), TRIES * distractors).tolist())
        if len(taken) < distractors:
            taken = known.take(place, rng.permutation(len(contexts)).tolist())
        if len(taken) < distractors:
            raise known.complain(place)
        found.append(taken)
    return found


def nearest(contexts: Contexts, references: References, chosen: NDArray[np.intp], distractors: int) -> list[list[str]]:
    """For each of the chosen contexts, the responses of others that are most like it."""
    known = _Known(contexts, references, distractors)
    index = _Index(known.texts)
    turns = grams([" ".join(turn.text for turn in contexts[place]) for place in chosen], 1, letters_and_digits())
    found = []
    for place, hashes in zip(chosen.tolist(), np.split(turns.hashes, turns.ends[:-1]), strict=True):
        taken = known.take(place, np.argsort(-index.likeness(np.unique(hashes)), kind="stable").tolist())
        if len(taken) < distractors:
            raise known.complain(place)
        found.append(taken)
    return found


class _Index:
    """Which texts have a word, and how much it weighs in them."""

    def __init__(self, texts: Sequence[str]) -> None:
        found = grams(texts, 1, letters_and_digits())
        owners = np.repeat(np.arange(len(texts)), np.diff(found.ends, prepend=0))
        pairs = np.unique(np.stack([found.hashes, owners.astype(np.uint64)]), axis=1)  # sorted by word, then by text
        self._words, starts, counts = np.unique(pairs[0], return_index=True, return_counts=True)
        self._starts: Ints = starts.astype(np.int64)
        self._counts: Ints = counts.astype(np.int64)
        self._owners: Ints = pairs[1].astype(np.int64)
        idf = np.where(counts <= max(COMMON * len(texts), 1), np.log(len(texts) / counts), 0.0)
        weights = np.bincount(self._owners, np.repeat(idf**2, counts), len(texts))
        self._idf: Floats = idf
        self._norms: Floats = np.sqrt(np.maximum(weights, 1e-12))

    def likeness(self, words: Hashes) -> Floats:
        """The cosine of each text and these words, but for the words' own norm, (texts,)."""
        places = np.searchsorted(self._words, words)
        there = places < len(self._words)
        places = places[there][self._words[places[there]] == words[there]]
        places = places[self._idf[places] > 0]
        found = np.zeros(len(self._norms))
        for place in places.tolist():
            start, count = self._starts[place], self._counts[place]
            found[self._owners[start : start + count]] += self._idf[place] ** 2
        return found / self._norms


def _key(text: str) -> str:
    return " ".join(text.casefold().split())
