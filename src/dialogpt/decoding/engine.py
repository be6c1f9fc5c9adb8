"""The engine: a model and its cache as a few calls - prefill, resume, decode, score. It knows nothing about text.

`Engine` is what decoding asks for; `TorchEngine` answers on every device that torch has. B rows, V tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from dialogpt.model.cache import KVCache
from dialogpt.model.gpt import GPT

SCORED_TOGETHER = 4096  # positions of one forward pass of `nats`


@dataclass(slots=True)
class Kept:
    """What one conversation has read: its tokens, and their cache of one row."""

    tokens: list[int]
    cache: KVCache


class Engine(Protocol):
    """What runs a model; the docstrings are at TorchEngine."""

    n_ctx: int

    def prefill(self, contexts: Sequence[Sequence[int]], room: int) -> tuple[Tensor, KVCache]: ...
    def resume(self, context: Sequence[int], kept: Kept | None) -> tuple[Tensor, Kept]: ...
    def decode(self, tokens: Sequence[int], cache: KVCache) -> Tensor: ...
    def nats(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[float]: ...


class TorchEngine:
    """Runs a GPT for rows that advance together."""

    def __init__(self, model: GPT) -> None:
        self.model = model.eval()
        self.n_ctx, self.device = model.config.n_ctx, model.device

    @torch.inference_mode()
    def prefill(self, contexts: Sequence[Sequence[int]], room: int) -> tuple[Tensor, KVCache]:
        """Read contexts of any lengths, leaving room for that many more tokens.

        Returns the logits (B, V) of each row's next token, and the cache; rows are padded on the left.
        """
        longest = max(map(len, contexts))
        tokens = torch.zeros((len(contexts), longest), dtype=torch.long)
        for row, context in enumerate(contexts):
            tokens[row, longest - len(context) :] = torch.tensor(context)
        starts = [longest - len(context) for context in contexts]
        cache = self._empty(len(contexts), longest + room, starts)
        hidden = self.model.hidden(tokens.to(self.device), cache)
        return self.model.logits(hidden[:, -1]), cache

    @torch.inference_mode()
    def resume(self, context: Sequence[int], kept: Kept | None) -> tuple[Tensor, Kept]:
        """Read what is new in a conversation's context; `kept` is what an earlier call returned, and is brought along.

        Returns the logits (1, V) of the next token, and what to keep, with room up to n_ctx. What the two have in
        common is not read again, so that a turn that was taken back or replaced costs no more than what follows it.
        Interrupted at any point, `kept` is still true: its tokens, up to the cache's length, are those of the cache.
        """
        kept = kept or Kept([], self._empty(1, self.n_ctx))
        cache = kept.cache
        cache.length = common_length(context[:-1], kept.tokens[: cache.length])
        kept.tokens = list(context)
        tokens = torch.tensor([context[cache.length :]], device=self.device)
        hidden = self.model.hidden(tokens, cache)
        return self.model.logits(hidden[:, -1]), kept

    @torch.inference_mode()
    def decode(self, tokens: Sequence[int], cache: KVCache) -> Tensor:
        """Read one more token a row; returns the logits (B, V) of the next."""
        ids = torch.tensor(tokens, device=self.device)
        return self.model.logits(self.model.hidden(ids[:, None], cache)[:, -1])

    @torch.inference_mode()
    def nats(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[float]:
        """-log p(target | context) of each (context, target), both of at least one token, in nats."""
        found = [0.0] * len(pairs)
        order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][0]) + len(pairs[i][1]))
        while order:
            longest = len(pairs[order[-1]][0]) + len(pairs[order[-1]][1])
            together = [order.pop() for _ in range(min(len(order), max(SCORED_TOGETHER // longest, 1)))]
            for i, nats in zip(together, self._nats([pairs[i] for i in together]), strict=True):
                found[i] = nats
        return found

    def _nats(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[float]:
        tokens = torch.zeros((len(pairs), max(len(c) + len(t) for c, t in pairs) - 1), dtype=torch.long)
        rows: list[int] = []
        columns: list[int] = []
        targets: list[int] = []
        for row, (context, target) in enumerate(pairs):
            whole = [*context, *target]
            tokens[row, : len(whole) - 1] = torch.tensor(whole[:-1])
            rows += [row] * len(target)
            columns += range(len(context) - 1, len(whole) - 1)
            targets += target
        hidden = self.model.hidden(tokens.to(self.device))[rows, columns]  # (targets, C)
        answers = torch.tensor(targets, device=self.device)
        each = F.cross_entropy(self.model.logits(hidden).float(), answers, reduction="none").cpu()
        return torch.zeros(len(pairs)).index_add(0, torch.tensor(rows), each).tolist()

    def _empty(self, rows: int, capacity: int, starts: list[int] | None = None) -> KVCache:
        return KVCache.empty(self.model.config, rows, capacity, self.model.transformer.ln_f.weight, starts)


def common_length(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens at the beginning are the same."""
    for place, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return place
    return min(len(a), len(b))
