"""From logits to a token: filters that take tokens out, then a draw.

Filters are pure: logits (B, V) in, logits (B, V) out, -inf where a token may not be drawn. Draws take one uniform
number a row from that row's own generator, so a reply depends neither on the batch it was made in nor on the device.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dialogpt.decoding import DecodingConfig

COLDEST = 1e-30  # as a divisor in fp32 still not zero


def allowed(logits: Tensor, replies: Sequence[Sequence[int]], end_id: int, config: DecodingConfig) -> Tensor:
    """Apply what depends on each row's reply so far: minimum length, repetition penalty, no-repeat n-grams."""
    logits = logits.clone()
    for row, reply in enumerate(replies):
        if len(reply) < config.min_new_tokens:
            logits[row, end_id] = -torch.inf
        if config.repetition_penalty != 1.0 and reply:
            seen = torch.tensor(sorted(set(reply)), device=logits.device)
            scores = logits[row, seen]
            penalised = torch.where(scores > 0, scores / config.repetition_penalty, scores * config.repetition_penalty)
            logits[row, seen] = penalised
        if config.no_repeat_ngram:
            banned = repeated_next(reply, config.no_repeat_ngram)
            if banned:
                logits[row, banned] = -torch.inf
    return logits


def repeated_next(reply: Sequence[int], n: int) -> list[int]:
    """The tokens that would complete an n-gram which already stands in `reply`."""
    prefix = tuple(reply[len(reply) - n + 1 :]) if n > 1 else ()
    starts = range(len(reply) - n + 1)
    return sorted({reply[i + n - 1] for i in starts if tuple(reply[i : i + n - 1]) == prefix})


def top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the k largest of each row; of equal ones at the edge, those with the lower id."""
    if not 0 < k < logits.shape[-1]:
        return logits
    order = logits.argsort(dim=-1, descending=True, stable=True)
    return logits.scatter(-1, order[..., k:], -torch.inf)


def top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the smallest set of likeliest tokens whose probability reaches p."""
    if p >= 1:
        return logits
    order = logits.argsort(dim=-1, descending=True, stable=True)
    probabilities = logits.double().softmax(-1).gather(-1, order)
    before = probabilities.cumsum(-1) - probabilities  # what the likelier tokens already have
    return logits.masked_fill(torch.zeros_like(before, dtype=torch.bool).scatter(-1, order, before >= p), -torch.inf)


def draw(logits: Tensor, config: DecodingConfig, generators: Sequence[np.random.Generator]) -> Tensor:
    """One token a row, (B,): the likeliest at temperature 0, else a draw after top-k and top-p."""
    if config.temperature == 0:
        return logits.argmax(-1)
    likeliest = top_k(logits.float(), config.top_k)
    below = likeliest - likeliest.amax(-1, keepdim=True)  # the first stays 0 however cold it gets
    kept = top_p(below / max(config.temperature, COLDEST), config.top_p)
    probabilities, order = kept.softmax(-1).sort(dim=-1, descending=True, stable=True)
    uniform = torch.tensor([g.random() for g in generators], device=logits.device, dtype=torch.float64)
    cumulative = probabilities.double().cumsum(-1)
    place = torch.searchsorted(cumulative, (uniform * cumulative[:, -1])[:, None], right=True)
    last = (probabilities > 0).sum(-1, keepdim=True) - 1
    return order.gather(-1, torch.minimum(place, last)).squeeze(-1)
