"""The torch engine: a model and its cache as two calls, prefill and decode. It knows nothing about text."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dialogpt.model.gpt import GPT, KVCache


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
        starts = torch.tensor([longest - len(context) for context in contexts], device=self.device)
        cache = KVCache.empty(self.model, len(contexts), longest + room, starts)
        hidden = self.model.hidden(tokens.to(self.device), cache)
        return self.model.logits(hidden[:, -1]), cache

    @torch.inference_mode()
    def decode(self, tokens: Tensor, cache: KVCache) -> Tensor:
        """Read one more token a row, (B,); returns the logits (B, V) of the next."""
        return self.model.logits(self.model.hidden(tokens[:, None], cache)[:, -1])
