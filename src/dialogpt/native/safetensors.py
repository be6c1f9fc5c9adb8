"""The tensors of a safetensors file: their bytes as they are, in types that numpy may not have.

Layout: 8 bytes of length, a JSON header of that length (name -> dtype, shape, place), the tensors.
"""

import math
import mmap

import msgspec

from dialogpt.native.stored import TYPES, Stored

LONGEST_HEADER = 100 << 20  # bytes, as the format has it


class _Entry(msgspec.Struct):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def find_tensors(mapped: mmap.mmap) -> dict[str, Stored]:
    """By name; ValueError or msgspec.DecodeError when the file is damaged."""
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
        if size and end - begin != size * math.prod(entry.shape):
            raise ValueError(f"{name} has {end - begin} bytes for the shape {list(entry.shape)} of {entry.dtype}")
        found[name] = Stored(entry.dtype, entry.shape, begin, end)
    return found
