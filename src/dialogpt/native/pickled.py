"""The tensors of a `pytorch_model.bin` without torch: where their bytes stand in the file.

Two layouts, both of a pickle that names storages and of their bytes: a zip without compression (torch 1.6 and later),
and pickles one after another with the storages behind them, each after its length. Of what a pickle may call, only the
few functions that make a tensor of a storage are known here, and they are ours: nothing of it is ever run.
"""

import mmap
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from dialogpt.native.stored import Stored

STORAGES = {  # -> type, bytes of a number
    "FloatStorage": ("F32", 4), "HalfStorage": ("F16", 2), "BFloat16Storage": ("BF16", 2), "DoubleStorage": ("", 8),
    "LongStorage": ("", 8), "IntStorage": ("", 4), "ShortStorage": ("", 2), "CharStorage": ("", 1),
    "ByteStorage": ("", 1), "BoolStorage": ("", 1),
}  # fmt: skip
MAGIC = 0x1950A86A20F9469CFC6C  # of files that are no zips
LOCAL_HEADER = 30  # bytes of a zip's entry before its name


class NotKnown(Exception):
    """What torch may know to read."""


class _Storage(NamedTuple):
    kind: str
    key: str
    size: int  # in numbers


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def find_tensors(path: Path, mapped: mmap.mmap) -> dict[str, Stored]:
    """By name. Raises NotKnown for what is no plain state dict, and nearly anything when the file is damaged."""
    with path.open("rb") as file:
        state, begins = _read_zip(file) if zipfile.is_zipfile(file) else _read_pickles(file)
    if not isinstance(state, dict) or not all(isinstance(x, _Tensor) for x in state.values()):
        raise NotKnown("it is no dictionary of tensors by name")
    return {name: _stored(name, tensor, begins[tensor.storage.key], len(mapped)) for name, tensor in state.items()}


def _stored(name: str, tensor: _Tensor, begin: int, size_bytes: int) -> Stored:
    dtype, width = STORAGES[tensor.storage.kind]
    if tensor.strides != _dense(tensor.shape):
        raise NotKnown(f"{name} is a view of another tensor")
    first, count = tensor.offset, int(np.prod(tensor.shape, dtype=np.int64))
    if min(first, *tensor.shape, 0) < 0 or first + count > tensor.storage.size:
        raise ValueError(f"{name} is not inside its storage")
    found = Stored(dtype, tensor.shape, begin + width * first, begin + width * (first + count))
    if found.end > size_bytes:
        raise ValueError(f"{name} is not inside the file")
    return found


def _dense(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a tensor whose numbers stand one after another."""
    return tuple(int(np.prod(shape[place + 1 :], dtype=np.int64)) for place in range(len(shape)))


class _Unpickler(pickle.Unpickler):
    """Makes `_Tensor`s; knows nothing else that a pickle may name."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch._utils", "_rebuild_parameter"): _parameter,
            **{("torch", storage): storage for storage in STORAGES},
        }
        if (module, name) not in known:
            raise NotKnown(f"it names {module}.{name}")
        return known[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        what, kind, key, _, count, *view = pid
        if what != "storage" or any(part is not None for part in view):
            raise NotKnown("it has views of storages")
        return self.storages.setdefault(key, _Storage(kind, key, count))


def _tensor(storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)


def _parameter(data: _Tensor, *_: Any) -> _Tensor:
    return data


def _read_zip(file: IO[bytes]) -> tuple[Any, dict[str, int]]:
    """What is pickled, and where each storage's bytes begin."""
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
        if "byteorder" in entries and archive.read(entries["byteorder"]) != b"little":
            raise NotKnown("its numbers are big-endian")
        with archive.open(entries["data.pkl"]) as pickled:
            unpickler = _Unpickler(pickled)
            state = unpickler.load()
    begins = {}
    for key in unpickler.storages:
        entry = entries[f"data/{key}"]
        if entry.compress_type != zipfile.ZIP_STORED:
            raise NotKnown("it is compressed")
        file.seek(entry.header_offset)
        header = file.read(LOCAL_HEADER)
        lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        begins[key] = entry.header_offset + LOCAL_HEADER + lengths
    return state, begins


def _read_pickles(file: IO[bytes]) -> tuple[Any, dict[str, int]]:
    """As `_read_zip`, of the older layout."""
    file.seek(0)
    if _Unpickler(file).load() != MAGIC:
        raise ValueError("it is no file of tensors")
    _, system = (_Unpickler(file).load() for _ in range(2))
    if not system["little_endian"]:
        raise NotKnown("its numbers are big-endian")
    unpickler = _Unpickler(file)
    state, begins = unpickler.load(), {}
    for key in _Unpickler(file).load():
        storage = unpickler.storages[key]
        if int.from_bytes(file.read(8), "little") != storage.size:
            raise ValueError(f"storage {key} has another length")
        begins[key] = file.tell()
        file.seek(STORAGES[storage.kind][1] * storage.size, os.SEEK_CUR)
    return state, begins
