"""How the libraries below use memory. Without torch: it runs before torch is imported, or without it."""

import ctypes
import os

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # malloc.h


def frugal_with_memory() -> None:
    """Set the libraries below torch to save time and memory on a CPU; call it before the first tensor.

    oneDNN keeps the machine code of 1,024 matrix products, one for each shape, 6 MB and more apiece: gigabytes where
    batches have many shapes. glibc maps each large block anew, and page faults then take a third of a training step:
    here it keeps what tensors free. With another libc, or if the environment says otherwise, nothing changes.
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
