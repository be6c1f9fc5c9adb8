"""A checkpoint's weights in 8 bits or 4, in a file that is mapped: made once, beside the checkpoint.

The file is a header of 4,096 bytes (JSON, padded by zeros) and the weights as csrc/layout.h places them. The header
names the layout's version, the model's shape and the digest of what it was made from; a file whose header says anything
else, or that is too short, is made anew. Where the checkpoint's folder cannot be written, the file is in the user's
cache folder; where that cannot be written either, it is temporary. It is filled tensor by tensor, so that no more than
one of them is in memory beside it.
"""

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

from dialogpt.artifact import atomic_file, lock_file, remove_left
from dialogpt.errors import CheckpointError, DataError, UsageError
from dialogpt.model import GPTConfig
from dialogpt.model.config import NOT_WEIGHTS, TRANSPOSED, check_names_and_shapes, expected_shapes
from dialogpt.model.files import weight_files
from dialogpt.native.library import Shape, call, pointer, threads
from dialogpt.native.opcodes import NotKnown
from dialogpt.native.stored import TYPES
from dialogpt.native.weights import Mapped, open_weights

VERSION = 1  # of the layout in csrc/layout.h: to be raised when that changes
HEADER = 4096  # bytes
NAMES = {8: "model.int8", 4: "model.int4"}  # by the bits of a weight
SAMPLES, SAMPLE = 16, 4096  # bytes of a digest, evenly over the file
LINEAR = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
NORMS = ("ln_1", "ln_2")


class Header(msgspec.Struct, frozen=True):
    """What a packed file says of itself."""

    version: int
    shape: tuple[int, int, int, int, int, float]
    digest: str
    size_bytes: int
    bits: int = 8


def supported(folder: Path) -> bool:
    """Whether the folder's weights are in files and a precision that are read here; torch reads others too."""
    try:
        with open_weights(folder) as mapped:
            used = {*_of_model(mapped, folder).values(), *({"lm_head.weight"} & mapped.tensors.keys())}
            return all(mapped.tensors[name].dtype in TYPES for name in used)
    except NotKnown:
        return False


@contextmanager
def packed(folder: Path, config: GPTConfig, bits: int) -> Iterator[Path]:
    """The packed file of a checkpoint folder, which may go when the block ends: it is opened in the block."""
    header = _header(folder, config, bits)
    places = [folder / NAMES[bits]]
    if (cache := _cache_folder()) is not None:
        places.append(cache / f"{header.digest}.int{bits}")
    for place in places:
        if _fits(place, header):
            yield place
            return
    for place in places:
        if _write(place, folder, config, header):
            yield place
            return
    with tempfile.TemporaryDirectory(prefix="dialogpt-") as temporary:
        place = Path(temporary) / NAMES[bits]
        if not _write(place, folder, config, header):
            raise DataError(f"{place} cannot be written", f"{header.size_bytes / 1e6:,.0f} MB are needed")
        yield place


def _header(folder: Path, config: GPTConfig, bits: int) -> Header:
    shape = Shape.of(config, bits)
    sizes = (config.vocab_size, config.n_ctx, config.n_layer, config.n_head, config.n_embd, config.layer_norm_eps)
    size_bytes = HEADER + call("packed_bytes", shape.address)
    return Header(VERSION, sizes, digest(weight_files(folder)), size_bytes, bits)


