"""The torch engine: a GPT and its cache as the calls of `dialogpt.engine`, on every device that torch has.

It is the reference that other engines are compared with. B rows, V tokens.
"""

import threading
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dialogpt.engine import Cache, Joining, Kept, common_length
from dialogpt.model.cache import KVCache
from dialogpt.model.gpt import GPT
from dialogpt.model.logits import TorchLogits
from dialogpt.model.replay import Replay

SCORED_TOGETHER = 4096  # positions of one forward pass of `nats`


class TorchEngine:
    """Runs a GPT for rows that advance together."""

    def __init__(self, model: GPT, *, replays: bool = False) -> None:
        """replays: a single row's steps are CUDA graphs, for which the model's weights stay where they are."""
        self.model = model.eval()
        self.n_ctx, self.device = model.config.n_ctx, model.device
        self.make_replay: Callable[[GPT], Replay] | None = Replay if replays else None
        self._replay: Replay | None = None
        self._replaying = threading.Lock()  # one row at a time: all have the same addresses

    @torch.inference_mode()
    def prefill(
        self, contexts: Sequence[Sequence[int]], room: int, begun: Sequence[KVCache | None] = ()
    ) -> tuple[TorchLogits, KVCache]:
        """As `Engine.prefill`; rows are padded on the left. Rows that were begun before are read one after another."""
        if any(one is not None for one in begun):
            return self._joined([self._go_on(*each, room) for each in zip(contexts, begun, strict=True)])
        longest = max(map(len, contexts))
        tokens = torch.zeros((len(contexts), longest), dtype=torch.long)
        for row, context in enumerate(contexts):
            tokens[row, longest - len(context) :] = torch.tensor(context)
        starts = [longest - len(context) for context in contexts]
        cache = self._empty(len(contexts), longest + room, starts)
        hidden = self.model.hidden(tokens.to(self.device), cache)
        return TorchLogits(self.model.logits(hidden[:, -1])), cache

    def _go_on(self, context: Sequence[int], begun: KVCache | None, room: int) -> tuple[TorchLogits, KVCache]:
        if begun is None:
            return self.prefill([context], room)
        logits, kept = self.resume(context, Kept(list(context[: begun.length]), begun))
        return logits, _ours(kept.cache)

    @staticmethod
    def _joined(rows: Sequence[tuple[TorchLogits, KVCache]]) -> tuple[TorchLogits, KVCache]:
        logits, cache = rows[0]
        for place, (others, other) in enumerate(rows[1:], 1):
            cache.join([place], other)
            logits.join([place], others)
        return logits, cache

    @torch.inference_mode()
    def resume(self, context: Sequence[int], kept: Kept | None) -> tuple[TorchLogits, Kept]:
        """As `Engine.resume`; a new conversation has room up to n_ctx."""
        kept = kept or Kept([], self._empty(1, self.n_ctx))
        cache = _ours(kept.cache)
        cache.length = common_length(context[:-1], kept.tokens[: cache.length])
        kept.tokens = list(context)
        new = context[cache.length :]
        cache.make_room(len(new))
        hidden = self.model.hidden(torch.tensor([new], device=self.device), cache)
        return TorchLogits(self.model.logits(hidden[:, -1])), kept

    @torch.inference_mode()
    def decode(self, tokens: Sequence[int], cache: Cache, joining: Sequence[Joining] = ()) -> TorchLogits:
        """As `Engine.decode`; joining rows are read first, and by themselves."""
        cache = _ours(cache)
        source = [number for number, each in enumerate(joining) for _ in each.places]
        if joining:
            others, other = self.prefill([each.context for each in joining], 0, [each.begun for each in joining])
            other.rearrange(source)
        cache.make_room(1)
        if not joining and (found := self._replayed(tokens, cache)) is not None:
            return found
        ids = torch.tensor(tokens, device=self.device)
        logits = TorchLogits(self.model.logits(self.model.hidden(ids[:, None], cache)[:, -1]))
        if joining:
            places = [place for each in joining for place in each.places]
            try:
                cache.join(places, other)
                logits.join(places, others.select(source))
            except BaseException:
                cache.length -= 1  # the rows read their tokens again
                raise
        return logits

    def _replayed(self, tokens: Sequence[int], cache: KVCache) -> TorchLogits | None:
        """The logits of a single row's step by a CUDA graph; None if the step cannot use one."""
        if self.make_replay is None or cache.rows > 1:
            return None
        with self._replaying:
            self._replay = self._replay or self.make_replay(self.model)
            found = self._replay.step(tokens[0], cache) if self._replay.fits(cache) else None
            return None if found is None else TorchLogits(found)

    @torch.inference_mode()
    def nats(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[float]:
        """As `Engine.nats`; pairs of similar length are read together."""
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
        like: Tensor = self.model.transformer.ln_f.weight
        return KVCache.empty(self.model.config, rows, capacity, like, starts)


def _ours(cache: Cache) -> KVCache:
    assert isinstance(cache, KVCache), "a cache is for the engine that made it"
    return cache
