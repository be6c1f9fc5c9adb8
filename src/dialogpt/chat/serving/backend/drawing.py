"""A context -> hypotheses of an engine, in one request, or one for each if it does not support `n`.

What does not fit is left out by whole turns, oldest first: exactly, if the engine's tokenizer and n_ctx are known;
otherwise the older half of the turns, each time it refuses the context as too long.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec

from dialogpt.chat.serving.backend.client import BackendError, Client, RefusedError
from dialogpt.chat.serving.backend.wire import PATHS, Drawn, Facts, Reading, Wish, body_of, hypotheses_of, seed_of
from dialogpt.decoding.hypotheses import context_tokens
from dialogpt.session import Turn
from dialogpt.tokens.bpe import Tokenizer


class Draw(NamedTuple):
    """Hypotheses of a context, and how many tokens of it were read; 0 if the engine does not say."""

    hypotheses: list[Drawn]
    prompt_tokens: int


async def draw(
    client: Client, facts: Facts, wish: Wish, attempt: int, on_text: Callable[[str], object] | None
) -> Draw:  # fmt: skip
    """As many hypotheses as wanted, with other seeds in each attempt; `on_text` gets the pieces if it is one."""
    while True:
        try:
            if on_text is not None:
                return await _streamed(client, facts, _seeded(wish, attempt, 0), on_text)
            return await _drawn(client, facts, wish, attempt)
        except RefusedError as error:
            if not error.too_long or len(wish.turns) == 1:
                raise
        wish = replace(wish, turns=wish.turns[len(wish.turns) // 2 :])


async def _drawn(client: Client, facts: Facts, wish: Wish, attempt: int) -> Draw:
    """All in one request, or each in its own, also if the engine supports `n` but not one that large."""
    if wish.n == 1 or facts.many:
        try:
            return await _asked(client, facts, _seeded(wish, attempt, 0))
        except RefusedError as error:
            if error.too_long or wish.n == 1:
                raise
    return await _all([_asked(client, facts, _seeded(replace(wish, n=1), attempt, i)) for i in range(wish.n)])


def _seeded(wish: Wish, attempt: int, i: int) -> Wish:
    return replace(wish, seed=seed_of(wish.seed, attempt, i))


def fitting(tokenizer: Tokenizer, turns: Sequence[Turn], n_ctx: int, max_new_tokens: int) -> list[Turn]:
    """The turns that `context_tokens` keeps: the newest whole ones, or the end of a single one that is too long."""
    tokens = context_tokens(tokenizer, turns, n_ctx, max_new_tokens)
    whole = [turn for turn in turns if turn.text.strip()]
    kept = whole[-tokens.count(tokenizer.end_id) :]
    if len(kept) > 1:
        return kept
    return [msgspec.structs.replace(kept[0], text=tokenizer.decode(tokens).lstrip("\ufffd"))]


async def _asked(client: Client, facts: Facts, wish: Wish) -> Draw:
    answer = await client.ask(PATHS[facts.route], body_of(wish, facts))
    made = hypotheses_of(answer)[: wish.n]
    if not made:
        raise BackendError("the backend made no reply", "try again")
    return Draw(made, answer.usage.prompt_tokens if answer.usage else 0)


async def _streamed(client: Client, facts: Facts, wish: Wish, on_text: Callable[[str], object]) -> Draw:
    reading = Reading()
    body = body_of(replace(wish, stream=True), facts)
    async with aclosing(client.stream(PATHS[facts.route], body, reading)) as pieces:
        async for piece in pieces:
            on_text(piece)
    return Draw(reading.hypotheses(), reading.usage.prompt_tokens if reading.usage else 0)


async def _all(requests: Sequence[Coroutine[Any, Any, Draw]]) -> Draw:
    """All the requests at once; the first that fails ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(request) for request in requests]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    draws = [task.result() for task in tasks]
    return Draw([hypothesis for made in draws for hypothesis in made.hypotheses], draws[0].prompt_tokens)
