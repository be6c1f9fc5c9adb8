"""The tensors of a `pytorch_model.bin`, or of the authors' `.pkl` files, without torch: where their bytes are.

Two layouts, both of a pickle that names storages (see `opcodes`) and of their bytes: a zip without compression (torch
1.6 and later), and pickles one after another with the storages behind them, each after its length.
"""

import math
import mmap
import os
import zipfile
from pathlib import Path
from typing import IO

from dialogpt.native.opcodes import NotKnown, Tensor, Unpickled, unpickle
from dialogpt.native.stored import Stored

STORAGES = {  # -> type, bytes of a number
    "FloatStorage": ("F32", 4), "HalfStorage": ("F16", 2), "BFloat16Storage": ("BF16", 2), "DoubleStorage": ("", 8),
    "LongStorage": ("", 8), "IntStorage": ("", 4), "ShortStorage": ("", 2), "CharStorage": ("", 1),
    "ByteStorage": ("", 1), "BoolStorage": ("", 1),
}  # fmt: skip
MAGIC = 0x1950A86A20F9469CFC6C  # of files that are not zips
ZIP, PICKLE = b"PK", b"\x80"  # how files begin
LOCAL_HEADER = 30  # bytes of a zip's entry before its name


def find_tensors(path: Path, mapped: mmap.mmap) -> dict[str, Stored]:
    """By name. Raises NotKnown for anything but a plain state dict, and nearly any error when the file is damaged."""
    with path.open("rb") as file:
        zipped = zipfile.is_zipfile(file)
        if not zipped and mapped[:2] == ZIP:
            raise ValueError("it is cut off")
        if not zipped and mapped[:1] != PICKLE:
            raise ValueError("it is not a file of tensors")
        found, begins = _read_zip(file) if zipped else _read_pickles(file)
    state = found.value
    if not isinstance(state, dict) or not all(isinstance(x, Tensor) for x in state.values()):
        raise NotKnown("it is not a dictionary of tensors by name")
    return {name: _stored(name, tensor, begins[tensor.storage.key], len(mapped)) for name, tensor in state.items()}


def _stored(name: str, tensor: Tensor, begin: int, size_bytes: int) -> Stored:
    """Where a tensor is; one whose numbers are not contiguous has a type that is not read."""
    dtype, width = STORAGES[tensor.storage.kind]
    if not _dense(tensor):
        return Stored("", tensor.shape, begin, begin)
    first, count = tensor.offset, math.prod(tensor.shape)
    if first + count > tensor.storage.size:
        raise ValueError(f"{name} is not inside its storage")
    found = Stored(dtype, tensor.shape, begin + width * first, begin + width * (first + count))
    if found.end > size_bytes:
        raise ValueError(f"{name} is not inside the file")
    return found


def _dense(tensor: Tensor) -> bool:
    """Whether a tensor's numbers are contiguous. A dimension of size 1 may have any stride."""
    step = 1
    for size, stride in zip(reversed(tensor.shape), reversed(tensor.strides), strict=True):
        if size > 1 and stride != step:
            return math.prod(tensor.shape) == 0
        step *= size
    return True


def _width(kind: str) -> int:
    if kind not in STORAGES:
        raise NotKnown(f"it names torch.{kind}")
    return STORAGES[kind][1]


def _read_zip(file: IO[bytes]) -> tuple[Unpickled, dict[str, int]]:
    """What is pickled, and where each storage's bytes begin."""
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
            raise NotKnown("it is compressed")  # a few bytes could become gigabytes
        if "byteorder" in entries and archive.read(entries["byteorder"]) != b"little":
            raise NotKnown("its numbers are big-endian")
        with archive.open(entries["data.pkl"]) as pickled:
            found = unpickle(pickled)
    begins = {}
    for key, storage in found.storages.items():
        entry = entries[f"data/{key}"]
        if entry.file_size != _width(storage.kind) * storage.size:
            raise ValueError(f"storage {key} has the wrong length")
        file.seek(entry.header_offset)
        header = file.read(LOCAL_HEADER)
        lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        begins[key] = entry.header_offset + LOCAL_HEADER + lengths
    return found, begins


def _read_pickles(file: IO[bytes]) -> tuple[Unpickled, dict[str, int]]:
    """As `_read_zip`, of the older layout."""
    file.seek(0)
    if unpickle(file).value != MAGIC:
        raise ValueError("it is not a file of tensors")
    _, system = (unpickle(file).value for _ in range(2))
    if not system["little_endian"]:
        raise NotKnown("its numbers are big-endian")
    found, begins = unpickle(file), {}
    for key in unpickle(file).value:
        storage = found.storages[key]
        length = file.read(8)
        if len(length) < 8:
            raise ValueError("it is cut off")
        if int.from_bytes(length, "little") != storage.size:
            raise ValueError(f"storage {key} has the wrong length")
        begins[key] = file.tell()
        file.seek(_width(storage.kind) * storage.size, os.SEEK_CUR)
    return found, begins
