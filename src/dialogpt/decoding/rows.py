"""Rows that are decoded together: each step gives every row a token; rows that have ended make room for others.

A row is a context and how to reply to it. Settings, generators and lengths are the rows' own, and so are their replies:
they do not depend on the batch. An ended row's place waits for the next context; when none waits, the batch shrinks by
halves, since leaving it means to copy what the others have read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from dialogpt.decoding import DecodingConfig
from dialogpt.decoding.engine import Engine
from dialogpt.decoding.sampling import allowed, check_finite, draw
from dialogpt.model.cache import KVCache

GROWTH = 64  # tokens by which a cache that is full grows


@dataclass(slots=True, eq=False)
class Row:
    """A context, how to reply to it, and the reply so far; `logprob` is the model's own, before any filter.

    With `keeps`, `read` is the cache of context and reply once it has ended, but for the reply's last token.
    """

    context: Sequence[int]
    config: DecodingConfig
    generator: np.random.Generator
    room: int  # the most tokens of the reply
    tokens: list[int] = field(default_factory=list)
    logprob: float = 0.0
    keeps: bool = False
    read: KVCache | None = None


class Rows:
    """`add` reads contexts, `draw` chooses a token for each row, `advance` reads those tokens."""

    def __init__(self, engine: Engine, end_id: int) -> None:
        self.engine, self.end_id = engine, end_id
        self.places: list[Row | None] = []  # None where a row has ended
        self._logits = torch.empty(0)
        self._cache: KVCache | None = None

    @property
    def alive(self) -> int:
        return sum(row is not None for row in self.places)

    @property
    def free(self) -> int:
        return len(self.places) - self.alive

    def start(self, rows: Sequence[Row], logits: Tensor, cache: KVCache) -> None:
        """Begin with rows whose contexts have been read: their next logits (B, V), and the cache."""
        self.places, self._logits, self._cache = list(rows), logits, cache

    @torch.inference_mode()
    def add(self, groups: Sequence[Sequence[Row]]) -> None:
        """Read the contexts of new rows; those of a group have the same one, which is read once.

        They take the places of ended rows first.
        """
        rows = [row for group in groups for row in group]
        room = max(row.room for row in rows)
        logits, cache = self.engine.prefill([group[0].context for group in groups], 2 * room)
        if len(rows) > len(groups):
            source = [number for number, group in enumerate(groups) for _ in group]
            logits, cache = logits[source], cache.select(source)
        self.join(rows, logits, cache)

    @torch.inference_mode()
    def join(self, rows: Sequence[Row], logits: Tensor, cache: KVCache) -> None:
        """Take in rows whose contexts have been read: at the places of ended rows, and then at new ones."""
        if self._cache is None or not self.alive:
            self.start(rows, logits, cache)
            return
        self._compact(self._cache)
        missing = max(len(rows) - self.free, 0)
        length = max(self._cache.length, cache.length)
        if missing or length > self._cache.capacity:
            self._grow(missing, max(self._cache.capacity, length + GROWTH))
        free = [place for place, row in enumerate(self.places) if row is None][: len(rows)]
        self._cache.put(free, cache)
        self._logits[free] = logits
        for place, row in zip(free, rows, strict=True):
            self.places[place] = row

    def _grow(self, places: int, capacity: int) -> None:
        assert self._cache is not None
        self._cache = self._cache.widened(len(self.places) + places, capacity)
        self._logits = torch.cat([self._logits, self._logits[:1].expand(places, -1)])
        self.places += [None] * places

    @torch.inference_mode()
    def draw(self) -> list[tuple[Row, int]]:
        """Choose a token for each row; those that have ended leave, the end token being their last."""
        live = [(place, row) for place, row in enumerate(self.places) if row is not None]
        places = [place for place, _ in live]
        logits = self._logits if len(live) == len(self.places) else self._logits[places]
        total = logits.float().logsumexp(-1)  # (B,)
        check_finite(total)
        chosen = _choose(logits, [row for _, row in live], self.end_id)
        logprobs = (logits.gather(-1, chosen[:, None])[:, 0].float() - total).tolist()
        drawn = []
        for (place, row), token, logprob in zip(live, chosen.tolist(), logprobs, strict=True):
            row.tokens.append(token)
            row.logprob += logprob
            drawn.append((row, token))
            if token == self.end_id or len(row.tokens) == row.room:
                self._remove(place)
        return drawn

    def remove(self, row: Row) -> None:
        """Take a row out before its end."""
        self._remove(self.places.index(row))

    def _remove(self, place: int) -> None:
        row, self.places[place] = self.places[place], None
        if row is not None and row.keeps and self._cache is not None:
            row.read = self._cache.prefix(place, self._cache.length - self._cache.starts[place])
        if self._cache is not None and self.alive:
            self._cache.drop(place)

    def shrink(self) -> None:
        """Leave out the places of ended rows once they are as many as the others."""
        live = [place for place, row in enumerate(self.places) if row is not None]
        if self._cache is not None and live and 2 * len(live) <= len(self.places):
            self._cache = self._cache.select(live)
            self.places = [self.places[place] for place in live]

    def advance(self) -> None:
        """Read the tokens that were drawn."""
        assert self._cache is not None
        if self._cache.length == self._cache.capacity:
            self._compact(self._cache)
            if self._cache.length == self._cache.capacity:
                self._grow(0, self._cache.capacity + GROWTH)
        tokens = [row.tokens[-1] if row is not None else self.end_id for row in self.places]
        self._logits = self.engine.decode(tokens, self._cache)

    def _compact(self, cache: KVCache) -> None:
        """Take away the padding that all rows have; what stands at the places of ended rows is padding too."""
        for place, row in enumerate(self.places):
            if row is None:
                cache.drop(place)
        cache.compact()


def _choose(logits: Tensor, rows: Sequence[Row], end_id: int) -> Tensor:
    """A token for each row (B,), by its own settings; rows with the same settings are drawn together."""
    groups: dict[DecodingConfig, list[int]] = {}
    for place, row in enumerate(rows):
        groups.setdefault(row.config, []).append(place)
    chosen = torch.empty(len(rows), dtype=torch.long, device=logits.device)
    for config, places in groups.items():
        mine = [rows[place] for place in places]
        left = logits if len(mine) == len(rows) else logits[places]
        left = allowed(left, [row.context for row in mine], [row.tokens for row in mine], end_id, config)
        chosen[places] = draw(left, config, [row.generator for row in mine])
    return chosen
