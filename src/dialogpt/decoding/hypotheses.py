"""Contexts -> hypotheses: each context is read once, then its rows get a token a step until they have ended.

A context is the turns before the reply, each ended by the end token; what does not fit is dropped by whole turns, the
oldest first. A turn with `learn=False` is read like any other.
"""

import logging
import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from dialogpt.decoding import DecodingConfig, Hypothesis
from dialogpt.decoding.beam import beam_search
from dialogpt.decoding.rows import Group, Row, Rows
from dialogpt.engine import Engine, Kept
from dialogpt.errors import DataError
from dialogpt.session import Turn
from dialogpt.tokens.bpe import Tokenizer

log = logging.getLogger(__name__)

Seed = int | tuple[int, ...]
_UNSAYABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffd]")


def reply_room(n_ctx: int, max_new_tokens: int) -> int:
    """The most tokens of a reply: half of what the model reads is always left for the context."""
    return min(max_new_tokens, n_ctx // 2)


def context_tokens(tokenizer: Tokenizer, turns: Iterable[Turn], n_ctx: int, max_new_tokens: int) -> list[int]:
    """The newest whole turns that leave room for the reply; a single turn that is too long keeps its end.

    Turns without text are passed over; DataError when nothing else is there.
    """
    room = n_ctx - reply_room(n_ctx, max_new_tokens)
    newest: list[list[int]] = []
    for turn in reversed([turn for turn in turns if turn.text.strip()]):
        (tokens,) = tokenizer.encode_turns([turn])
        if not newest and len(tokens) > room:
            log.warning("a turn of %d tokens is too long; only its last %d are read", len(tokens), room)
            return tokens[-room:]
        if len(tokens) > room - sum(map(len, newest)):
            break
        newest.append(tokens)
    if not newest:
        raise DataError("the context is empty", "a reply needs at least one turn to reply to")
    return [token for tokens in reversed(newest) for token in tokens]


def stream_tokens(
    engine: Engine, end_id: int, context: Sequence[int], config: DecodingConfig, seed: Seed, kept: Kept | None
) -> Iterator[tuple[int, Kept]]:
    """Yield the tokens of one reply as they are drawn, the end token too, each with the cache to keep."""
    logits, kept = engine.resume(context, kept)
    rows = Rows(engine, end_id)
    rows.start(_rows([context], config, [[seed]], engine.n_ctx)[0], logits, kept.cache)
    while rows.alive:
        ((_, token),) = rows.draw()
        if rows.alive:
            kept.tokens.append(token)  # what `advance` will read
        yield token, kept
        if rows.alive:
            rows.advance()


def make(
    engine: Engine, tokenizer: Tokenizer, contexts: Sequence[Sequence[int]], config: DecodingConfig,
    seeds: Sequence[Sequence[Seed]], batch_size: int = 64,
) -> list[list[Hypothesis]]:  # fmt: skip
    """As many hypotheses of each context as it has seeds, `batch_size` rows together; beams come the best first.

    A hypothesis depends on its context and its seed alone, whatever batch it is in.
    """
    if config.num_beams == 1:
        rows = _rows(contexts, config, seeds, engine.n_ctx)
        _decode(engine, tokenizer.end_id, rows, batch_size)
        return [[hypothesis_of(tokenizer, row.tokens, row.logprob) for row in group] for group in rows]
    found: list[list[Hypothesis]] = [[] for _ in contexts]
    order = sorted(range(len(contexts)), key=lambda i: len(contexts[i]))
    together = max(batch_size // config.num_beams, 1)
    for start in range(0, len(order), together):
        places = order[start : start + together]
        chosen = [contexts[i] for i in places]
        rooms = [room_after(engine.n_ctx, context, config) for context in chosen]
        begun = engine.prefill(chosen, max(rooms))
        for i, beams in zip(places, beam_search(engine, tokenizer.end_id, chosen, config, rooms, *begun), strict=True):
            found[i] = [hypothesis_of(tokenizer, beam.tokens, beam.logprob) for beam in beams[: len(seeds[i])]]
    return found


def make_from(
    engine: Engine, tokenizer: Tokenizer, context: Sequence[int], config: DecodingConfig, seeds: Sequence[Seed],
    kept: Kept | None,
) -> tuple[list[Hypothesis], Kept]:  # fmt: skip
    """As `make` for one context of a conversation, of which only what is new is read."""
    logits, kept = engine.resume(context, kept)
    room = room_after(engine.n_ctx, context, config)
    if config.num_beams > 1:
        cache = kept.cache.branch(1, room)
        (beams,) = beam_search(engine, tokenizer.end_id, [context], config, [room], logits, cache)
        return [hypothesis_of(tokenizer, beam.tokens, beam.logprob) for beam in beams[: len(seeds)]], kept
    (rows,) = _rows([context], config, [seeds], engine.n_ctx)
    batch = Rows(engine, tokenizer.end_id)
    batch.start(rows, logits.select([0] * len(rows)), kept.cache.branch(len(rows), room))
    while batch.alive:
        batch.draw()
        batch.shrink()
        if batch.alive:
            batch.advance()
    return [hypothesis_of(tokenizer, row.tokens, row.logprob) for row in rows], kept


def _decode(engine: Engine, end_id: int, groups: Sequence[list[Row]], batch_size: int) -> None:
    """Complete the rows of every context, the longest first, so that the next one fits into an ended row's place."""
    waiting = sorted((group for group in groups if group and group[0].room), key=lambda group: len(group[0].context))
    batch = Rows(engine, end_id)
    while waiting or batch.alive:
        if batch.alive:
            batch.draw()
        free = batch.free if batch.alive else batch_size
        new: list[Group] = []
        while waiting and (len(waiting[-1]) <= free or not (new or batch.alive)):
            new.append(Group(waiting.pop()))
            free -= len(new[-1].rows)
        if not new:
            batch.shrink()
        if new or batch.alive:
            batch.advance(new)


def _rows(
    contexts: Sequence[Sequence[int]], config: DecodingConfig, seeds: Sequence[Sequence[Seed]], n_ctx: int
) -> list[list[Row]]:
    return [
        [Row(context, config, np.random.default_rng(seed), room_after(n_ctx, context, config)) for seed in mine]
        for context, mine in zip(contexts, seeds, strict=True)
    ]


def room_after(n_ctx: int, context: Sequence[int], config: DecodingConfig) -> int:
    """The most tokens of a reply to this context."""
    return min(reply_room(n_ctx, config.max_new_tokens), n_ctx - len(context))


def sayable(text: str) -> str:
    """The text of tokens without outer blanks, incomplete code points (U+FFFD) and what steers a terminal."""
    return _UNSAYABLE.sub("", text).strip()


def hypothesis_of(tokenizer: Tokenizer, tokens: Sequence[int], logprob: float) -> Hypothesis:
    """What a row's tokens say."""
    return Hypothesis(
        text=sayable(tokenizer.decode(tokens)),
        tokens=tuple(tokens),
        logprob=logprob,
        ended=bool(tokens) and tokens[-1] == tokenizer.end_id,
    )
