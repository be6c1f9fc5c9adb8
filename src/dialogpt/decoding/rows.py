"""Rows that are decoded together: each step gives every row a token; rows that have ended make room for others.

A row is a context and how to reply to it. Settings, generators and lengths are the rows' own, and so are their replies:
they do not depend on the batch. An ended row's place waits for the next context; when none waits, the batch shrinks by
halves, since shrinking copies what the others have read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from dialogpt.decoding import DecodingConfig
from dialogpt.decoding.sampling import check_finite, draw, only_allowed
from dialogpt.engine import Cache, Engine, Joining, Logits


@dataclass(slots=True, eq=False)
class Row:
    """A context, how to reply to it, and the reply so far; `logprob` is the model's own, before any filter.

    With `keeps`, once it has ended, `read` is the cache of context and reply, except for the reply's last token.
    """

    context: Sequence[int]
    config: DecodingConfig
    generator: np.random.Generator
    room: int  # the most tokens of the reply
    tokens: list[int] = field(default_factory=list)
    logprob: float = 0.0
    keeps: bool = False
    read: Cache | None = None
    place: int | None = None  # in the batch; None before and after


class Group(NamedTuple):
    """New rows that have the same context, which is read once; `begun` has read its beginning, as `Joining` has it."""

    rows: Sequence[Row]
    begun: Cache | None = None

    @property
    def context(self) -> Sequence[int]:
        return self.rows[0].context


class Rows:
    """`draw` chooses a token for each row, `advance` reads those tokens, and the contexts of new rows with them."""

    def __init__(self, engine: Engine, end_id: int) -> None:
        self.engine, self.end_id = engine, end_id
        self.places: list[Row | None] = []  # None where a row has ended
        self.alive = 0
        self._logits: Logits | None = None
        self._cache: Cache | None = None

    @property
    def free(self) -> int:
        return len(self.places) - self.alive

    def start(self, rows: Sequence[Row], logits: Logits, cache: Cache) -> None:
        """Begin with rows whose contexts have been read: their next logits, and the cache."""
        self.places, self.alive, self._logits, self._cache = list(rows), len(rows), logits, cache
        for place, row in enumerate(rows):
            row.place = place

    def add(self, groups: Sequence[Group]) -> None:
        """Read the contexts of new rows by themselves: at the places of ended rows, and then at new ones."""
        rows = [row for group in groups for row in group.rows]
        room = max(row.room for row in rows)
        contexts, begun = [group.context for group in groups], [group.begun for group in groups]
        logits, cache = self.engine.prefill(contexts, 2 * room, begun)
        if len(rows) > len(groups):
            source = [number for number, group in enumerate(groups) for _ in group.rows]
            logits = logits.select(source)
            cache.rearrange(source)
        if self._cache is None or self._logits is None or not self.alive:
            self.start(rows, logits, cache)
            return
        free = self._free_places(len(rows))
        self._cache.join(free, cache)
        self._logits.join(free, logits)
        self._put(rows, free)

    def advance(self, groups: Sequence[Group] = ()) -> None:
        """Read the tokens that were drawn, and with them the contexts of new rows, which take their places as in `add`.

        If the new rows make it fail, it can be called again without them.
        """
        if not self.alive:
            self.add(groups)
            return
        assert self._cache is not None
        tokens = [row.tokens[-1] if row is not None else self.end_id for row in self.places]
        free = iter(self._free_places(sum(len(group.rows) for group in groups)))
        joining = [Joining([next(free) for _ in group.rows], group.context, group.begun) for group in groups]
        self._logits = self.engine.decode(tokens, self._cache, joining)
        for group, (places, *_) in zip(groups, joining, strict=True):
            self._put(group.rows, places)

    def _free_places(self, count: int) -> list[int]:
        """That many places: of ended rows, then new ones."""
        free = [place for place, row in enumerate(self.places) if row is None]
        return [*free, *range(len(self.places), len(self.places) + count - len(free))][:count]

    def _put(self, rows: Sequence[Row], places: Sequence[int]) -> None:
        self.places += [None] * (max(places) + 1 - len(self.places))
        self.alive += len(rows)
        for place, row in zip(places, rows, strict=True):
            self.places[place], row.place = row, place

    def read_by(self, row: Row) -> Cache:
        """A copy of what a row has read."""
        assert self._cache is not None
        assert row.place is not None
        return self._cache.prefix(row.place, self._cache.tokens_read(row.place))

    def draw(self) -> list[tuple[Row, int]]:
        """Choose a token for each row; those that have ended leave, the end token being their last."""
        assert self._logits is not None
        live = [row for row in self.places if row is not None]
        logits = self._logits
        if len(live) < len(self.places):
            logits = logits.select([place for place, row in enumerate(self.places) if row is not None])
        total = logits.logsumexp()
        check_finite(total)
        configs = [row.config for row in live]
        with only_allowed(logits, [row.context for row in live], [row.tokens for row in live], configs, self.end_id):
            chosen = draw(logits, configs, [row.generator for row in live])
        logprobs = logits.get(range(len(live)), chosen) - total
        drawn = list(zip(live, chosen.tolist(), strict=True))
        for (row, token), logprob in zip(drawn, logprobs.tolist(), strict=True):
            row.tokens.append(token)
            row.logprob += logprob
            if token == self.end_id or len(row.tokens) == row.room:
                self.remove(row)
        return drawn

    def remove(self, row: Row) -> None:
        """Take a row out, before its end or at it."""
        assert self._cache is not None
        assert row.place is not None
        if row.keeps:
            row.read = self.read_by(row)
        place, row.place = row.place, None
        self.places[place] = None
        self.alive -= 1
        if self.alive:
            self._cache.drop(place)

    def shrink(self) -> None:
        """Leave out the places of ended rows once they are as many as the others."""
        if self._cache is None or not self.alive or 2 * self.alive > len(self.places):
            return
        live = [row for row in self.places if row is not None]
        self._cache.rearrange([row.place for row in live if row.place is not None])
        self.places = [*live]
        for place, row in enumerate(live):
            row.place = place
