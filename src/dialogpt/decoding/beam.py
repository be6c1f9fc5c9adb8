"""Beam search: of each context, the `num_beams` likeliest replies so far go on; the best finished ones are returned.

The rules are those of `transformers.generate` with its default `early_stopping=False`, token for token: a finished
reply scores logprob / length ** length_penalty, and a search ends when no reply under way, at its present length,
scores better than the worst of `num_beams` finished ones. The searches of several contexts share one batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from dialogpt.decoding import DecodingConfig
from dialogpt.decoding.engine import Engine
from dialogpt.decoding.sampling import allowed, check_finite
from dialogpt.model.cache import KVCache


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

    def step(self, likeliest: Sequence[tuple[int, int, float]], end_id: int, config: DecodingConfig) -> list[int]:
        """Go on with the best of `likeliest`: (beam, token, logprob with it). Returns the beam each new one is from."""
        best = sorted(likeliest, key=lambda found: -found[2])[: 2 * config.num_beams]
        length = len(self.beams[0].tokens) + 1
        scale = length**config.length_penalty
        beams: list[Beam] = []
        parents: list[int] = []
        for place, (beam, token, logprob) in enumerate(best):
            tokens = (*self.beams[beam].tokens, token)
            if token == end_id or length == self.room:
                if place < config.num_beams:
                    self.finished.append(Beam(tokens, logprob, logprob / scale))
            elif len(beams) < config.num_beams:
                beams.append(Beam(tokens, logprob))
                parents.append(beam)
        self.finished = sorted(self.finished, key=lambda beam: -beam.score)[: config.num_beams]
        full = len(self.finished) == config.num_beams
        if beams and full and beams[0].logprob / scale <= self.finished[-1].score:
            beams, parents = [], []  # the search has ended
        self.beams = beams
        return parents


def beam_search(
    engine: Engine, end_id: int, contexts: Sequence[Sequence[int]], config: DecodingConfig, rooms: Sequence[int],
    logits: Tensor, cache: KVCache,
) -> list[list[Beam]]:  # fmt: skip
    """The `config.num_beams` best replies to each context, the best first.

    rooms: their longest lengths; logits (contexts, V), cache: as `prefill` returned them, with as much room.
    """
    searches = [_Search(context, room) for context, room in zip(contexts, rooms, strict=True)]
    live = [search for search in searches if search.room]
    read = cache.length
    while live:
        widths = [len(search.beams) for search in live]
        first = 0  # the row of a search's first beam
        rows: list[int] = []
        for search, width, found in zip(live, widths, _likeliest(logits, live, end_id, config), strict=True):
            rows += [first + parent for parent in search.step(found, end_id, config)]
            first += width
        alike = widths == [len(search.beams) for search in live]  # each row has a parent of its own context
        live = [search for search in live if search.beams]
        if not live:
            break
        if alike:
            cache.reorder(rows, read)
        else:
            cache = cache.select(rows)
        logits = engine.decode([beam.tokens[-1] for search in live for beam in search.beams], cache)
    return [search.finished for search in searches]


def _likeliest(
    logits: Tensor, searches: Sequence[_Search], end_id: int, config: DecodingConfig
) -> list[list[tuple[int, int, float]]]:
    """For each search, the continuations (beam, token, logprob) that may be among its best."""
    check_finite(logits.float().logsumexp(-1))
    beams = [(search.context, beam) for search in searches for beam in search.beams]
    logprobs = allowed(
        logits.float().log_softmax(-1), [c for c, _ in beams], [beam.tokens for _, beam in beams], end_id, config
    )
    values, tokens = logprobs.topk(min(2 * config.num_beams, logprobs.shape[-1]))
    rows = iter(zip(values.tolist(), tokens.tolist(), strict=True))
    found = []
    for search in searches:
        members = []
        for place, beam in enumerate(search.beams):
            for logprob, token in zip(*next(rows), strict=True):
                members.append((place, token, beam.logprob + logprob))
        found.append(members)
    return found
