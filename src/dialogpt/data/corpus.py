"""What only the whole corpus can decide: whether a response is bland, and whether a session is a near-duplicate.

3. sift    The tri-gram counts of all partitions are added up; all sessions' keys are compared, a range a task.
4. write   Each partition's candidates are read again, and those that may stay are written.

A keys file of the second pass: NumPy (3, E) uint64, sorted by its first row - keys, numbers of sessions, their order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import IO

import msgspec
import numpy as np
from numpy.typing import NDArray

from dialogpt.data import ExtractConfig
from dialogpt.data.blandness import TrigramSketch, TrigramWriter, width_for
from dialogpt.data.duplicates import BANDS, band_keys_of, drop_in_bucket, order_of
from dialogpt.data.screen import SESSIONS_AT_ONCE, drop_session
from dialogpt.data.tally import Tally
from dialogpt.data.wordhash import Hashes
from dialogpt.errors import DataError
from dialogpt.files import read_lines
from dialogpt.session import Session
from dialogpt.storage import Storage

ENTRIES_IN_TASK = 1 << 22  # keys compared at once: 100 MB, and as much again to sort them
PARTITION_BITS = 40  # a session's number: its partition, and its place in it in the lower 40 bits
MAX_WIDTH = 1 << 27  # a gigabyte of counters, for 13 billion tri-grams
SKETCH = "bland/trigrams.npy"


class Collector:
    """What the second pass collects about its candidates for the next: the responses' tri-grams, the sessions' keys."""

    def __init__(self, config: ExtractConfig, trigrams: IO[bytes] | None) -> None:
        self._keys: list[Hashes] | None = [] if config.dedup else None
        self._orders: list[Hashes] = []
        self._trigrams = TrigramWriter(trigrams) if trigrams is not None else None

    def through(self, sessions: Iterator[Session]) -> Iterator[Session]:
        while batch := list(islice(sessions, SESSIONS_AT_ONCE)):
            if self._trigrams is not None:
                for session in batch:
                    self._trigrams.add(session.response.text)
            if self._keys is not None:
                self._keys.append(band_keys_of(batch))
                self._orders.append(order_of([session.id for session in batch]))
            yield from batch

    def finish(self, partition: int, keys: IO[bytes] | None, tally: Tally) -> None:
        """Write the keys file and finish the tri-grams' file; the files stay open."""
        if self._trigrams is not None:
            self._trigrams.close()
            tally.counts["trigrams"] += self._trigrams.trigrams
        if self._keys is not None and keys is not None:
            found = np.concatenate([np.zeros((0, BANDS), np.uint64), *self._keys])
            orders = np.concatenate([np.zeros(0, np.uint64), *self._orders])
            numbers = np.arange(len(found), dtype=np.uint64) + np.uint64(partition << PARTITION_BITS)
            entries = np.stack([found.ravel(), np.repeat(numbers, BANDS), np.repeat(orders, BANDS)])
            np.save(keys, entries[:, np.argsort(entries[0], kind="stable")])
            tally.counts["keys"] += entries.shape[1]


@dataclass(frozen=True, slots=True)
class SketchTask:
    """Add up the tri-gram counts of all partitions: `trigrams` of them in the files named."""

    name: str
    size: int
    files: tuple[str, ...]
    trigrams: int
    more_than: int
    folder: str


def make_sketch(task: SketchTask) -> int:
    folder = Storage(task.folder)
    sketch = TrigramSketch(min(width_for(task.trigrams, task.more_than), MAX_WIDTH))
    for name in task.files:
        with folder.open(name) as file:
            try:
                sketch.merge(file)
            except DataError as error:
                raise DataError(f"{name}: {error.message}", "start again with --overwrite") from error
    with folder.new_file(SKETCH) as file:
        np.save(file, sketch.table)
    return task.trigrams


@dataclass(frozen=True, slots=True)
class DuplicatesTask:
    """Find the near-duplicates among the keys of one range of `ranges` equal ones."""

    number: int
    ranges: int
    size: int
    files: tuple[str, ...]
    folder: str

    @property
    def name(self) -> str:
        return f"{self.number:05}of{self.ranges}"


def find_duplicates(task: DuplicatesTask) -> int:
    """Write the numbers of the sessions to drop, ascending; returns how many."""
    folder = Storage(task.folder)
    low, high = ((task.number + n << 64) // task.ranges - n for n in (0, 1))
    parts = []
    for name in task.files:
        with folder.local_copy(name) as path:
            entries = np.load(path, mmap_mode="r")
            first = np.searchsorted(entries[0], np.uint64(low))
            end = np.searchsorted(entries[0], np.uint64(high), side="right")
            parts.append(np.array(entries[:, first:end]))
    keys, numbers, order = np.concatenate(parts, axis=1)
    dropped = drop_in_bucket(keys, numbers.astype(np.int64), order)
    with folder.new_file(f"duplicates/{task.name}.npy") as file:
        np.save(file, dropped)
    return len(dropped)


def sift_ranges(keys: int) -> int:
    return max(-(-keys // ENTRIES_IN_TASK), 1)


class Sieve:
    """Decides which candidates of a partition may stay, by what the third stage wrote."""

    def __init__(self, config: ExtractConfig, folder: Storage, partition: int, duplicates: Sequence[str]) -> None:
        self._share, self._count = config.bland_share or 0.0, config.bland_count
        self._sketch: TrigramSketch | None = None
        if self._share:
            with folder.local_copy(SKETCH) as path:
                self._sketch = TrigramSketch.load(path)
        low, high = partition << PARTITION_BITS, partition + 1 << PARTITION_BITS
        places: list[NDArray[np.int64]] = []
        for name in duplicates:
            with folder.local_copy(name) as path:
                numbers = np.load(path, mmap_mode="r")
                places.append(np.array(numbers[np.searchsorted(numbers, low) : np.searchsorted(numbers, high)]) - low)
        self._duplicates = set(np.concatenate(places).tolist()) if places else set[int]()

    def __call__(self, candidates: Iterator[Session], tally: Tally) -> Iterator[Session]:
        place = 0
        while batch := list(islice(candidates, SESSIONS_AT_ONCE)):
            bland = [False] * len(batch)
            if self._sketch is not None:
                texts = [session.response.text for session in batch]
                bland = self._sketch.bland(texts, self._share, self._count).tolist()
            for session, is_bland in zip(batch, bland, strict=True):
                if place in self._duplicates:
                    drop_session(session, "near-duplicate", tally)
                elif is_bland:
                    drop_session(session, "bland", tally)
                else:
                    yield session
                place += 1


def read_candidates(folder: Storage, name: str) -> Iterator[Session]:
    decoder = msgspec.json.Decoder(Session)
    with folder.local_copy(name) as path:
        for line in read_lines(path):
            yield decoder.decode(line)
