"""A tensor in a file, as its bytes stand there."""

from typing import NamedTuple

TYPES = {"F32": (0, 4), "F16": (1, 2), "BF16": (2, 2)}  # that are read here -> number in csrc/pack.h, bytes


class Stored(NamedTuple):
    """Its type, `""` for one that is not read here, and where its bytes begin and end."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int
