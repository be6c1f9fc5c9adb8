"""Sessions joined into one, which then changes its subject.

A model that has only seen whole sessions sticks to a subject long after it was dropped. In a chain the first turn of a
later session carries no loss, since nothing before it predicts it; if turns are read last to first, that is a
session's last turn.
"""

import numpy as np

from dialogpt.tokens.shards import TokenSession, TokenShards


class Chains:
    """`chains[i]` is up to `count` sessions of at most `most` tokens together; the seed shares all sessions out.

    Turns stand in the order of writing, with `reverse` too: `collate` turns them round.
    """

    def __init__(self, shards: TokenShards, count: int, most: int, seed: int, *, reverse: bool = False) -> None:
        self._shards, self._reverse = shards, reverse
        self._order = np.random.default_rng([seed, count]).permutation(len(shards))
        ends: list[int] = []  # of each chain, in the order
        lengths: list[int] = []
        members = count  # of the last chain
        for place, length in enumerate(shards.lengths[self._order].tolist()):
            if members < count and lengths[-1] + length <= most:
                members += 1
                lengths[-1] += length
                ends[-1] = place + 1
            else:
                members = 1
                lengths.append(length)
                ends.append(place + 1)
        self._ends = np.array(ends, np.int64)
        self.lengths = np.array(lengths, np.int32)  # tokens of each, as TokenShards has them

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> TokenSession:
        first, last = self._ends[index - 1] if index else 0, self._ends[index]
        sessions = [self._shards[int(session)] for session in self._order[first:last]]
        turns = [turn for session in sessions for turn in session.turns]
        learn: list[bool] = []
        for session in sessions:
            opening = len(session.learn) - 1 if self._reverse else 0  # the turn of it that is read first
            learn += [place != opening and told for place, told in enumerate(session.learn)]
        return TokenSession(tuple(turns), tuple(learn))