def digest(files: Sequence[Path]) -> str:
    """Of files' sizes, their times, their first and last bytes and samples between them: cheap for gigabytes."""
    found = hashlib.blake2b(digest_size=16)
    for file in files:
        known = file.stat()
        found.update(f"{known.st_size} {known.st_mtime_ns}".encode())
        with file.open("rb") as opened:
            for number in range(SAMPLES + 1):
                opened.seek(max(known.st_size - SAMPLE, 0) * number // SAMPLES)
                found.update(opened.read(SAMPLE))
    return found.hexdigest()


def _fits(place: Path, header: Header) -> bool:
    try:
        with place.open("rb") as file:
            found = msgspec.json.decode(file.read(HEADER).rstrip(b"\0"), type=Header)
            return found == header and os.fstat(file.fileno()).st_size == header.size_bytes
    except (OSError, msgspec.DecodeError):
        return False


def _cache_folder() -> Path | None:
    """The user's; None where he has no home, as a mere number in a container."""
    try:
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "dialogpt"
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dialogpt"
    except RuntimeError:
        return None


def _write(place: Path, folder: Path, config: GPTConfig, header: Header) -> bool:
    """Make the packed file at `place`, whole or not at all; False where it cannot be written."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        remove_left(place)
        with atomic_file(place) as partial, partial.open("w+b") as file:
            with suppress(UsageError):  # who removes what is left has it for a moment
                lock_file(file.fileno(), place)
            _reserve(file, header.size_bytes)
            body = np.memmap(file, np.uint8, "r+", HEADER, (header.size_bytes - HEADER,))
            with open_weights(folder) as mapped:
                _fill(body, mapped, folder, config, header.bits)
            body.flush()
            del body
            file.seek(0)
            file.write(msgspec.json.encode(header).ljust(HEADER, b"\0"))
            file.flush()
            _forget(file)
    except (OSError, DataError):
        return False
    return True


def _reserve(file: BinaryIO, size: int) -> None:
    """Have the disk's room beforehand: a mapped page that finds none kills the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        for _ in range(0, size, 1 << 20):
            file.write(bytes(1 << 20))
        file.truncate(size)


def _forget(file: BinaryIO) -> None:
    """Have the system drop its copy of a file, which stands in small pages as written, and read it in large ones."""
    if hasattr(os, "posix_fadvise"):
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _of_model(mapped: Mapped, folder: Path) -> dict[str, str]:
    """Our names of a model's tensors -> those in the files, without masks and without the repeated embedding.

    CheckpointError when two names mean one weight: the one that is checked might not be the one that is read.
    """
    found: dict[str, str] = {}
    for name in mapped.tensors:
        if name.endswith(NOT_WEIGHTS) or name == "lm_head.weight":
            continue
        ours = name if name.startswith("transformer.") else f"transformer.{name}"
        if ours in found:
            raise CheckpointError(
                f"the weights in {folder} have {name} and {found[ours]}, which mean one weight", "leave one of them out"
            )
        found[ours] = name
    return found


def _fill(
    body: np.memmap[tuple[int], np.dtype[np.uint8]], mapped: Mapped, folder: Path, config: GPTConfig, bits: int
) -> None:
    """Put each tensor of a checkpoint into its place; CheckpointError when they are not those of the model."""
    names = check(mapped, folder, config)
    shape, workers = Shape.of(config, bits), threads()

    def put(layer: int, name: str, weight: str, bias: str | None = None) -> None:
        arguments: list[int | None] = []
        for tensor in (weight, bias):
            if tensor is None:
                arguments += [None, 0]
                continue
            name_there = names[f"transformer.{tensor}"]
            arguments += [pointer(mapped.bytes_of(name_there)), TYPES[mapped.tensors[name_there].dtype][0]]
        call("pack", shape.address, pointer(body), layer, name.encode(), *arguments, workers)
        mapped.release()

    put(0, "wte", "wte.weight")
    put(0, "wpe", "wpe.weight")
    put(0, "ln_f", "ln_f.weight", "ln_f.bias")
    for layer in range(config.n_layer):
        for name in (*LINEAR, *NORMS):
            put(layer, name, f"h.{layer}.{name}.weight", f"h.{layer}.{name}.bias")


def check(mapped: Mapped, folder: Path, config: GPTConfig) -> dict[str, str]:
    """Our names -> those in the files; CheckpointError when the tensors are not what the configuration asks for."""
    names = _of_model(mapped, folder)
    stored = {ours: mapped.tensors[name].shape for ours, name in names.items()}
    shapes = {name: shape[::-1] if name.endswith(TRANSPOSED) else shape for name, shape in stored.items()}
    check_names_and_shapes(folder, shapes, expected_shapes(config))
    if "lm_head.weight" in mapped.tensors and not mapped.same("lm_head.weight", names["transformer.wte.weight"]):
        raise CheckpointError(
            f"{folder}: lm_head.weight is not the token embedding", "only models whose output layer is tied work"
        )
    return names
