"""What runs a model, as decoding uses it: an engine's calls, the cache of what it has read, and its logits.

These are interfaces: `model.engine` implements them with torch, on all its devices. Tensors stay inside an engine; what
crosses the boundary are small numpy arrays. B rows, V tokens, K candidates.
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

    They are valid until the cache that they were made with reads more. Those of a dropped row mean nothing.
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
        """The k likeliest tokens of each row: exactly k, or V if that is less, even with ties."""
        ...

    def get(self, rows: Sequence[int], tokens: Sequence[int] | Ints) -> Floats:
        """Single logits, (N,): of row rows[i] that of tokens[i]."""
        ...

    def set(self, rows: Sequence[int], tokens: Sequence[int], values: Floats) -> None:
        """Replace single logits; -inf forbids a token."""
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
    """What rows have read, so that a token costs only what is new. Its layout and growth are up to the engine."""

    @property
    def rows(self) -> int: ...

    @property
    def size_bytes(self) -> int: ...

    def tokens_read(self, row: int = 0) -> int:
        """How many tokens a row has read."""
        ...

    def rearrange(self, rows: Sequence[int], differ: int | None = None) -> None:
        """Have the given rows instead, in that order; a row may be taken several times, or not at all.

        differ: rows equal those that they replace, except for at most this many of their last tokens.
        """
        ...

    def join(self, places: Sequence[int], other: Self) -> None:
        """Put the rows of `other`, a cache of the same engine, at these places; those from B on, in order, are new.

        What was there is forgotten. `other` is not used afterwards.
        """
        ...

    def drop(self, row: int) -> None:
        """Forget what a row has read; another may join at its place, and tokens given to it do not matter."""
        ...

    def branch(self, rows: int, room: int) -> Self:
        """A cache for several rows that continue this one's only row, by about `room` tokens each.

        It refers to this one, which must not change meanwhile. Nothing joins such a cache.
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

    begun: a cache of one row that has read the context's beginning, never all of it, or None. Not used afterwards.
    """

    places: Sequence[int]
    context: Sequence[int]
    begun: Any = None


class Engine(Protocol):
    """What runs a model; contexts and targets are of at least one token, and fit into `n_ctx`."""

    @property
    def n_ctx(self) -> int: ...

    def prefill(self, contexts: Sequence[Sequence[int]], room: int, begun: Sequence[Any] = ()) -> tuple[Logits, Cache]:
        """Read contexts of any lengths, to be continued by about `room` tokens; returns each row's next logits.

        begun: for each context a cache of the engine's own, of one row that has read its beginning but never all of
        it, or None; or none at all. They are not used afterwards.
        """
        ...

    def resume(self, context: Sequence[int], kept: Kept | None) -> tuple[Logits, Kept]:
        """Read what is new in a conversation's context; `kept` is what an earlier call returned, and is updated.

        Returns the logits of the next token, of one row, and what to keep. What the two have in common is not read
        again, so that a turn that was taken back or replaced costs no more than what follows it. Interrupted at any
        point, `kept` stays consistent: its tokens are those that its cache has read.
        """
        ...

    def decode(self, tokens: Sequence[int], cache: Any, joining: Sequence[Joining] = ()) -> Logits:
        """Read one more token a row of the engine's own cache, and what joins it; returns each row's next logits.

        If joining rows make it fail, the other rows can still be decoded: they have then not read their tokens, or
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
