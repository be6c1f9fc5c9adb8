"""How much hypotheses repeat themselves, their context and each other: the faults of dull models, as shares.

Words are separated by blanks, without case; an n-gram is three of them.
"""

from collections import Counter
from collections.abc import Sequence

import msgspec

N = 3


class RepetitionReport(msgspec.Struct, frozen=True, kw_only=True):
    """Shares of the hypotheses, from 0 to 1, and a few figures of all of them together."""

    hypotheses: int
    empty: float
    repeats_itself: float  # it has an n-gram twice
    copies_context: float  # it equals a turn of the context
    overlaps_context: float  # an n-gram of it stands in the context
    same_as_another: float  # another context has an equal hypothesis
    mean_words: float
    distinct_1: float
    distinct_2: float
    most_frequent: tuple[tuple[str, int], ...]  # the blandest: hypotheses of several contexts

    def lines(self) -> list[str]:
        """The report as text, a figure a line."""
        shares = ("empty", "repeats_itself", "copies_context", "overlaps_context", "same_as_another")
        lines = [f"hypotheses           {self.hypotheses:,}", f"words a hypothesis   {self.mean_words:.1f}"]
        lines += [f"{name.replace('_', ' '):<20} {getattr(self, name):.1%}" for name in shares]
        lines += [f"distinct-1, -2       {self.distinct_1:.4f}, {self.distinct_2:.4f}"]
        return lines + [f"{count:>6} times         {text}" for text, count in self.most_frequent]


def repetition(contexts: Sequence[Sequence[str]], hypotheses: Sequence[str], most: int = 5) -> RepetitionReport:
    """The report on one hypothesis for each context; `most` of the most frequent ones are named."""
    split = [text.casefold().split() for text in hypotheses]
    texts = [" ".join(words) for words in split]
    read = [[turn.casefold().split() for turn in context] for context in contexts]
    frequent = Counter(texts)
    count = max(len(texts), 1)

    def share(found: Sequence[bool]) -> float:
        return sum(found) / count

    return RepetitionReport(
        hypotheses=len(texts),
        empty=share([not words for words in split]),
        repeats_itself=share([len(set(grams(words))) < len(grams(words)) for words in split]),
        copies_context=share([bool(w) and w in turns for w, turns in zip(split, read, strict=True)]),
        overlaps_context=share(
            [
                not {g for turn in turns for g in grams(turn)}.isdisjoint(grams(w))
                for w, turns in zip(split, read, strict=True)
            ]
        ),
        same_as_another=share([frequent[text] > 1 for text in texts]),
        mean_words=sum(map(len, split)) / count,
        distinct_1=_distinct(split, 1),
        distinct_2=_distinct(split, 2),
        most_frequent=tuple((text, n) for text, n in frequent.most_common(most) if n > 1),
    )


def grams(words: Sequence[str], n: int = N) -> list[tuple[str, ...]]:
    """The n-grams of a text, in order."""
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def _distinct(split: Sequence[Sequence[str]], n: int) -> float:
    found = [gram for words in split for gram in grams(words, n)]
    return len(set(found)) / len(found) if found else 0.0
