"""The processes of a run: this one alone, or those that `torchrun` started, one per device.

Every process (rank) has the whole plan of the data and does its share of each step; the first one writes the files and
logs. Gloo joins them on CPUs; on GPUs NCCL does, and Gloo for values on the CPU, which need not wait for the GPUs.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from dialogpt.errors import UsageError
from dialogpt.model.device import choose_device


@dataclass(frozen=True, slots=True)
class World:
    """This process's device and its rank among `size` processes; `joined`: whether there is a process group."""

    device: torch.device
    rank: int = 0
    size: int = 1
    joined: bool = False

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def sum(self, *numbers: float) -> list[float]:
        """The sums of the ranks' numbers, in fp64."""
        if not self.joined:
            return list(numbers)
        total = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(total)
        return total.tolist()

    def total(self, number: Tensor) -> Tensor:
        """The sum of the ranks' scalars, in fp64, on this process's device, without waiting for it."""
        if not self.joined:
            return number
        total = number.double()
        dist.all_reduce(total)
        return total

    def wait(self) -> None:
        """Wait until every rank is here."""
        self.sum(0)

    def tell(self, text: str) -> str:
        """The first rank's value, on every rank."""
        said = [text]
        if self.joined:
            dist.broadcast_object_list(said, device=torch.device("cpu"))
        return said[0]


@contextmanager
def join(device: str) -> Iterator[World]:
    """The world that torchrun's environment describes, or this process alone; left again when the block ends."""
    if "WORLD_SIZE" not in os.environ or "RANK" not in os.environ:
        yield World(choose_device(device))
        return
    rank, size, local = (int(os.environ.get(name, "0")) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    chosen = _own_device(device, local)
    if rank:
        logging.getLogger("dialogpt").setLevel(logging.ERROR)
    dist.init_process_group("cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo")
    try:
        world = World(chosen, rank, size, joined=True)
        yield world
        world.wait()  # no rank leaves while others still need it
    finally:
        dist.destroy_process_group()


def _own_device(name: str, local: int) -> torch.device:
    """The device of the process with this number on its machine: one GPU, the only one it touches, or the CPU.

    UsageError where there is none for it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind == "mps":
        raise UsageError("--device mps is for one process", "start it without torchrun, or add --device cpu")
    if kind != "cuda":
        return choose_device(name)
    if number:
        raise UsageError(f"--device {name} under torchrun names one GPU for all processes", "name --device cuda")
    if local >= (count := torch.cuda.device_count()):
        raise UsageError(
            f"process {local} of this machine has no GPU of its own: there are {count}",
            f"torchrun --nproc-per-node {count}, or --device cpu" if count else "--device cpu",
        )
    return choose_device(f"cuda:{local}")
