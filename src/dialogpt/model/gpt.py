"""GPT-2, as published: pre-norm blocks, learned positions, `gelu_new`, an output layer tied to the token embedding.

Names are GPT-2's own. Shapes: B rows, T new tokens, S cached + new tokens, C n_embd, H heads, D = C / H, V vocabulary,
L layers. Source: Radford et al. 2019; DialoGPT (arXiv 1911.00536, section 3) uses it unchanged.
"""

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dialogpt.model import GPTConfig
from dialogpt.model.cache import KVCache


class Linear(nn.Linear):
    """As torch's; GPT initialises it."""

    def reset_parameters(self) -> None:
        pass


class Embedding(nn.Embedding):
    """As torch's; GPT initialises it."""

    def reset_parameters(self) -> None:
        pass


class Attention(nn.Module):
    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.n_head, self.dropout = layer, config.n_head, config.dropout
        self.c_attn = Linear(config.n_embd, 3 * config.n_embd)
        self.c_proj = Linear(config.n_embd, config.n_embd)
        self.resid_dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor | None, cache: KVCache | None) -> Tensor:
        B, T, C = x.shape
        q, k, v = (
            y.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)  # (B, H, T, D)
            for y in self.c_attn(x).split(C, dim=2)
        )
        if cache is not None:
            k, v = cache.append(self.layer, k, v)  # (B, H, S, D)
        if cache is not None and cache.shared is not None:
            read = cache.shared
            first_k, first_v = (first[self.layer, 0, :, : read.length] for first in (read.k, read.v))
            y = _attend_shared(q, k, v, first_k, first_v)
        else:
            dropout = self.dropout if self.training else 0.0
            causal = mask is None and (cache is None or T > 1)  # without a cache no shape decides: one compiled graph
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=causal)
        y = y.transpose(1, 2).reshape(B, T, C)
        out: Tensor = self.resid_dropout(self.c_proj(y))
        return out


class MLP(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.c_fc = Linear(config.n_embd, 4 * config.n_embd)
        self.c_proj = Linear(4 * config.n_embd, config.n_embd)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        # GPT-2 was trained with the tanh form (`gelu_new`); the erf form moves logits by 3e-4.
        out: Tensor = self.dropout(self.c_proj(F.gelu(self.c_fc(x), approximate="tanh")))
        return out


class Block(nn.Module):
    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_eps)
        self.attn = Attention(config, layer)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_eps)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, mask: Tensor | None, cache: KVCache | None) -> Tensor:
        x = x + self.attn(self.ln_1(x), mask, cache)
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


class Transformer(nn.Module):
    """Everything below the output layer."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.wte = Embedding(config.vocab_size, config.n_embd)
        self.wpe = Embedding(config.n_ctx, config.n_embd)
        self.drop = nn.Dropout(config.dropout)
        self.h = nn.ModuleList(Block(config, layer) for layer in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_eps)


class GPT(nn.Module):
    """GPT-2 with its language-model head."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.recompute = False  # recompute blocks in the backward pass: saves memory for a third more work
        self.output_layer: nn.Module | None = None  # a copy of the token embedding in 8 bits (see `quantize`)
        self.transformer = Transformer(config)
        self._init_weights()

    def set_dropout(self, share: float) -> None:
        """Change the dropout for training; it is saved with the model."""
        self.config = replace(self.config, dropout=share)
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = share
            elif isinstance(module, Attention):
                module.dropout = share

    def _init_weights(self) -> None:
        """GPT-2's initialisation: N(0, 0.02), residual projections scaled by 1/sqrt(2L), biases zero."""
        if (
            self.device.type == "meta"
        ):  # weights will be loaded, and `normal_` imports torch's compiler, which takes a second
            return
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif ".ln_" not in name:
                scale = math.sqrt(2 * self.config.n_layer) if name.endswith("c_proj.weight") else 1.0
                nn.init.normal_(parameter, std=0.02 / scale)

    @property
    def device(self) -> torch.device:
        return self.transformer.wte.weight.device

    @property
    def parameter_count(self) -> int:
        """Parameters, the tied output layer counted once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def hidden(self, tokens: Tensor, cache: KVCache | None = None) -> Tensor:
        """The last layer's normalised states, (B, T, C), of tokens (B, T) that follow what `cache` holds.

        The cache is extended in place. Without one, rows start at position 0 and padding belongs on the right, where
        causal attention keeps it from mattering.
        """
        past = cache.past if cache is not None else 0
        end = past + tokens.shape[1]
        longest = end if cache is None else end - min(cache.starts)
        if longest > self.config.n_ctx:
            raise ValueError(f"{longest} tokens do not fit into n_ctx {self.config.n_ctx}")
        positions = torch.arange(past, end, device=tokens.device)  # (T,)
        mask = None
        if cache is not None and any(cache.starts):
            starts = torch.tensor(cache.starts, device=tokens.device)
            positions = (positions - starts[:, None]).clamp(min=0)  # (B, T)
            mask = _visible(past, end, starts)
        elif past and tokens.shape[1] > 1:
            mask = _visible(past, end, torch.zeros(1, dtype=torch.long, device=tokens.device))
        x = self.transformer.drop(self.transformer.wte(tokens) + self.transformer.wpe(positions))  # (B, T, C)
        for block in self.transformer.h:
            if self.recompute and self.training:
                x = checkpoint(block, x, mask, cache, use_reentrant=False)
            else:
                x = block(x, mask, cache)
        if cache is not None:
            cache.length += tokens.shape[1]
        out: Tensor = self.transformer.ln_f(x)
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., C) -> (..., V), by the token embedding."""
        if self.output_layer is not None:
            out: Tensor = self.output_layer(hidden)
            return out
        return F.linear(hidden, self.transformer.wte.weight)

    def forward(self, tokens: Tensor, cache: KVCache | None = None) -> Tensor:
        """Logits (B, T, V) for the token after each of `tokens` (B, T); see `hidden` for the cache."""
        return self.logits(self.hidden(tokens, cache))


def _visible(past: int, end: int, starts: Tensor) -> Tensor:
    """(B, 1, T, S) True where query past+t may see key s: not later, and not left padding.

    A padding query sees itself, so that no row of the softmax is empty.
    """
    query = torch.arange(past, end, device=starts.device)[:, None]  # (T, 1)
    key = torch.arange(end, device=starts.device)  # (S,)
    real = key >= starts[:, None, None]  # (B, 1, S)
    return ((key <= query) & real | (key == query))[:, None]


def _attend_shared(q: Tensor, k: Tensor, v: Tensor, first_k: Tensor, first_v: Tensor) -> Tensor:
    """Attention of one new token a row, q (B, H, 1, D), to what all rows share and to the row's own.

    first_k, first_v: (H, S', D), read once for all rows; k, v: the rows' own, (B, H, S, D). Returns (B, H, 1, D).
    """
    length = first_k.shape[1]
    q = q / math.sqrt(q.shape[-1])
    shared = q[:, :, 0].transpose(0, 1) @ first_k.transpose(1, 2)  # (H, B, S')
    own = k @ q.transpose(2, 3)  # (B, H, S, 1)
    weights = torch.cat([shared.transpose(0, 1), own[..., 0]], dim=-1).softmax(-1)  # (B, H, S' + S)
    y = (weights[..., :length].transpose(0, 1) @ first_v).transpose(0, 1)  # (B, H, D)
    return y[:, :, None] + weights[:, :, None, length:] @ v
