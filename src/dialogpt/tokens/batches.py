"""Which sessions form which batch, as pure functions, and their arrays.

Rows of a batch have about the same length (sessions are sorted within pools of a shuffled epoch), so that there is
hardly any padding; the order of batches is shuffled. `plan(seed, epoch)` decides everything: resuming is starting at
batch i.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dialogpt.tokens.shards import TokenSession

IGNORE = -100  # the target where nothing is learned
POOL_BATCHES = 64


@dataclass(frozen=True, slots=True)
class Batch:
    """`tokens[b, t]` is read, `targets[b, t]` is to be predicted next, or IGNORE.

    Both (B, T), int64, padded on the right.
    """

    tokens: np.ndarray
    targets: np.ndarray

    @property
    def target_count(self) -> int:
        return int((self.targets != IGNORE).sum())


def plan(lengths: np.ndarray, batch_tokens: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Split all sessions into batches: arrays of session numbers, rows x longest row at most `batch_tokens`.

    lengths: (N,) tokens of each session. A session longer than `batch_tokens` is a batch of its own.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    mean = max(float(lengths.mean()), 1.0)
    pool = max(int(POOL_BATCHES * batch_tokens / mean), 1)
    batches: list[np.ndarray] = []
    for start in range(0, len(order), pool):
        members = order[start : start + pool]
        members = members[np.argsort(-lengths[members], kind="stable")]
        batches += _cut(members, lengths, batch_tokens)
    rng.shuffle(batches)
    return batches


def _cut(members: np.ndarray, lengths: np.ndarray, batch_tokens: int) -> list[np.ndarray]:
    """Cut sessions sorted by falling length: the first of a batch is its longest row."""
    batches = []
    start = 0
    while start < len(members):
        rows = max(int(batch_tokens // max(lengths[members[start]], 1)), 1)
        batches.append(members[start : start + rows])
        start += rows
    return batches


def collate(sessions: Sequence[TokenSession], *, reverse: bool = False) -> Batch:
    """Put sessions into the rows of a batch; `reverse` reads their turns last to first (the backward model).

    Loss falls on the tokens and the end token of every turn but the first, except turns with `learn` False.
    """
    width = max(map(len, sessions)) - 1
    tokens = np.zeros((len(sessions), width), dtype=np.int64)
    targets = np.full((len(sessions), width), IGNORE, dtype=np.int64)
    for b, session in enumerate(sessions):
        turns, learn = (session.turns[::-1], session.learn[::-1]) if reverse else (session.turns, session.learn)
        row = np.concatenate(turns).astype(np.int64)
        carries_loss = np.repeat([i > 0 and flag for i, flag in enumerate(learn)], [len(turn) for turn in turns])
        tokens[b, : len(row) - 1] = row[:-1]
        targets[b, : len(row) - 1] = np.where(carries_loss[1:], row[1:], IGNORE)
    return Batch(tokens, targets)
