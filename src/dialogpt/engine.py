"""What runs a model, as decoding asks for it: an engine's calls, the cache of what it has read, and its logits.

These are interfaces: `model.engine` answers them by torch, on every device that torch has. Tensors stay where an engine
has them; what crosses the border is numpy, and small. B rows, V tokens, K candidates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]


class Candidates(NamedTuple):
    """Tokens of each row, the likeliest first; of equally likely ones the lower id. logits, tokens: (B, K)."""

    logits: Floats
    tokens: Ints


class Logits(Protocol):
    """How likely each token is to be a row's next, (B, V), wherever they are; rows are numbered from 0.

    They hold until the cache that they were made with reads more. Those of a row that was dropped mean nothing.
    """

    @property
    def rows(self) -> int: ...

    @property
    def vocabulary(self) -> int: ...

    def logsumexp(self) -> Doubles:
        """Of each row's logits, (B,); not finite where a logit is NaN or infinity."""
        ...

    def mass(self, temperatures: Floats) -> Doubles:
        """The sum of exp((logit - largest of its row) / temperature) over all tokens, (B,); temperatures: (B,)."""
        ...

    def argmax(self) -> Ints:
        """The likeliest token of each row, (B,); of equally likely ones the lowest id."""
        ...

    def likeliest(self, k: int) -> Candidates:
        """The k likeliest tokens of each row: exactly k, or V where that is less, also when more are as likely."""
        ...

    def get(self, rows: Sequence[int], tokens: Sequence[int] | Ints) -> Floats:
        """Single logits, (N,): of row rows[i] that of tokens[i]."""
        ...

    def set(self, rows: Sequence[int], tokens: Sequence[int], values: Floats) -> None:
        """Put others in place of single logits; -inf is a token that may not be said."""
        ...

    def select(self, rows: Sequence[int]) -> Self:
        """Those of the given rows, in that order; a row may be taken several times."""
        ...

    def join(self, places: Sequence[int], other: Self) -> None:
        """Put the rows of `other`, logits of the same engine, at these places; those from B on, in order, are new."""
        ...

    def array(self) -> Floats:
        """All of them, (B, V), to be read only."""
        ...


class Cache(Protocol):
    """What rows have read, so that a token costs what is new. How it is laid out, and grows, is its own business."""

    @property
    def rows(self) -> int: ...

    @property
    def size_bytes(self) -> int: ...

    def tokens_read(self, row: int = 0) -> int:
        """How many tokens a row has read."""
        ...

    def rearrange(self, rows: Sequence[int], differ: int | None = None) -> None:
        """Have the given rows instead, in that order; a row may be taken several times, or not at all.

        differ: rows and those whose places they take are known to be alike but for so many of their last tokens.
        """
        ...

    def join(self, places: Sequence[int], other: Self) -> None:
        """Put the rows of `other`, a cache of the same engine, at these places; those from B on, in order, are new.

        What was there is forgotten. `other` is not used afterwards.
        """
        ...

    def drop(self, row: int) -> None:
        """Forget what a row has read; it stays as a place to join at, and what it is told to read does not matter."""
        ...

    def branch(self, rows: int, room: int) -> Self:
        """A cache for several rows that go on from this one's only row, by about `room` tokens each.

        It reads this one, which must stay as it is meanwhile. Nothing joins such a cache.
        """
        ...

    def prefix(self, row: int, length: int, room: int = 0) -> Self:
        """A copy of the first tokens that one row has read, of one row, which is to read about `room` more."""
        ...


@dataclass(slots=True)
class Kept:
    """What one conversation has read: its tokens, and their cache of one row."""

    tokens: list[int]
    cache: Cache


class Joining(NamedTuple):
    """Rows that join those of a cache, at places that are free or new; they have one context, which is read once.

    begun: a cache of one row that has read its beginning but never all of it, or None. It is not used afterwards.
    """

    places: Sequence[int]
    context: Sequence[int]
    begun: Any = None


class Engine(Protocol):
    """What runs a model; contexts and targets are of at least one token, and fit into `n_ctx`."""

    @property
    def n_ctx(self) -> int: ...

    def prefill(self, contexts: Sequence[Sequence[int]], room: int, begun: Sequence[Any] = ()) -> tuple[Logits, Cache]:
        """Read contexts of any lengths, which go on by about `room` tokens; returns each row's next logits.

        begun: for each context a cache of the engine's own, of one row that has read its beginning but never all of
        it, or None; or none at all. They are not used afterwards.
        """
        ...

    def resume(self, context: Sequence[int], kept: Kept | None) -> tuple[Logits, Kept]:
        """Read what is new in a conversation's context; `kept` is what an earlier call returned, and is brought along.

        Returns the logits of the next token, of one row, and what to keep. What the two have in common is not read
        again, so that a turn that was taken back or replaced costs no more than what follows it. Interrupted at any
        point, `kept` is still true: its tokens, as many as the cache has read, are those of the cache.
        """
        ...

    def decode(self, tokens: Sequence[int], cache: Any, joining: Sequence[Joining] = ()) -> Logits:
        """Read one more token a row of the engine's own cache, and what joins it; returns each row's next logits.

        Should it fail over what joins, the other rows can still be decoded: they have then not read their tokens, or
        it fails again.
        """
        ...

    def nats(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[float]:
        """-log p(target | context) of each (context, target), in nats."""
        ...


def common_length(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens at the beginning are the same."""
    for place, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return place
    return min(len(a), len(b))
