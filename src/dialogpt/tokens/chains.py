"""Sessions that are read one after another as one: a talk that changes its subject.

A model that has only seen whole sessions goes on with a subject long after it was left. In a chain the first turn of a
later session carries no loss, as nothing before it tells what it will be.
"""

import numpy as np

from dialogpt.tokens.shards import TokenSession, TokenShards


class Chains:
    """`chains[i]` is up to `count` sessions of at most `most` tokens together; the seed shares all sessions out."""

    def __init__(self, shards: TokenShards, count: int, most: int, seed: int) -> None:
        self._shards = shards
        self._members: list[list[int]] = []
        lengths: list[int] = []
        for session in np.random.default_rng([seed, count]).permutation(len(shards)).tolist():
            length = int(shards.lengths[session])
            if lengths and len(self._members[-1]) < count and lengths[-1] + length <= most:
                self._members[-1].append(session)
                lengths[-1] += length
            else:
                self._members.append([session])
                lengths.append(length)
        self.lengths = np.array(lengths, np.int32)  # tokens of each, as TokenShards has them

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, index: int) -> TokenSession:
        sessions = [self._shards[session] for session in self._members[index]]
        turns = [turn for session in sessions for turn in session.turns]
        learn = [place > 0 and told for session in sessions for place, told in enumerate(session.learn)]
        return TokenSession(tuple(turns), tuple(learn))
