"""Keys and values of what a model has read, so that a token costs what is new.

Rows are padded on the left and share one `length`: a step appends one slice, whatever the rows' own lengths are. A row
that has ended may be overwritten by a new one; when the padding of all rows has grown, `compact` takes it away. Rows
that branch off one row share what it has read (N hypotheses of a context, beams).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from dialogpt.model import GPTConfig


@dataclass(slots=True)
class KVCache:
    """k, v: (L, B, H, capacity, D), of which the first `length` positions are filled.

    starts: the first position of each row that is no padding. shared: the cache of one row, which was read before;
    positions count from its beginning.
    """

    k: Tensor
    v: Tensor
    starts: list[int]
    length: int = 0
    shared: "KVCache | None" = None

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
        """How many positions have been read, those that are shared included."""
        return self.length + (self.shared.length if self.shared is not None else 0)

    @property
    def rows(self) -> int:
        return self.k.shape[1]

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store a layer's new keys and values (B, H, T, D); returns all of that layer's, (B, H, S, D)."""
        end = self.length + k.shape[2]
        self.k[layer, :, :, self.length : end] = k
        self.v[layer, :, :, self.length : end] = v
        return self.k[layer, :, :, :end], self.v[layer, :, :, :end]

    @torch.inference_mode()
    def select(self, rows: Sequence[int], capacity: int | None = None) -> "KVCache":
        """A cache of the given rows, in that order; a row may be taken several times (beams, N hypotheses)."""
        starts = [self.starts[row] for row in rows]
        k, v = self._room(len(rows), capacity), self._room(len(rows), capacity)
        cache = KVCache(k, v, starts, self.length, self.shared)
        index = torch.tensor(rows, device=self.k.device)
        for new, old in ((cache.k, self.k), (cache.v, self.v)):
            new[:, :, :, : self.length] = old[:, :, :, : self.length].index_select(1, index)
        return cache

    def branch(self, rows: int, room: int) -> "KVCache":
        """A cache for several rows that go on from this one's only row, with room for that many tokens each.

        It reads this one, which must stay as it is meanwhile.
        """
        return KVCache(self._room(rows, room), self._room(rows, room), [0] * rows, shared=self)

    @torch.inference_mode()
    def reorder(self, rows: Sequence[int], since: int = 0) -> None:
        """Give row i what row rows[i] has from `since` on; before it, all rows of a context are alike."""
        index = torch.tensor(rows, device=self.k.device)
        for old in (self.k, self.v):
            old[:, :, :, since : self.length] = old[:, :, :, since : self.length].index_select(1, index)

    @torch.inference_mode()
    def put(self, places: Sequence[int], other: "KVCache") -> None:
        """Overwrite the rows at `places` by those of `other`, whose contexts may be longer than this cache."""
        if other.length > self.length:
            self._shift(other.length - self.length)
        pad = self.length - other.length
        index = torch.tensor(places, device=self.k.device)
        for new, old in ((self.k, other.k), (self.v, other.v)):
            new[:, index, :, pad : self.length] = old[:, :, :, : other.length]
        for place, start in zip(places, other.starts, strict=True):
            self.starts[place] = start + pad

    @torch.inference_mode()
    def widened(self, rows: int, capacity: int) -> "KVCache":
        """A copy with room for more rows, which have read nothing, and for that many tokens a row."""
        starts = [*self.starts, *[self.length] * (rows - self.rows)]
        cache = KVCache(self._room(rows, capacity), self._room(rows, capacity), starts, self.length)
        for new, old in ((cache.k, self.k), (cache.v, self.v)):
            new[:, : self.rows, :, : self.length] = old[:, :, :, : self.length]
        return cache

    @torch.inference_mode()
    def prefix(self, row: int, length: int) -> "KVCache":
        """A copy of the first tokens that one row has read, without padding and without room for more."""
        start = self.starts[row]
        k, v = (stored[:, row : row + 1, :, start : start + length].clone() for stored in (self.k, self.v))
        return KVCache(k, v, [0], length)

    @property
    def size_bytes(self) -> int:
        return self.k.nbytes + self.v.nbytes

    def drop(self, row: int) -> None:
        """Forget what a row has read; its place waits for another. Rows that share a context go on to need no mask."""
        if self.shared is None:
            self.starts[row] = self.length

    @torch.inference_mode()
    def compact(self) -> None:
        """Take away the padding that all rows have."""
        if padding := min(self.starts):
            self._shift(-padding)

    def _shift(self, by: int) -> None:
        """Move what is stored to the right, or to the left (negative)."""
        start, end = max(-by, 0), self.length
        if end + by > self.capacity:
            raise ValueError(f"{end + by} tokens do not fit into a cache of {self.capacity}")
        for stored in (self.k, self.v):
            stored[:, :, :, start + by : end + by] = stored[:, :, :, start:end].clone()
        self.length += by
        self.starts = [max(start + by, 0) for start in self.starts]

    def _room(self, rows: int, capacity: int | None) -> Tensor:
        layers, _, heads, now, width = self.k.shape
        return self.k.new_zeros((layers, rows, heads, capacity or now, width))
