"""What a task of `extract` counts: items by name, dropped ones by reason, and examples of those for the reader."""

import heapq
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import msgspec

T = TypeVar("T")


class Tally(msgspec.Struct):
    """Counters that add up over tasks; of each reason the `keep` examples whose ids have the lowest hashes are kept.

    Which examples stay depends on the ids alone, so it is the same however the work is cut into tasks.
    """

    keep: int = 0
    counts: Counter[str] = msgspec.field(default_factory=Counter)
    dropped: Counter[str] = msgspec.field(default_factory=Counter)
    samples: dict[str, list[tuple[int, str, str]]] = {}

    def drop(self, reason: str, id: object, text: str | None) -> None:
        self.dropped[reason] += 1
        if self.keep:
            self._sample(reason, [(-zlib.crc32(str(id).encode()), str(id), text or "")])

    def drop_all(self, reason: str, items: Sequence[T], as_example: Callable[[T], tuple[object, str | None]]) -> None:
        """Drop many items for one reason, much quicker than one by one; `as_example` gives an item's id and text."""
        if self.keep:
            for item in items:
                self.drop(reason, *as_example(item))
        elif items:
            self.dropped[reason] += len(items)

    def _sample(self, reason: str, examples: Iterable[tuple[int, str, str]]) -> None:
        heap = self.samples.setdefault(reason, [])  # its top has the highest hash: the next to go
        for example in examples:
            if len(heap) < self.keep:
                heapq.heappush(heap, example)
            else:
                heapq.heappushpop(heap, example)

    def add(self, other: "Tally") -> None:
        self.counts.update(other.counts)
        self.dropped.update(other.dropped)
        for reason, examples in other.samples.items():
            self._sample(reason, examples)

    def sample_lines(self) -> bytes:
        """The examples as JSONL, by reason."""
        rows = (
            {"reason": reason, "id": id, "text": text}
            for reason, examples in sorted(self.samples.items())
            for _, id, text in sorted(examples, reverse=True)
        )
        return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
