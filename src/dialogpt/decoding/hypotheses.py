"""Contexts -> hypotheses: prefill once, then a token a row until each row has ended.

A context is the turns before the reply, each ended by the end token; what does not fit is dropped by whole turns, the
oldest first.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch

from dialogpt.decoding import DecodingConfig, Hypothesis
from dialogpt.decoding.engine import TorchEngine
from dialogpt.decoding.sampling import allowed, draw
from dialogpt.errors import DataError
from dialogpt.session import Turn
from dialogpt.tokens.bpe import Tokenizer

log = logging.getLogger(__name__)


def reply_room(n_ctx: int, max_new_tokens: int) -> int:
    """The most tokens of a reply: half of the model's context is always left to what is replied to."""
    return min(max_new_tokens, n_ctx // 2)


def context_tokens(tokenizer: Tokenizer, turns: Iterable[Turn], n_ctx: int, max_new_tokens: int) -> list[int]:
    """The newest whole turns that leave room for the reply; a single turn that is too long keeps its end."""
    room = n_ctx - reply_room(n_ctx, max_new_tokens)
    encoded = tokenizer.encode_turns(turns)
    if not encoded:
        raise DataError("the context is empty", "a reply needs at least one turn to reply to")
    if len(encoded[-1]) > room:
        log.warning("a turn of %d tokens is too long; its last %d are read", len(encoded[-1]), room)
        return encoded[-1][-room:]
    kept: list[list[int]] = []
    for turn in reversed(encoded):
        if sum(map(len, kept)) + len(turn) > room:
            break
        kept.insert(0, turn)
    return [token for turn in kept for token in turn]


def decode_rows(
    engine: TorchEngine, contexts: Sequence[Sequence[int]], config: DecodingConfig, end_id: int, seeds: Sequence[int]
) -> Iterator[list[tuple[int, int, float]]]:
    """Yield, step by step, (row, token, log-probability) for every row that has not ended.

    The end token is yielded too, as a row's last. The log-probability is the model's own, before any filter.
    """
    generators = [np.random.default_rng(seed) for seed in seeds]
    longest = max(map(len, contexts))
    steps = min(reply_room(engine.n_ctx, config.max_new_tokens), engine.n_ctx - longest)
    logits, cache = engine.prefill(contexts, steps)
    replies: list[list[int]] = [[] for _ in contexts]
    rows = list(range(len(contexts)))  # the row of `contexts` that each row of the batch decodes
    for step in range(steps):
        if not torch.isfinite(logits).all():
            raise DataError(
                "the model's logits are not finite", "its weights are damaged, or overflow in this precision"
            )
        chosen = draw(
            allowed(logits, [replies[r] for r in rows], end_id, config), config, [generators[r] for r in rows]
        )
        logprobs = logits.float().log_softmax(-1).gather(-1, chosen[:, None])[:, 0].tolist()
        drawn = list(zip(rows, chosen.tolist(), logprobs, strict=True))
        yield drawn
        alive = [place for place, (_, token, _) in enumerate(drawn) if token != end_id]
        for place in alive:
            replies[rows[place]].append(drawn[place][1])
        if not alive or step == steps - 1:
            return
        if len(alive) < len(rows):  # rows that have ended leave the batch
            keep = torch.tensor(alive, device=chosen.device)
            rows, chosen, cache = [rows[place] for place in alive], chosen[keep], cache.select(keep)
        logits = engine.decode(chosen, cache)


def hypotheses(
    engine: TorchEngine,
    tokenizer: Tokenizer,
    contexts: Sequence[Sequence[int]],
    config: DecodingConfig,
    seeds: Sequence[int],
) -> list[Hypothesis]:
    """One hypothesis for each context; row i draws with `seeds[i]`, whatever batch it is in."""
    tokens: list[list[int]] = [[] for _ in contexts]
    logprobs = [0.0] * len(contexts)
    for drawn in decode_rows(engine, contexts, config, tokenizer.end_id, seeds):
        for row, token, logprob in drawn:
            tokens[row].append(token)
            logprobs[row] += logprob
    return [
        Hypothesis(
            text=tokenizer.decode(ids).strip(),
            tokens=tuple(ids),
            logprob=logprob,
            ended=bool(ids) and ids[-1] == tokenizer.end_id,
        )
        for ids, logprob in zip(tokens, logprobs, strict=True)
    ]
