"""What rows have read, in the library's memory: the native engine's `Cache`.

Rows are lists of shared pages (csrc/cache.h): reusing a row, or a part of it, copies nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from dialogpt.native.library import OfLibrary, call, ints, pointer


class NativeCache(OfLibrary):
    """A cache of the native engine; `model` keeps the library's object alive."""

    def __init__(self, model: Any, rows: int) -> None:
        self.rows = rows
        self.dropped: set[int] = set()
        self._model = model
        self.handle = call("cache", model.handle, rows)

    def __del__(self) -> None:
        if handle := getattr(self, "handle", None):
            call("cache_free", handle)

    @property
    def size_bytes(self) -> int:
        """The size of its rows' pages, with shared ones counted once."""
        return int(call("cache_bytes", self.handle))

    def tokens_read(self, row: int = 0) -> int:
        """As `Cache.tokens_read`."""
        found = np.empty(self.rows, np.int32)
        call("cache_lengths", self.handle, pointer(found))
        return int(found[row])

    def rearrange(self, rows: Sequence[int], differ: int | None = None) -> None:
        """As `Cache.rearrange`; copies at most the page that a row writes to next."""
        self._take(self, rows)
        self.dropped = {place for place, row in enumerate(rows) if row in self.dropped}

    @contextmanager
    def whole_or_as_before(self, places: Sequence[int]) -> Iterator[None]:
        """A block that fills free or new places; if it fails, they are free again, or gone."""
        rows = self.rows
        try:
            yield
        except BaseException:
            self._take(self, range(rows))
            self.dropped = {row for row in self.dropped if row < rows}
            for place in places:
                if place < rows:
                    self.drop(place)
            raise

    def repeat(self, same: dict[int, int]) -> None:
        """Copy to some places what rows of another cache have read; new places may be in any order."""
        self._grow(max(same) + 1)
        self._take(self, [same.get(row, row) for row in range(self.rows)])
        self.dropped.difference_update(same)

    def join(self, places: Sequence[int], other: "NativeCache") -> None:
        """As `Cache.join`."""
        self._grow(max(places) + 1)
        at = ints(places)
        call("cache_put", self.handle, pointer(at), len(at), other.handle)
        self.dropped.difference_update(places)

    def drop(self, row: int) -> None:
        """As `Cache.drop`; its pages are freed, and it is not given tokens any more."""
        at = ints([row])
        call("cache_put", self.handle, pointer(at), 1, None)
        self.dropped.add(row)

    def branch(self, rows: int, room: int) -> "NativeCache":
        """As `Cache.branch`."""
        branched = NativeCache(self._model, rows)
        branched._take(self, [0] * rows)
        return branched

    def prefix(self, row: int, length: int, room: int = 0) -> "NativeCache":
        """As `Cache.prefix`."""
        found = NativeCache(self._model, 1)
        found._take(self, [row])
        found.cut(length)
        return found

    def cut(self, length: int) -> None:
        """Forget what its only row has read from `length` on."""
        call("cache_cut", self.handle, 0, length)

    def _grow(self, rows: int) -> None:
        """Have at least that many rows; the new ones have read nothing, and are not given tokens."""
        if rows > self.rows:
            self.dropped.update(range(self.rows, rows))
            self._take(self, [*range(self.rows), *[-1] * (rows - self.rows)])

    def _take(self, source: "NativeCache", rows: Sequence[int]) -> None:
        taken = ints(rows)
        call("cache_take", self.handle, source.handle, pointer(taken), len(taken))
        self.rows = len(taken)
