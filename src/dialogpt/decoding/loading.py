"""A model's name -> the engine that runs it, with its tokenizer."""

from pathlib import Path

import torch

from dialogpt.errors import UsageError
from dialogpt.hub import model_folder, model_path
from dialogpt.model import checkpoint
from dialogpt.model.device import choose_device, choose_precision
from dialogpt.model.engine import TorchEngine
from dialogpt.model.quantize import quantize
from dialogpt.tokens.bpe import Tokenizer

BACKWARD = "backward"  # the folder of a checkpoint's backward companion, inside the checkpoint's
WORTH_8_BITS = 512  # n_embd from which on 8-bit weights are faster: below, reading weights is not what takes the time


def load_engine(name: str | None, *, device: str = "auto", precision: str = "auto") -> tuple[TorchEngine, Tokenizer]:
    """Open a model (see `hub.model_path`) on a device; `auto` precision is the fastest that costs next to no quality.

    That is 8-bit weights on a CPU with instructions for them, where the model is large enough, and bfloat16 on a GPU.
    """
    place = choose_device(device)
    if precision == "int8" and place.type != "cpu":
        raise UsageError("--precision int8 is for a CPU", "leave it out, or add --device cpu")
    model, tokenizer = checkpoint.load(name or None, mapped=True)
    if precision == "int8" or (precision == "auto" and place.type == "cpu" and _worth_8_bits(model.config.n_embd)):
        return TorchEngine(quantize(model)), tokenizer
    dtype = torch.float32 if precision == "auto" and place.type == "cpu" else choose_precision(precision, place)
    return TorchEngine(model.to(place, dtype)), tokenizer


def load_backward(
    name: str, forward: str | None, *, device: str = "auto", precision: str = "auto"
) -> tuple[TorchEngine, Tokenizer]:
    """Open the backward model of that name, or the companion of the forward model.

    It reads texts, so its vocabulary may be its own.
    """
    if not name:
        companion = companion_of(forward)
        if companion is None:
            raise UsageError(
                f"{forward} has no backward companion, which --mmi asks for",
                "train one with `dialogpt train --reverse` and name it by --backward",
            )
        name = str(companion)
    return load_engine(name, device=device, precision=precision)


def companion_of(model: str | None) -> Path | None:
    """The folder of a model's backward companion, or None where it has none."""
    companion = model_folder(model) / BACKWARD
    return companion if not model_path(model).is_file() and (companion / "config.json").is_file() else None


def _worth_8_bits(n_embd: int) -> bool:
    return n_embd >= WORTH_8_BITS and torch.cpu._is_vnni_supported()
