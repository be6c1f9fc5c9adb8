"""The objective: nats over target tokens.

Everything is a *sum* of nats and a count of targets, so that micro-batches, ranks and padding cannot change a result;
who divides, divides by the count of the whole (paper, section 2: log-likelihood of every turn but the first).
"""

import torch.nn.functional as F
from torch import Tensor

from dialogpt.model.gpt import GPT
from dialogpt.tokens.batches import IGNORE


def nats(model: GPT, tokens: Tensor, targets: Tensor) -> Tensor:
    """The sum over target tokens of -log p(target), a scalar in fp32. tokens, targets: (B, T).

    The output layer is applied to target positions only: it is the widest one, and first turns and padding need none.
    """
    flat = targets.flatten()
    places = (flat != IGNORE).nonzero()[:, 0]
    return nats_at(model, tokens, places, flat[places])


def nats_at(model: GPT, tokens: Tensor, places: Tensor, targets: Tensor) -> Tensor:
    """As `nats`, with the target tokens (N,) and their places (N,) among the B * T positions: no shape is unknown."""
    logits = model.logits(model.hidden(tokens).flatten(0, 1)[places])  # (N, V)
    return F.cross_entropy(logits.float(), targets, reduction="sum")
