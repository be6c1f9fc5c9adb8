"""Bland responses: the paper removes those with 90% of their tri-grams seen more than 1000 times in the corpus.

Counting takes bounded memory and goes in two stages: each task writes the tri-grams it sees as blocks of sorted hashes
and counts (`TrigramWriter`); all files, in any order, are added up in a count-min table of fixed size (`TrigramSketch`,
Cormode and Muthukrishnan 2005), which never counts too few. Words are separated by blanks, and compared without case.

A block: the number of bytes (4, little endian), then zstd data of the differences of the sorted 64-bit hashes, byte
plane by byte plane, and of the 32-bit counts in the same way.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import zstandard
from numpy.typing import NDArray

from dialogpt.data.wordhash import Hashes, between_blanks, grams
from dialogpt.errors import DataError

ROWS = 2
BLOCK_TRIGRAMS = 1 << 21
TEXTS_AT_ONCE = 1024

Counts = NDArray[np.uint32]
_FULL = np.uint32(0xFFFFFFFF)


class TrigramWriter:
    """Counts the tri-grams of texts into an open file, a block every BLOCK_TRIGRAMS; call `close` after the last.

    It never holds more than a block in memory. Add each post once, not once per path.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._texts: list[str] = []
        self._pending: list[Hashes] = []
        self._size = 0
        self.trigrams = 0  # in the file, all of them after `close`

    def add(self, text: str) -> None:
        self._texts.append(text)
        if len(self._texts) == TEXTS_AT_ONCE:
            self._hash()

    def close(self) -> None:
        """Write what is left; the file stays open."""
        self._hash()
        self._write()

    def _hash(self) -> None:
        hashes = grams(self._texts, 3, between_blanks()).hashes
        self._texts.clear()
        self._pending.append(hashes)
        self._size += len(hashes)
        if self._size >= BLOCK_TRIGRAMS:
            self._write()

    def _write(self) -> None:
        if self._size:
            hashes, counts = np.unique(np.concatenate(self._pending), return_counts=True)
            differences = np.diff(hashes, prepend=np.zeros(1, np.uint64))
            data = zstandard.compress(_planes(differences) + _planes(counts.astype(np.uint32)), 3)
            self._file.write(len(data).to_bytes(4, "little") + data)
            self.trigrams += self._size
        self._pending.clear()
        self._size = 0


def width_for(trigrams: int, more_than: int) -> int:
    """A width at which other tri-grams on the same counter add a tenth of `more_than` on average.

    For 1.6 billion tri-grams and 1000 it is 1 << 24, a table of 128 MiB.
    """
    return 1 << max(10 * trigrams // max(more_than, 1), 1023).bit_length()


class TrigramSketch:
    """About how often each tri-gram was seen: a table of counters, (ROWS, width); the width is a power of 2."""

    def __init__(self, width: int, table: Counts | None = None) -> None:
        assert width.bit_count() == 1
        self.table = np.zeros((ROWS, width), np.uint32) if table is None else table

    @classmethod
    def load(cls, path: Path) -> "TrigramSketch":
        """Open a table that `np.save` wrote, memory-mapped, so that processes share it; DataError if it is none."""
        try:
            table = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, EOFError, ValueError) as error:
            raise DataError(f"{path}: no tri-gram counts can be read: {error}", "count the tri-grams again") from error
        if table.dtype != np.uint32 or table.ndim != 2 or len(table) != ROWS or table.shape[1].bit_count() != 1:
            raise DataError(f"{path} holds no tri-gram counts", "count the tri-grams again")
        return cls(table.shape[1], table)

    def merge(self, file: IO[bytes]) -> int:
        """Add a TrigramWriter's file; returns how many tri-grams it counts. DataError when it is damaged."""
        total = 0
        for hashes, counts in _blocks(file):
            self.add(hashes, counts)
            total += int(counts.sum())
        return total

    def add(self, hashes: Hashes, counts: Counts) -> None:
        """Add counts, whose sum is below 2 ** 32; a full counter stays full."""
        for row, cells in zip(self.table, self._cells(hashes), strict=True):
            before = row[cells]
            np.add.at(row, cells, counts)
            row[cells[row[cells] < before]] = _FULL

    def count(self, hashes: Hashes) -> Counts:
        """At least how often each was seen: never too few, too many if others share all its counters."""
        first, second = (row[cells] for row, cells in zip(self.table, self._cells(hashes), strict=True))
        counts: Counts = np.minimum(first, second)
        return counts

    def bland(self, texts: Sequence[str], share: float, more_than: int) -> NDArray[np.bool_]:
        """Which texts have this share of tri-grams seen more often than this, (T,); one without tri-grams is not."""
        found = grams(texts, 3, between_blanks())
        common = found.sums(self.count(found.hashes) > more_than)
        enough = np.ceil(share * found.counts - 1e-9)  # 0.9 * 10 may come out above 9
        bland: NDArray[np.bool_] = (found.counts > 0) & (common >= enough)
        return bland

    def _cells(self, hashes: Hashes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        mask = np.uint64(self.table.shape[1] - 1)
        return (hashes & mask).astype(np.int64), (hashes >> np.uint64(32) & mask).astype(np.int64)


def _planes(values: NDArray[np.unsignedinteger]) -> bytes:
    """The lowest bytes of all values, then the next, ...: high bytes of small numbers are runs of zeros."""
    return np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1).T.tobytes()


def _blocks(file: IO[bytes]) -> Iterator[tuple[Hashes, Counts]]:
    while head := file.read(4):
        data = file.read(int.from_bytes(head, "little"))
        try:
            planes = np.frombuffer(zstandard.decompress(data), np.uint8)
        except zstandard.ZstdError as error:
            raise DataError(f"damaged tri-gram counts: {error}", "count the tri-grams again") from error
        size = len(planes) // 12
        differences = np.ascontiguousarray(planes[: 8 * size].reshape(8, size).T).view(np.uint64).ravel()
        counts = np.ascontiguousarray(planes[8 * size :].reshape(4, size).T).view(np.uint32).ravel()
        yield np.cumsum(differences, dtype=np.uint64), counts
