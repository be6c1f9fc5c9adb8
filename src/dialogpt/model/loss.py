"""The objective: nats over target tokens, and perplexity.

Everything is a *sum* of nats and a count of targets, so that micro-batches, ranks and padding cannot change a result;
who divides, divides by the count of the whole (paper, section 2: log-likelihood of every turn but the first).
"""

import math

import torch.nn.functional as F
from torch import Tensor

from dialogpt.model.gpt import GPT
from dialogpt.tokens.batches import IGNORE


def nats(model: GPT, tokens: Tensor, targets: Tensor) -> Tensor:
    """The sum over target tokens of -log p(target), a scalar in fp32. tokens, targets: (B, T).

    The output layer is applied to target positions only: it is the widest one, and first turns and padding need none.
    """
    learned = targets != IGNORE
    logits = model.logits(model.hidden(tokens)[learned])  # (targets, V)
    return F.cross_entropy(logits.float(), targets[learned], reduction="sum")


def perplexity(total_nats: float, targets: int) -> float:
    """exp(total nats / total target tokens); infinite where that overflows."""
    try:
        return math.exp(total_nats / targets)
    except OverflowError:
        return math.inf
