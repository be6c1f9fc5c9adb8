"""At the start: wait until the engine answers, then find out which model it has and what it supports.

It is asked for one token of two replies, with every parameter that may be needed; if it refuses, as few features as
possible are left out (`wire.FEATURES`), and not used again.
"""

import asyncio
import logging
import time
from dataclasses import replace
from itertools import chain, combinations

from dialogpt.chat.serving.backend.client import BackendError, Client, MissingError, RefusedError
from dialogpt.chat.serving.backend.wire import FEATURES, OURS, PATHS, Card, Facts, Route, Wish, body_of, hypotheses_of
from dialogpt.decoding import ReplyConfig
from dialogpt.errors import UsageError
from dialogpt.session import Turn

log = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 10.0


async def meet(
    url: str, key: str, *, model: str, route: Route, end_text: str, timeout_s: float, wait_s: float
) -> Facts:  # fmt: skip
    """What is known of the engine at the address.

    It may take `wait_s` seconds to answer; BackendError when it does not, or never will, UsageError when it does
    not have the model. end_text: ends turns, unless the engine names its model's own.
    """
    client = Client(url, key, timeout_s)
    until, pause = time.monotonic() + wait_s, FIRST_PAUSE_S
    try:
        while True:
            try:
                return await _tried(client, await _introduced(client, Facts(model, route=route, end_text=end_text)))
            except BackendError as error:
                if error.lasting or time.monotonic() + pause > until:
                    raise
                log.info("waiting for the backend: %s", error.message)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
    finally:
        await client.close()


async def _introduced(client: Client, asked: Facts) -> Facts:
    """Its model by name, or its first."""
    model = asked.model
    try:
        cards = await client.models()
    except MissingError:
        if not model:
            raise
        return asked  # it does not list its models, but may have this one
    found = [card for card in cards if model in ("", card.id)]
    if not found:
        names = ", ".join(repr(card.id) for card in cards[:8]) or "none"
        raise UsageError(f"the backend has no model {model!r}", f"it has {names}: see --backend-model")
    if len(found) > 1:
        log.info("the backend has %d models; using %s", len(cards), found[0].id)
    card = found[0]
    end_text = (card.dialogpt and card.dialogpt.end_token) or asked.end_text
    return replace(asked, model=card.id, kind=card.owned_by or "", n_ctx=_n_ctx(card), end_text=end_text)


def _n_ctx(card: Card) -> int | None:
    meta = card.meta or {}
    found = card.max_model_len or meta.get("n_ctx") or meta.get("n_ctx_train")
    return found if isinstance(found, int) and found > 1 else None


async def _tried(client: Client, facts: Facts) -> Facts:
    """What it supports: the first form of request that it does not refuse."""
    config = ReplyConfig(max_new_tokens=1, temperature=1.0)
    wish = Wish(turns=[Turn("hi")], config=config, seed=1, n=2)
    if facts.kind == OURS:
        await client.ask(PATHS[facts.route], body_of(wish, facts))
        return facts
    refused: RefusedError | None = None
    for lacks in chain.from_iterable(combinations(FEATURES, size) for size in range(len(FEATURES) + 1)):
        now = replace(facts, lacks=frozenset(lacks))
        try:
            answer = await client.ask(PATHS[facts.route], body_of(replace(wish, n=2 if now.many else 1), now))
        except RefusedError as error:
            refused = refused or error
            continue
        if len(hypotheses_of(answer)) < 2:
            now = replace(now, lacks=now.lacks | {"n"})
        if now.lacks:
            log.info("the backend does not support: %s", ", ".join(sorted(now.lacks)))
        return now
    assert refused is not None
    raise refused
