"""The objective: nats over target tokens.

Everything is a *sum* of nats and a count of targets, so that micro-batches, ranks and padding cannot change a result;
the only division is by the count of the whole (paper, section 2: log-likelihood of every turn but the first).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dialogpt.model.gpt import GPT
from dialogpt.tokens.batches import IGNORE

ROWS = 512  # rows of logits at once on a CPU: 50 MB with GPT-2's vocabulary; a whole batch would be a gigabyte
ALIGNED = 64  # rows of logits on a GPU begin at multiples of it
ROWS_IN_CACHE = 16  # rows of logits in fp32 at once


def nats(model: GPT, tokens: Tensor, targets: Tensor) -> Tensor:
    """The sum over target tokens of -log p(target), a scalar in fp32. tokens, targets: (B, T).

    The output layer is applied to target positions only: it is the widest one, and first turns and padding need none.
    """
    flat = targets.flatten()
    places = (flat != IGNORE).nonzero()[:, 0]
    return nats_at(model, tokens, places, flat[places])


def nats_at(model: GPT, tokens: Tensor, places: Tensor, targets: Tensor) -> Tensor:
    """As `nats`, with the target tokens (N,) and their places (N,) among the B * T positions: all shapes are known."""
    hidden = model.hidden(tokens).flatten(0, 1)[places]  # (N, C)
    if hidden.device.type == "cpu":
        nats: Tensor = _OutputLayer.apply(hidden, model.transformer.wte.weight, targets)  # type: ignore[no-untyped-call]
        return nats
    return F.cross_entropy(aligned_logits(hidden, model.transformer.wte.weight).float(), targets, reduction="sum")


def aligned_logits(hidden: Tensor, weight: Tensor) -> Tensor:
    """hidden (N, C), weight (V, C) -> logits (N, V), whose rows are a multiple of 64 numbers apart in memory.

    Tensor cores want rows that begin at multiples of 16 bytes; 50,257 is odd, and three products have such rows.
    """
    surplus = -len(weight) % ALIGNED
    return F.linear(hidden, F.pad(weight, (0, 0, 0, surplus)) if surplus else weight)[:, : len(weight)]


def margins_at(model: GPT, tokens: Tensor, places: Tensor) -> Tensor:
    """(P,) by how much a ranker scores the better reply of each pair above the worse one, in fp32.

    tokens: (2P, T), a pair's rows one after the other; places: (2P,), where each row's score is read (see `PairBatch`).
    """
    hidden = model.hidden(tokens).flatten(0, 1)[places]  # (2P, C)
    scores = (hidden.float() * model.transformer.wte.weight[-1].float()).sum(-1)
    return scores[0::2] - scores[1::2]


def pair_nats(margins: Tensor) -> Tensor:
    """The sum over pairs of -log P(the better one is better), by the logistic of the margin (Gao et al. 2020)."""
    return F.softplus(-margins).sum()


class _OutputLayer(torch.autograd.Function):
    """The output layer and the sum of its cross-entropies, some rows at a time, since memory traffic is their cost.

    The gradients are computed in the forward pass, while the logits exist, so these are never kept.
    hidden (N, C), weight (V, C), targets (N,) -> a scalar in fp32. Products are in autocast's precision.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else hidden.dtype
        learns = any(ctx.needs_input_grad)
        x, w = hidden.to(dtype), weight.to(dtype)
        grad_x = torch.empty_like(x)
        grad_w = torch.zeros_like(weight) if learns else None
        logits = x.new_empty(min(len(x), ROWS), len(w))
        total = torch.zeros((), dtype=torch.float32)
        for start in range(0, len(x), ROWS):
            rows = slice(start, start + ROWS)
            part = torch.mm(x[rows], w.T, out=logits[: len(x[rows])])
            total += _to_gradients(part, targets[rows])
            if grad_w is not None:
                torch.mm(part, w, out=grad_x[rows])
                grad_w += torch.mm(part.T, x[rows])
        ctx.save_for_backward(grad_x, grad_w)
        ctx.dtype = hidden.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        grad_x, grad_w = ctx.saved_tensors
        return (grad_x * grads[0]).to(ctx.dtype), grad_w * grads[0], None


def _to_gradients(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum the rows' cross-entropies, and replace the logits by their gradients."""
    total = torch.zeros((), dtype=torch.float32)
    for start in range(0, len(logits), ROWS_IN_CACHE):
        part, answers = logits[start : start + ROWS_IN_CACHE], targets[start : start + ROWS_IN_CACHE, None]
        row = part.float()
        lse = row.logsumexp(-1, keepdim=True)
        total += (lse - row.gather(1, answers)).sum()
        row = row.sub_(lse).exp_()  # softmax
        part.copy_(row.scatter_add_(1, answers, row.new_full(answers.shape, -1.0)))
    return total
