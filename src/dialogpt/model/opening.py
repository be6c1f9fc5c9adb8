"""A checkpoint's name -> the torch engine that runs it, with its tokenizer."""

import torch

from dialogpt.errors import UsageError
from dialogpt.model import checkpoint
from dialogpt.model.device import choose_device, choose_precision
from dialogpt.model.engine import TorchEngine
from dialogpt.model.quantize import quantize
from dialogpt.tokens.bpe import Tokenizer

WORTH_8_BITS = 512  # n_embd from which 8-bit weights are faster: below it, reading weights is not the bottleneck


def open_engine(
    name: str | None, device: str, precision: str, *, ranker: bool = False
) -> tuple[TorchEngine, Tokenizer]:
    """Open a model (see `hub.model_path`) on a device; `auto` precision is the fastest that costs next to no quality.

    That is 8-bit weights on a CPU with instructions for them, where the model is large enough, and bfloat16 on a GPU.
    """
    place = choose_device(device)
    if precision == "int8" and place.type != "cpu":
        raise UsageError("--precision int8 is for a CPU", "leave it out, or add --device cpu")
    if precision == "fp16" and place.type == "cpu":
        raise UsageError("--precision fp16 is for a GPU", "leave it out, or use bf16")
    model, tokenizer = checkpoint.load(name, mapped=True, ranker=ranker)
    if precision == "int8" or (precision == "auto" and place.type == "cpu" and _worth_8_bits(model.config.n_embd)):
        return TorchEngine(quantize(model)), tokenizer
    dtype = torch.float32 if precision == "auto" and place.type == "cpu" else choose_precision(precision, place)
    return TorchEngine(model.to(place, dtype), replays=place.type == "cuda"), tokenizer


def _worth_8_bits(n_embd: int) -> bool:
    return n_embd >= WORTH_8_BITS and torch.cpu._is_vnni_supported()
