"""Beam search: the `num_beams` likeliest replies to each context are continued; the best finished ones are returned.

The rules are those of `transformers.generate` with its default `early_stopping=False`, token for token: a finished
reply scores logprob / length ** length_penalty, and a search ends when no reply under way, at its present length,
scores better than the worst of `num_beams` finished ones. The searches of several contexts share one batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from dialogpt.decoding import DecodingConfig
from dialogpt.decoding.sampling import check_finite, only_allowed
from dialogpt.engine import Cache, Doubles, Engine, Ints, Logits


class Beam(NamedTuple):
    """A reply so far, or a finished one; `score` is its logprob over length ** length_penalty once it is finished."""

    tokens: tuple[int, ...]
    logprob: float
    score: float = 0.0


@dataclass(slots=True)
class _Search:
    """One context's search."""

    context: Sequence[int]
    room: int
    beams: list[Beam] = field(default_factory=lambda: [Beam((), 0.0)])
    finished: list[Beam] = field(default_factory=list)

    def step(self, logprobs: Doubles, tokens: Ints, end_id: int, config: DecodingConfig) -> list[int]:
        """Keep the best continuations; returns the beam that each one is from.

        logprobs, tokens: (beams, K), those of each beam that may be among the best.
        """
        totals = (np.array([beam.logprob for beam in self.beams])[:, None] + logprobs).ravel()
        best = np.argsort(-totals, kind="stable")[: 2 * config.num_beams].tolist()
        ids, each = tokens.ravel(), tokens.shape[1]
        length = len(self.beams[0].tokens) + 1
        scale = length**config.length_penalty
        beams: list[Beam] = []
        parents: list[int] = []
        for place, found in enumerate(best):
            parent, token, logprob = found // each, int(ids[found]), float(totals[found])
            reply = (*self.beams[parent].tokens, token)
            if token == end_id or length == self.room:
                if place < config.num_beams:
                    self.finished.append(Beam(reply, logprob, logprob / scale))
            elif len(beams) < config.num_beams:
                beams.append(Beam(reply, logprob))
                parents.append(parent)
        self.finished = sorted(self.finished, key=lambda beam: -beam.score)[: config.num_beams]
        full = len(self.finished) == config.num_beams
        if beams and full and beams[0].logprob / scale <= self.finished[-1].score:
            beams, parents = [], []  # the search has ended
        self.beams = beams
        return parents


def beam_search(
    engine: Engine, end_id: int, contexts: Sequence[Sequence[int]], config: DecodingConfig, rooms: Sequence[int],
    logits: Logits, cache: Cache,
) -> list[list[Beam]]:  # fmt: skip
    """The `config.num_beams` best replies to each context, the best first.

    rooms: their longest lengths; logits, cache: as `prefill` returned them, with as much room.
    """
    searches = [_Search(context, room) for context, room in zip(contexts, rooms, strict=True)]
    live = [search for search in searches if search.room]
    length = 0  # of the replies under way
    while live:
        widths = [len(search.beams) for search in live]
        logprobs, tokens = _likeliest(logits, live, end_id, config)
        first = 0  # the row of a search's first beam
        rows: list[int] = []
        for search, width in zip(live, widths, strict=True):
            mine = slice(first, first + width)
            rows += [first + parent for parent in search.step(logprobs[mine], tokens[mine], end_id, config)]
            first += width
        alike = widths == [len(search.beams) for search in live]  # each row has a parent of its own context
        live = [search for search in live if search.beams]
        if not live:
            break
        cache.rearrange(rows, length if alike else None)
        logits = engine.decode([beam.tokens[-1] for search in live for beam in search.beams], cache)
        length += 1
    return [search.finished for search in searches]


def _likeliest(
    logits: Logits, searches: Sequence[_Search], end_id: int, config: DecodingConfig
) -> tuple[Doubles, Ints]:
    """The continuations of each beam that may be among its search's best: log-probabilities and tokens, (beams, K)."""
    total = logits.logsumexp()
    check_finite(total)
    beams = [(search.context, beam.tokens) for search in searches for beam in search.beams]
    contexts, replies = zip(*beams, strict=True)
    with only_allowed(logits, contexts, replies, [config] * len(beams), end_id, total):
        found = logits.likeliest(2 * config.num_beams)
    return found.logits - total[:, None], found.tokens
