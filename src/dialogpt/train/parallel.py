"""The objective as a module that torch.compile, DDP or FSDP2 can wrap. The model knows nothing of them.

DDP: every rank has the whole model, and gradients are summed while the last backward pass runs. FSDP2: every rank has a
share of the weights, gradients and optimizer states, by rows (dimension 0), and gathers a block when it is used.
"""

import math
from collections.abc import Iterable, Sequence
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from dialogpt.model.device import autocast
from dialogpt.model.gpt import GPT
from dialogpt.model.loss import margins_at, nats_at, pair_nats
from dialogpt.tokens.batches import IGNORE, Batch
from dialogpt.train.world import World


class Objective(nn.Module):
    """The sum of nats over a batch's targets, or a ranker's margins of its pairs; arguments as `nats_at`."""

    def __init__(self, model: GPT, device: torch.device, precision: torch.dtype) -> None:
        super().__init__()
        self.model, self.device, self.precision = model, device, precision

    def forward(self, tokens: Tensor, places: Tensor, targets: Tensor) -> Tensor:
        with autocast(self.device, self.precision):
            if self.model.config.ranks:
                return margins_at(self.model, tokens, places)
            return nats_at(self.model, tokens, places, targets)


class Parallel:
    """The objective on every rank; `nats` of a batch, with gradients that are the *sum* over all ranks' batches."""

    def __init__(self, model: GPT, world: World, precision: torch.dtype, *, shard: bool, compiled: bool) -> None:
        self.world = world
        self._ranks = model.config.ranks
        self._nats = pair_nats if self._ranks else torch.Tensor.sum  # of what the objective returns
        self._objective: nn.Module = Objective(model, world.device, precision)
        self._ddp: DistributedDataParallel | None = None
        if shard:
            for block in model.transformer.h:
                fully_shard(block)
            fully_shard(self._objective)
        if compiled:
            self._objective.compile(dynamic=True)
        if world.size > 1 and not shard:
            devices = [world.device] if world.device.type == "cuda" else None
            self._ddp = DistributedDataParallel(self._objective, devices, gradient_as_bucket_view=True)

    def backward(self, batches: Sequence[Batch], targets: float, scale: float = 1.0) -> list[Tensor]:
        """Add the gradients of a rank's share of a step; returns the nats of each batch.

        Afterwards every rank has the gradient of (the nats of all ranks' batches) / `targets`, times `scale`.
        """
        found = []
        for batch in batches:
            waits = self._ddp is not None and batch is not batches[-1]
            with self._ddp.no_sync() if self._ddp is not None and waits else nullcontext():
                nats = self._nats(self._run(self._ddp or self._objective, batch))
                scaled = nats * (self.world.size / targets * scale)  # DDP and FSDP2 take the mean over ranks
                scaled.backward()  # type: ignore[no-untyped-call]
            found.append(nats.detach())
        return found

    @torch.no_grad()
    def nats(self, batches: Iterable[Batch]) -> tuple[float, int, int]:
        """The sum of nats over all ranks' batches, the number of their targets, and of pairs in the right order."""
        found, right, targets = [], [], 0
        for batch in batches:
            made = self._run(self._objective, batch)
            found.append(self._nats(made))  # not waited for: the device works while batches are made
            if self._ranks:
                right.append((made > 0).sum())
            targets += batch.target_count
        total, in_order, count = self.world.sum(math.fsum(map(float, found)), sum(map(int, right)), targets)
        return total, int(count), int(in_order)

    def _run(self, objective: nn.Module, batch: Batch) -> Tensor:
        flat = batch.targets.reshape(-1)
        places = (flat != IGNORE).nonzero()[0]
        made: Tensor = objective(*map(self._to_device, (batch.tokens, places, flat[places])))
        return made

    def _to_device(self, array: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(array)
        if self.world.device.type != "cuda":
            return tensor.to(self.world.device)
        return tensor.pin_memory().to(self.world.device, non_blocking=True)


class Figures:
    """Scalars on their way from a GPU to this process: work queued on the GPU after them does not delay them."""

    def __init__(self, *scalars: Tensor) -> None:
        wide = torch.float64 if scalars[0].device.type != "mps" else torch.float32
        figures = torch.stack([scalar.detach().to(wide) for scalar in scalars])
        on_gpu = figures.device.type == "cuda"
        self._arrived = torch.cuda.Event() if on_gpu else None  # type: ignore[no-untyped-call]
        self._figures = figures.to("cpu", non_blocking=on_gpu)  # into pinned memory
        if self._arrived is not None:
            self._arrived.record(torch.cuda.current_stream(figures.device))

    def read(self) -> list[float]:
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._figures.tolist()


def clip(model: GPT, largest: float, scale: float = 1.0) -> Tensor:
    """Scale the gradients so that their global norm is at most `largest` (0: no bound); returns the norm before.

    scale: how many times too large they are.
    """
    if scale != 1:
        torch._foreach_mul_([weight.grad for weight in model.parameters() if weight.grad is not None], 1 / scale)
    norm = nn.utils.clip_grad_norm_(model.parameters(), largest or float("inf"))
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


@torch.no_grad()
def finite(model: GPT, world: World) -> bool:
    """Whether the weights of all ranks have finite norms; those of weights above some 1e19 are not, either."""
    weights = [weight.to_local() if isinstance(weight, DTensor) else weight for weight in model.parameters()]
    norms = torch.stack([torch.linalg.vector_norm(weight) for weight in weights])
    return not world.sum(float(not norms.isfinite().all()))[0]


def whole(model: GPT, world: World) -> GPT | None:
    """The model with all of its weights, on the first rank; a sharded one is gathered, tensor by tensor."""
    weights = model.state_dict()
    if not any(isinstance(weight, DTensor) for weight in weights.values()):
        return model
    gathered = {}
    for name, weight in weights.items():
        full = weight.full_tensor() if isinstance(weight, DTensor) else weight
        if world.leads:
            gathered[name] = full.cpu()
    if not world.leads:
        return None
    with torch.device("meta"):
        copy = GPT(model.config)
    copy.load_state_dict(gathered, assign=True)
    return copy
