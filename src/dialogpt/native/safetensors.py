"""The tensors of a safetensors file, mapped: their bytes as they stand there, in types that numpy may not have.

Layout: 8 bytes of length, a JSON header of that length (name -> dtype, shape, place), the tensors.
"""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from dialogpt.errors import CheckpointError

TYPES = {"F32": (0, 4), "F16": (1, 2), "BF16": (2, 2)}  # -> number in csrc/pack.h, bytes
LONGEST_HEADER = 100 << 20  # bytes, as the format has it


class Stored(NamedTuple):
    """A tensor in a file: where its bytes begin and end."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class _Entry(msgspec.Struct):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


class Mapped:
    """An open file of tensors by name; `release` gives back the memory that reading one took."""

    def __init__(self, path: Path, tensors: dict[str, Stored], map: mmap.mmap) -> None:
        self.path, self.tensors, self._map = path, tensors, map

    def bytes_of(self, name: str) -> NDArray[np.uint8]:
        stored = self.tensors[name]
        return np.frombuffer(self._map, np.uint8, stored.end - stored.begin, stored.begin)

    def release(self) -> None:
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


@contextmanager
def open_tensors(path: Path) -> Iterator[Mapped]:
    """Map a file; CheckpointError when it is damaged."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            yield Mapped(path, _tensors(mapped), mapped)
    except (OSError, ValueError, msgspec.DecodeError) as error:
        raise CheckpointError(
            f"the weights in {path.parent} do not load: {error}", "the file is damaged; fetch it again"
        ) from error


def _tensors(mapped: mmap.mmap) -> dict[str, Stored]:
    length = int.from_bytes(mapped[:8], "little")
    if len(mapped) < 8 or length > min(LONGEST_HEADER, len(mapped) - 8):
        raise ValueError(f"its header of {length} bytes is longer than the file")
    header = msgspec.json.decode(mapped[8 : 8 + length], type=dict[str, msgspec.Raw])
    header.pop("__metadata__", None)
    found = {}
    for name, raw in header.items():
        entry = msgspec.json.decode(raw, type=_Entry)
        begin, end = (8 + length + offset for offset in entry.data_offsets)
        size = TYPES[entry.dtype][1] if entry.dtype in TYPES else 0
        if not 8 + length <= begin <= end <= len(mapped) or min(entry.shape, default=0) < 0:
            raise ValueError(f"{name} is not inside the file")
        if size and end - begin != size * int(np.prod(entry.shape, dtype=np.int64)):
            raise ValueError(f"{name} has {end - begin} bytes for the shape {list(entry.shape)} of {entry.dtype}")
        found[name] = Stored(entry.dtype, entry.shape, begin, end)
    return found
