"""Which device and which precision: `auto` made concrete."""

import sys
from contextlib import AbstractContextManager, nullcontext

import torch

from dialogpt.errors import UsageError


def choose_device(name: str) -> torch.device:
    """`auto` is CUDA, then MPS, then the CPU; a device that is not here is a UsageError."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        first_line = str(error).splitlines()[0]
        raise UsageError(f"--device {name} cannot be used: {first_line}", "try --device auto or cpu") from error
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 where the device multiplies it natively, else fp32; UsageError for other names."""
    known = {"fp32": torch.float32, "bf16": torch.bfloat16}
    if name in known:
        return known[name]
    if name != "auto":
        raise UsageError(
            f"--precision {name} is not known here", "name auto, fp32 or bf16; replies on a CPU have int8 and int4, too"
        )
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        native = _cpu_has_bf16()
    else:
        native = False
    return torch.bfloat16 if native else torch.float32


def peak_memory(device: torch.device) -> int:
    """The most bytes that tensors took on a GPU, or this process on a CPU, up to now; 0 where that is not known.

    MPS tells of no peak: it is what its driver holds for this process, which hardly ever gives any back.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def autocast(device: torch.device, precision: torch.dtype) -> AbstractContextManager[object]:
    """Matrix products in `precision`; nothing at all for fp32."""
    return nullcontext() if precision == torch.float32 else torch.autocast(device.type, precision)


def _cpu_has_bf16() -> bool:
    """Asked of torch by names that are not public and may go; then the answer is no."""
    checks = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
    return any(check() for check in checks if check is not None)
