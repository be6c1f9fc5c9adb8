"""What each step of a run reads: a pure function of (seed, epoch), cut into shares for the ranks.

An epoch's micro-batches are in one order for every number of processes; a step takes the next `accumulate` of them, and
of those a rank takes every `size`-th. A run may be resumed with another number of processes: its position is a
number of micro-batches.
"""

import math
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from dialogpt.tokens.batches import IGNORE, Batch, collate, plan
from dialogpt.tokens.chains import Chains
from dialogpt.tokens.pairs import TokenPairs, collate_pairs
from dialogpt.tokens.preferences import REPLIES
from dialogpt.tokens.shards import TokenSession, TokenShards

STEPS_AHEAD = 2  # made by a thread while the device works
NOTHING = Batch(np.zeros((1, 1), dtype=np.int64), np.full((1, 1), IGNORE, dtype=np.int64))

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Step:
    """A rank's micro-batches of one update and the sessions in them, and the run's (epoch, batch) after it."""

    batches: list[Batch]
    sessions: list[np.ndarray]
    after: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """The data of a rank. All ranks get equally many micro-batches, as shared gradients require: some may be empty."""

    shards: TokenShards | Chains | TokenPairs
    micro_batch_tokens: int
    accumulate: int = 1
    seed: int = 0
    reverse: bool = False
    rank: int = 0
    size: int = 1

    def steps(self, epoch: int, batch: int) -> Iterator[Step]:
        """Yield the steps after the first `batch` micro-batches of an epoch, without end."""
        while True:
            batches = self._plan(epoch)
            while batch < len(batches):
                chosen = batches[batch : batch + self.accumulate]
                batch += len(chosen)
                yield Step(*self._share(chosen), (epoch, batch))
            epoch, batch = epoch + 1, 0

    def once(self) -> Iterator[Batch]:
        """Yield the rank's share of one pass over all sessions (validation)."""
        batches = self._plan(0)
        for start in range(0, len(batches), self.size):
            yield from self._share(batches[start : start + self.size])[0]

    def steps_per_epoch(self) -> int:
        return math.ceil(len(self._plan(0)) / self.accumulate)

    def real_share(self) -> float:
        """The share of real tokens, not padding, among those of the first epoch's batches."""
        lengths = self.shards.lengths - 1  # the last token is only predicted; of a pair, the longer row counts twice
        batches = self._plan(0)
        return float(lengths.sum()) / sum(len(members) * int(lengths[members].max()) for members in batches)

    def _plan(self, epoch: int) -> list[np.ndarray]:
        rows = REPLIES if isinstance(self.shards, TokenPairs) else 1
        return plan(self.shards.lengths, self.micro_batch_tokens // rows, self.seed, epoch)

    def _share(self, chosen: Sequence[np.ndarray]) -> tuple[list[Batch], list[np.ndarray]]:
        mine = list(chosen[self.rank :: self.size])
        batches = [self._collate([self.shards[int(i)] for i in members]) for members in mine]
        missing = -(-len(chosen) // self.size) - len(mine)
        return batches + [NOTHING] * missing, mine

    def _collate(self, members: list[TokenSession]) -> Batch:
        if isinstance(self.shards, TokenPairs):
            return collate_pairs(members)
        return collate(members, reverse=self.reverse)


def ahead(items: Iterator[T], count: int = STEPS_AHEAD) -> Generator[T, None, None]:
    """Yield the items, made up to `count` ahead by a thread, whose errors are raised here."""
    with ThreadPoolExecutor(1, "feed") as thread:
        waiting = deque(thread.submit(next, items, None) for _ in range(count))
        while (item := waiting.popleft().result()) is not None:
            waiting.append(thread.submit(next, items, None))
            yield item
