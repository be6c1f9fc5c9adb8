"""Which device and which precision: `auto` made concrete."""

import ctypes
import os
import sys
from contextlib import AbstractContextManager, nullcontext

import torch

from dialogpt.errors import UsageError

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # malloc.h


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
    """`auto` is bfloat16 where the device multiplies it natively, else fp32."""
    if name != "auto":
        return {"fp32": torch.float32, "bf16": torch.bfloat16}[name]
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        native = _cpu_has_bf16()
    else:
        native = False
    return torch.bfloat16 if native else torch.float32


def frugal_with_memory() -> None:
    """Ask the libraries below torch to waste neither time nor memory on a CPU; call it before the first tensor.

    oneDNN keeps the machine code of 1,024 matrix products, one for each shape, 6 MB and more apiece: gigabytes where
    batches have many shapes. glibc maps each large block anew, and page faults then take a third of a training step:
    here it keeps what tensors free. Where it is another libc, or the environment says otherwise, nothing changes.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16")  # oneDNN's own cache, and torch's above it
    os.environ.setdefault("LRU_CACHE_CAPACITY", "16")
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(M_TOP_PAD, 64 << 20)


def peak_memory(device: torch.device) -> int:
    """The most bytes that tensors took on a GPU, or this process on a CPU, up to now; 0 where that is not known."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
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
