"""A tensor in a file, as its bytes are."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

TYPES = {"F32": (0, 4), "F16": (1, 2), "BF16": (2, 2)}  # that are read here -> number in csrc/pack.h, bytes


class Stored(NamedTuple):
    """Its type, `""` for one that is not read here, and where its bytes begin and end."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def in_type(numbers: NDArray[np.uint8], dtype: str, other: str) -> NDArray[np.uint8]:
    """The bytes of numbers of one type as those of another, rounded to the nearest as torch does."""
    if dtype == other:
        return numbers
    if dtype == "BF16":
        values = (numbers.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    else:
        values = numbers.view(np.float16 if dtype == "F16" else np.float32).astype(np.float32)
    if other == "BF16":
        bits = values.view(np.uint32)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16).view(np.uint8)
    with np.errstate(over="ignore"):
        return values.astype(np.float16 if other == "F16" else np.float32).view(np.uint8)
