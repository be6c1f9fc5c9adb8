"""From logits to a token: what a row may not say is taken out, a few candidates are left, one of them is drawn.

B rows, V tokens, K candidates, the likeliest first; of equally likely ones the lower id comes first. All is pure; a
draw takes one uniform number from its row's own generator, so a reply depends neither on the batch it was made in nor
on the device.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dialogpt.decoding import DecodingConfig
from dialogpt.errors import DataError

COLDEST = 1e-30  # as a divisor in fp32 still not zero
NUCLEUS = 1024  # candidates in which a nucleus is looked for before the whole vocabulary is sorted


class Candidates(NamedTuple):
    """What may be drawn. logits, tokens: (B, K), the likeliest first; -inf where a row has fewer than K."""

    logits: Tensor
    tokens: Tensor


def check_finite(total: Tensor) -> None:
    """DataError when the logsumexp (B,) of any row's logits is not finite."""
    if not bool(torch.isfinite(total).all()):
        raise DataError("the model's logits are not finite", "its weights are damaged, or overflow in this precision")


def allowed(
    logits: Tensor,
    contexts: Sequence[Sequence[int]],
    replies: Sequence[Sequence[int]],
    end_id: int,
    config: DecodingConfig,
) -> Tensor:
    """Apply what depends on what each row has read and said: the shortest length, the penalty, no n-gram twice."""
    logits = logits.clone()
    for row, (context, reply) in enumerate(zip(contexts, replies, strict=True)):
        if len(reply) < config.min_new_tokens:
            logits[row, end_id] = -torch.inf
        if config.repetition_penalty != 1.0 and reply:
            seen = torch.tensor(sorted(set(reply)), device=logits.device)
            scores = logits[row, seen]
            penalised = torch.where(scores > 0, scores / config.repetition_penalty, scores * config.repetition_penalty)
            logits[row, seen] = penalised
        banned = repeated_next(reply, config.no_repeat_ngram) if config.no_repeat_ngram else []
        if config.no_repeat_context:
            banned += repeated_next([*context, *reply], config.no_repeat_context)
        if banned:
            logits[row, banned] = -torch.inf
    return logits


def repeated_next(tokens: Sequence[int], n: int) -> list[int]:
    """The tokens that would complete an n-gram which already stands in `tokens`."""
    prefix = tuple(tokens[len(tokens) - n + 1 :]) if n > 1 else ()
    starts = range(len(tokens) - n + 1)
    return sorted({tokens[i + n - 1] for i in starts if tuple(tokens[i : i + n - 1]) == prefix})


def likeliest(logits: Tensor, k: int) -> Candidates:
    """The k likeliest tokens of each row; exactly k, also when others are as likely as the last of them."""
    k = min(k, logits.shape[-1])
    found, tokens = logits.topk(k, dim=-1)
    if bool(((logits >= found[:, -1:]).sum(-1) > k).any()):  # ties at the edge: the lower ids are meant
        tokens = logits.argsort(dim=-1, descending=True, stable=True)[:, :k]
    else:  # ties inside
        tokens = tokens.sort(dim=-1).values
        tokens = tokens.gather(-1, logits.gather(-1, tokens).argsort(dim=-1, descending=True, stable=True))
    return Candidates(logits.gather(-1, tokens), tokens)


def candidates(logits: Tensor, config: DecodingConfig) -> Candidates:
    """Top-k, then temperature, then top-p and min-p of what is left; the logits returned are over the temperature."""
    vocabulary = logits.shape[-1]
    k = min(config.top_k or vocabulary, vocabulary)
    raw = logits.float()
    first = raw.amax(-1, keepdim=True)

    def cooled(values: Tensor) -> Tensor:
        return (values - first) / max(config.temperature, COLDEST)  # the first stays 0 however cold it gets

    if k == vocabulary and config.top_p == 1 and config.min_p == 0:
        tokens = torch.arange(vocabulary, device=logits.device).expand_as(logits)
        return Candidates(cooled(raw), tokens)  # nothing is left out, so nothing needs an order
    kept = likeliest(raw, k if k < vocabulary else NUCLEUS)
    total = cooled(kept.logits if k < vocabulary else raw).double().logsumexp(-1, keepdim=True)
    inside, complete = _nucleus(cooled(kept.logits), total, config)
    if not complete and k == vocabulary:
        kept = likeliest(raw, vocabulary)
        inside, _ = _nucleus(cooled(kept.logits), total, config)
    return Candidates(cooled(kept.logits).masked_fill(~inside, -torch.inf), kept.tokens)


def _nucleus(logits: Tensor, total: Tensor, config: DecodingConfig) -> tuple[Tensor, bool]:
    """Which candidates (B, K) are in the smallest set that reaches top-p, and at least min-p as likely as the first.

    total: (B, 1), the logsumexp of all tokens. The flag tells that no token beyond the candidates can be one of them.
    """
    odds = (logits.double() - total).exp()
    reached = odds.cumsum(-1)
    inside = ((reached - odds < config.top_p) | (config.top_p == 1)) & (odds >= config.min_p * odds[:, :1])
    return inside, bool(((reached[:, -1] >= config.top_p) | (odds[:, -1] < config.min_p * odds[:, 0])).all())


def draw(logits: Tensor, config: DecodingConfig, generators: Sequence[np.random.Generator]) -> Tensor:
    """One token a row, (B,): the likeliest at temperature 0, else one of the candidates by their odds."""
    if config.temperature == 0:
        return logits.argmax(-1)
    found = candidates(logits, config)
    uniform = torch.tensor([g.random() for g in generators], device=logits.device, dtype=torch.float64)
    odds = found.logits.double().exp()
    reached = odds.cumsum(-1)
    place = torch.searchsorted(reached, (uniform * reached[:, -1])[:, None], right=True)
    last = odds.shape[-1] - 1 - (odds > 0).flip(-1).byte().argmax(-1, keepdim=True)  # rounding may lead past it
    return found.tokens.gather(-1, torch.minimum(place, last)).squeeze(-1)
