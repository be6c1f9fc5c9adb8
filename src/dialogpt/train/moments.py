"""AdamW's moments on disk: per rank a safetensors file of its rows, which any number of ranks can read.

    optimizer-00000-of-00004.safetensors     exp_avg/NAME and exp_avg_sq/NAME, fp32: rank 0's rows of each parameter

A run that is not sharded has one file, of all rows. Ranks have equally many rows in order, the last ones fewer
(FSDP2's rule).
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor

from dialogpt.errors import DataError
from dialogpt.model.gpt import GPT

KEYS = ("exp_avg", "exp_avg_sq")


def save_moments(folder: Path, model: GPT, optimizer: torch.optim.Optimizer, rank: int, size: int) -> None:
    """Write the rank's rows; of a model that is not sharded, the first rank writes all."""
    sharded = any(isinstance(parameter, DTensor) for parameter in model.parameters())
    if rank and not sharded:
        return
    tensors = {
        f"{key}/{name}": _local(moment).contiguous().cpu()
        for name, parameter in model.named_parameters()
        for key, moment in optimizer.state[parameter].items()
        if key in KEYS
    }
    name = f"optimizer-{rank:05}-of-{size if sharded else 1:05}.safetensors"
    try:
        save_file(tensors, folder / name)
    except SafetensorError as error:  # also raised for a full disk
        raise OSError(f"{name}: {error}") from error


def load_moments(folder: Path, model: GPT, optimizer: torch.optim.Optimizer, updates: int) -> None:
    """Put what `save_moments` wrote after `updates` steps into the optimizer, however many ranks wrote it."""
    paths = sorted(folder.glob("optimizer-*.safetensors"))
    try:
        with ExitStack() as stack:
            files = [stack.enter_context(safe_open(path, "pt")) for path in paths]
            if not files or len(files) != int(paths[0].stem.rpartition("-")[2]):
                raise FileNotFoundError(f"{len(files)} optimizer-*.safetensors files are there")
            for name, parameter in model.named_parameters():
                state: dict[str, Any] = {key: _read(files, f"{key}/{name}", parameter) for key in KEYS}
                optimizer.state[parameter] = {"step": torch.tensor(float(updates), device=parameter.device), **state}
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        first_line = str(error).partition("\n")[0]
        raise DataError(
            f"the optimizer's state in {folder} does not load: {first_line}",
            f"delete {folder} to resume from the one before",
        ) from error


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _read(files: Sequence[Any], key: str, parameter: Tensor) -> Tensor:
    """The rows of `key` that this rank has of the parameter."""
    first, rows = _rows(parameter)
    found, start = [], 0
    for file in files:
        part = file.get_slice(key)
        end = start + part.get_shape()[0]
        if start < first + rows and first < end:
            found.append(part[max(first - start, 0) : min(first + rows, end) - start])
        start = end
    if start != parameter.shape[0]:
        raise ValueError(f"{key} has {start} rows of {parameter.shape[0]}")
    local = torch.cat(found) if found else torch.empty(0, *parameter.shape[1:])
    local = local.to(parameter.device, parameter.dtype)
    if not isinstance(parameter, DTensor):
        return local
    return DTensor.from_local(
        local, parameter.device_mesh, parameter.placements, shape=parameter.shape, stride=parameter.stride()
    )


def _rows(parameter: Tensor) -> tuple[int, int]:
    """The first of this rank's rows, and their number."""
    if not isinstance(parameter, DTensor):
        return 0, parameter.shape[0]
    mesh = parameter.device_mesh
    each = -(-parameter.shape[0] // mesh.size())
    return min(mesh.get_local_rank() * each, parameter.shape[0]), parameter.to_local().shape[0]
