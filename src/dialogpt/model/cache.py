"""Keys and values of what a model has read, so that a token costs only what is new: the torch engine's `Cache`.

Rows are padded on the left and share one `length`: a step appends one slice, whatever the rows' own lengths are. A row
that was dropped may be overwritten by a new one; when a cache is full, padding common to all rows is removed before
it grows. Rows that branch off one row share what it has read (N hypotheses of a context, beams).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from dialogpt.model import GPTConfig

GROWTH = 64  # tokens by which a cache that is full grows


@dataclass(slots=True)
class KVCache:
    """k, v: (L, B, H, capacity, D), of which the first `length` positions are filled.

    starts: the first position of each row that is not padding. shared: the cache of one row, read before; positions
    count from its beginning. dropped: the rows that are all padding. mark: set by the holder of a copy, and cleared
    when the cache changes.
    """

    k: Tensor
    v: Tensor
    starts: list[int]
    length: int = 0
    shared: "KVCache | None" = None
    dropped: set[int] = field(default_factory=set)
    mark: object | None = None

    @classmethod
    def empty(cls, config: GPTConfig, rows: int, capacity: int, like: Tensor, starts: list[int] | None = None) -> Self:
        """Room for `capacity` tokens a row, on the device and in the precision of `like`."""
        shape = (config.n_layer, rows, config.n_head, capacity, config.n_embd // config.n_head)
        k = torch.zeros(shape, dtype=like.dtype, device=like.device)
        return cls(k, torch.zeros_like(k), starts or [0] * rows)

    @property
    def capacity(self) -> int:
        return self.k.shape[3]

    @property
    def past(self) -> int:
        """How many positions have been read, including shared ones."""
        return self.length + (self.shared.length if self.shared is not None else 0)

    @property
    def rows(self) -> int:
        return self.k.shape[1]

    @property
    def size_bytes(self) -> int:
        return self.k.nbytes + self.v.nbytes

    def tokens_read(self, row: int = 0) -> int:
        """As `Cache.tokens_read`."""
        return 0 if row in self.dropped else self.past - self.starts[row]

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store a layer's new keys and values (B, H, T, D); returns all of that layer's, (B, H, S, D)."""
        self.mark = None
        end = self.length + k.shape[2]
        self.k[layer, :, :, self.length : end] = k
        self.v[layer, :, :, self.length : end] = v
        return self.k[layer, :, :, :end], self.v[layer, :, :, :end]

    def make_room(self, tokens: int) -> None:
        """Have room for that many more tokens a row."""
        if self.length + tokens > self.capacity:
            self._compact()
        if self.length + tokens > self.capacity:
            self._resize(self.rows, max(self.length + tokens, self.capacity + GROWTH))

    @torch.inference_mode()
    def rearrange(self, rows: Sequence[int], differ: int | None = None) -> None:
        """As `Cache.rearrange`; if the number of rows stays, only what differs is moved."""
        self.mark = None
        index = torch.tensor(rows, device=self.k.device)
        if differ is not None and len(rows) == self.rows:
            for stored in (self.k, self.v):
                new = stored[:, :, :, self.length - differ : self.length]
                new.copy_(new.index_select(1, index))
            return
        k, v = self._room(len(rows)), self._room(len(rows))
        for new, stored in ((k, self.k), (v, self.v)):
            new[:, :, :, : self.length] = stored[:, :, :, : self.length].index_select(1, index)
        self.k, self.v = k, v
        self.starts = [self.starts[row] for row in rows]
        self.dropped = {place for place, row in enumerate(rows) if row in self.dropped}

    @torch.inference_mode()
    def join(self, places: Sequence[int], other: "KVCache") -> None:
        """As `Cache.join`; contexts of `other` may be longer than this cache."""
        assert self.shared is None
        self.mark = None
        self._compact()
        rows, length = max(*places, self.rows - 1) + 1, max(self.length, other.length)
        if rows > self.rows or length > self.capacity:
            self._resize(rows, max(self.capacity, length + GROWTH))
        self._shift(length - self.length)
        pad = length - other.length
        index = torch.tensor(places, device=self.k.device)
        for new, stored in ((self.k, other.k), (self.v, other.v)):
            new[:, index, :, pad:length] = stored[:, :, :, : other.length]
        for place, start in zip(places, other.starts, strict=True):
            self.starts[place] = start + pad
        self.dropped.difference_update(places)

    def drop(self, row: int) -> None:
        """As `Cache.drop`. Rows that share a context still need no mask."""
        self.dropped.add(row)
        if self.shared is None:
            self.starts[row] = self.length

    def branch(self, rows: int, room: int) -> "KVCache":
        """As `Cache.branch`."""
        return KVCache(self._room(rows, room), self._room(rows, room), [0] * rows, shared=self)

    @torch.inference_mode()
    def prefix(self, row: int, length: int, room: int = 0) -> "KVCache":
        """As `Cache.prefix`; the copy has no padding."""
        start = self.starts[row]
        cache = KVCache(self._room(1, length + room), self._room(1, length + room), [0], length)
        for new, stored in ((cache.k, self.k), (cache.v, self.v)):
            new[:, :, :, :length] = stored[:, row : row + 1, :, start : start + length]
        return cache

    def _compact(self) -> None:
        """Remove the padding common to all rows; a dropped row is all padding."""
        if self.shared is None:
            for row in self.dropped:
                self.starts[row] = self.length
            self._shift(-min(self.starts))

    @torch.inference_mode()
    def _shift(self, by: int) -> None:
        """Move what is stored to the right, or to the left (negative)."""
        if not by:
            return
        self.mark = None
        start, end = max(-by, 0), self.length
        for stored in (self.k, self.v):
            stored[:, :, :, start + by : end + by] = stored[:, :, :, start:end].clone()
        self.length += by
        self.starts = [max(start + by, 0) for start in self.starts]

    @torch.inference_mode()
    def _resize(self, rows: int, capacity: int) -> None:
        """Add rows, which have read nothing, and room for that many tokens a row."""
        k, v = self._room(rows, capacity), self._room(rows, capacity)
        for new, stored in ((k, self.k), (v, self.v)):
            new[:, : self.rows, :, : self.length] = stored[:, :, :, : self.length]
        self.k, self.v = k, v
        self.dropped.update(range(len(self.starts), rows))
        self.starts += [self.length] * (rows - len(self.starts))

    def _room(self, rows: int, capacity: int | None = None) -> Tensor:
        layers, _, heads, now, width = self.k.shape
        return self.k.new_zeros((layers, rows, heads, capacity or now, width))
