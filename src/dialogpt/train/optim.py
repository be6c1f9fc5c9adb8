"""AdamW with decay groups, and learning-rate schedules as pure functions of the step.

Steps count from 1: the first update uses `schedule(1)`.
"""

import math

import torch
from torch import nn

from dialogpt.train import TrainConfig


def learning_rate(config: TrainConfig, step: int, total_steps: int, n_embd: int) -> float:
    """The rate of update `step`, 1..total_steps, under the configured schedule.

    `linear` and `cosine` reach 0 one step after the last, so that no update is wasted.
    """
    if config.schedule == "noam":
        return noam(step, config.lr, config.warmup, n_embd)
    if step <= config.warmup:
        return config.lr * step / config.warmup
    done = (step - config.warmup) / max(total_steps + 1 - config.warmup, 1)
    if config.schedule == "linear":
        return config.lr * max(1.0 - done, 0.0)
    if config.schedule == "cosine":
        return config.lr * 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))
    return config.lr


def noam(step: int, lr: float, warmup: int, n_embd: int) -> float:
    """The released code's schedule: peaks at step `warmup`; 2.85e-5 for n_embd 768, lr 1e-5, warm-up 16,000."""
    return lr * 1e4 / math.sqrt(n_embd) * min(1 / math.sqrt(step), step / math.sqrt(max(warmup, 1)) ** 3)


def make_optimizer(model: nn.Module, weight_decay: float) -> torch.optim.AdamW:
    """Fused AdamW; matrices decay, vectors (biases and norms) do not."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.999), eps=1e-8, fused=True)
