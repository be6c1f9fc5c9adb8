"""Token shards of preferences -> the batches of a ranker."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from dialogpt.tokens.batches import IGNORE, Batch
from dialogpt.tokens.preferences import KIND, REPLIES
from dialogpt.tokens.shards import TokenSession, TokenShards


class TokenPairs:
    """Token shards of preferences: `pairs[i]` is pair i, `lengths[i]` the tokens of the longer one of its two rows."""

    def __init__(self, shards: TokenShards) -> None:
        self._shards = shards
        self.folder, self.manifest = shards.folder, shards.manifest

    @cached_property
    def lengths(self) -> np.ndarray:
        replies = self._shards.last_turns(REPLIES)
        longest: np.ndarray = self._shards.lengths - replies.min(axis=1)
        return longest

    def __len__(self) -> int:
        return len(self._shards)

    def __getitem__(self, index: int) -> TokenSession:
        return self._shards[index]


Shards = TokenShards | TokenPairs


def open_shards(folder: Path) -> Shards:
    """A shards folder, of sessions or of preferences."""
    shards = TokenShards(folder)
    return TokenPairs(shards) if shards.manifest is not None and shards.manifest.kind == KIND else shards


class PairBatch(Batch):
    """Rows 2i and 2i + 1 are pair i: its context with the better reply, and with the worse.

    `targets` is 1 or 0 where the score of a row is read, at the last token of the reply, which has no end token
    (DialogRPT's `src/model.py`); a pair counts as one target.
    """

    @property
    def target_count(self) -> int:
        return len(self.tokens) // REPLIES


def collate_pairs(pairs: Sequence[TokenSession]) -> PairBatch:
    """Put pairs into the rows of a batch."""
    rows = []
    for pair in pairs:
        *context, better, worse = pair.turns
        rows += [np.concatenate([*context, reply[:-1]]) for reply in (better, worse)]
    tokens = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
    targets = np.full(tokens.shape, IGNORE, dtype=np.int64)
    for number, row in enumerate(rows):
        tokens[number, : len(row)] = row
        targets[number, len(row) - 1] = 1 - number % REPLIES
    return PairBatch(tokens, targets)
