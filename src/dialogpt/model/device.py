"""Which device and which precision: `auto` made concrete."""

import logging
import math
import os
import shutil
import sys
import sysconfig
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path

import torch

from dialogpt.allotment import time_share
from dialogpt.errors import UsageError

log = logging.getLogger(__name__)

TRITON_CAPABILITY = (7, 0)  # compute capability of a V100; later cards have more


def choose_device(name: str) -> torch.device:
    """`auto` is CUDA, then MPS, then the CPU: the first that works. Another that does not is a UsageError.

    For the whole process: on CUDA, cuDNN's attention is turned off, which makes a new plan for each of the many shapes;
    on a CPU, torch gets no more threads than the process has processor time for.
    """
    if name == "auto":
        for kind, there in (("cuda", torch.cuda.is_available), ("mps", torch.backends.mps.is_available)):
            if there():
                try:
                    return choose_device(kind)
                except UsageError as error:
                    log.warning("%s; going on without it", error.message)
        name = "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is not None and torch.cuda.is_available():
            torch.cuda.set_device(device)  # first: a name without a device would mean the first GPU
        torch.zeros(1, device=device).add_(1)  # tensors also fit on a card that this torch has no kernels for
    except (RuntimeError, AssertionError) as error:
        first_line = str(error).splitlines()[0]
        raise UsageError(f"--device {name} cannot be used: {first_line}", "try --device auto or cpu") from error
    if device.type == "cuda":
        torch.backends.cuda.enable_cudnn_sdp(False)
    elif device.type == "cpu" and (share := time_share()) < torch.get_num_threads():
        torch.set_num_threads(max(1, math.ceil(share)))
    return device


def compiler_missing(device: torch.device) -> str | None:
    """Why torch.compile cannot make kernels for a CUDA device; None if nothing is known to be missing."""
    if find_spec("triton") is None:
        return "Triton is not installed"
    if torch.version.hip is None and torch.cuda.get_device_capability(device) < TRITON_CAPABILITY:
        return "Triton has no code for a card this old"
    if not any(map(shutil.which, filter(None, (os.environ.get("CC"), "gcc", "clang")))):
        return "there is no C compiler (gcc or clang)"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return "Python's headers are missing (Debian and Ubuntu: python3-dev)"
    return None


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 where the device multiplies it natively, else fp32; UsageError for other names."""
    known = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if name in known:
        return known[name]
    if name != "auto":
        raise UsageError(
            f"--precision {name} is not known here",
            "name auto, fp32, bf16 or fp16; replies on a CPU have int8 and int4, too",
        )
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        native = _cpu_has_bf16()
    else:
        native = False
    return torch.bfloat16 if native else torch.float32


def peak_memory(device: torch.device) -> int:
    """The most bytes that tensors took on a GPU, or this process on a CPU, up to now; 0 if unknown.

    MPS does not report a peak: it is what its driver holds for this process, and it hardly ever gives memory back.
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
    """Asked of torch by private names, which may disappear; then the answer is no."""
    checks = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
    return any(check() for check in checks if check is not None)
