"""A checkpoint's weights in 8 bits or 4, in a file that is mapped: made once, beside the checkpoint.

The file is a header of 4,096 bytes (JSON, padded by zeros) and the weights as csrc/layout.h places them. The header
names the layout's version, the model's shape, the digest of what it was made from, and the weights' checksum; a file
with another header, or one that is too short or damaged, is made again. If the checkpoint's folder cannot be written,
the file is in the user's cache folder; if that cannot be written either, it is temporary. It is filled tensor by
tensor, so at most one of them is in memory beside it.
"""

import hashlib
import mmap
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from dialogpt.artifact import atomic_file
from dialogpt.errors import CheckpointError, DataError
from dialogpt.model import GPTConfig
from dialogpt.model.config import (
    OUTPUT,
    SCORE,
    TRANSPOSED,
    Shapes,
    check_names_and_shapes,
    check_output,
    check_ranker,
    expected_shapes,
    load_config,
    our_name,
    shape_of,
    with_score,
)
from dialogpt.model.files import weight_files
from dialogpt.native.library import Shape, call, pointer
from dialogpt.native.opcodes import NotKnown
from dialogpt.native.stored import TYPES, in_type
from dialogpt.native.weights import Mapped, open_weights
from dialogpt.processors import threads

VERSION = 1  # of the layout in csrc/layout.h: raise it when that changes
HEADER = 4096  # bytes
NAMES = {8: "model.int8", 4: "model.int4"}  # by the bits of a weight
SAMPLES, SAMPLE = 16, 4096  # bytes of each sample of a digest, evenly spread over the file
LINEAR = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
NORMS = ("ln_1", "ln_2")
Body = np.memmap[tuple[int], np.dtype[np.uint8]]  # of a packed file: all behind its header


class Header(msgspec.Struct, frozen=True):
    """What a packed file says about itself."""

    version: int
    shape: tuple[int, int, int, int, int, float]
    digest: str
    size_bytes: int
    bits: int = 8
    sum: int | None = None


def readable(source: Path, *, ranker: bool | None = False) -> GPTConfig | None:
    """The shape of a folder's or a single file's model; None for files and precisions that only torch may read.

    ranker: whether it must be one (`check_ranker`), whose shape is then `with_score`; None: either, as it is.
    """
    config = None if source.is_file() else load_config(source)
    try:
        with open_weights(source) as mapped:
            names = _of_model(mapped, source)
            config = config or shape_of(source, _shapes(mapped, names))
            score = mapped.tensors.get(SCORE)
            check_ranker(source, score and score.shape, config.n_embd, wanted=ranker)
            used = {*names.values(), *({OUTPUT, SCORE} & mapped.tensors.keys())}
            if any(mapped.tensors[name].dtype not in TYPES for name in used):
                return None
            return with_score(config) if ranker else config
    except NotKnown:
        return None


@contextmanager
def packed(source: Path, config: GPTConfig, bits: int) -> Iterator[Path]:
    """The packed file of a checkpoint, to be opened in the block, after which it may be deleted."""
    header = _header(source, config, bits)
    places = [source.with_name(f"{source.name}.int{bits}") if source.is_file() else source / NAMES[bits]]
    if (cache := _cache_folder()) is not None:
        places.append(cache / f"{header.digest}.int{bits}")
    for place in places:
        if _fits(place, header):
            yield place
            return
    for place in places:
        if _write(place, source, config, header):
            yield place
            return
    with tempfile.TemporaryDirectory(prefix="dialogpt-") as temporary:
        place = Path(temporary) / NAMES[bits]
        if not _write(place, source, config, header):
            raise DataError(f"{place} cannot be written", f"{header.size_bytes / 1e6:,.0f} MB are needed")
        yield place


def _header(source: Path, config: GPTConfig, bits: int) -> Header:
    shape = Shape.of(config, bits)
    sizes = (config.vocab_size, config.n_ctx, config.n_layer, config.n_head, config.n_embd, config.layer_norm_eps)
    size_bytes = HEADER + call("packed_bytes", shape.address)
    return Header(VERSION, sizes, digest(weight_files(source)), size_bytes, bits)


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
            if replace(found, sum=None) != header or os.fstat(file.fileno()).st_size != header.size_bytes:
                return False
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as map:
                if hasattr(mmap, "MADV_HUGEPAGE"):  # as the engine maps it, for whom this reads it
                    map.madvise(mmap.MADV_HUGEPAGE)
                return found.sum == _sum(np.frombuffer(map, np.uint8, offset=HEADER))
    except (OSError, msgspec.DecodeError):
        return False


def _sum(body: NDArray[np.uint8]) -> int:
    """A checksum of the weights as 8-byte numbers: any changed bit changes it; as fast as memory."""
    whole = len(body) // 8 * 8
    return int(np.add.reduce(body[:whole].view(np.uint64))) + int(np.add.reduce(body[whole:], dtype=np.uint64))


def _cache_folder() -> Path | None:
    """The user's; None without a home folder, as for a user who is only a number in a container."""
    try:
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "dialogpt"
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dialogpt"
    except RuntimeError:
        return None


def _write(place: Path, source: Path, config: GPTConfig, header: Header) -> bool:
    """Make the packed file at `place`, whole or not at all; False if it cannot be written."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(place) as partial, partial.open("w+b") as file:
            _reserve(file, header.size_bytes)
            body = np.memmap(file, np.uint8, "r+", HEADER, (header.size_bytes - HEADER,))
            with open_weights(source) as mapped:
                _fill(body, mapped, source, config, header.bits)
            body.flush()
            written = replace(header, sum=_sum(body))
            del body
            file.seek(0)
            file.write(msgspec.json.encode(written).ljust(HEADER, b"\0"))
            file.flush()
            _forget(file)
    except (OSError, DataError):
        return False
    return True


def _reserve(file: BinaryIO, size: int) -> None:
    """Reserve disk space beforehand: a mapped page without any kills the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        for _ in range(0, size, 1 << 20):
            file.write(bytes(1 << 20))
        file.truncate(size)


def _forget(file: BinaryIO) -> None:
    """Have the system drop its cached copy of a written file, in small pages, and read it again in large ones."""
    if hasattr(os, "posix_fadvise"):
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _of_model(mapped: Mapped, source: Path) -> dict[str, str]:
    """Our names of a model's tensors -> those in the files, without masks and without the repeated embedding.

    CheckpointError when two names mean one weight: the one that is checked might not be the one that is read.
    """
    found: dict[str, str] = {}
    for name in mapped.tensors:
        if (ours := our_name(name)) is None:
            continue
        if ours in found:
            raise CheckpointError(
                f"the weights in {source} have {name} and {found[ours]}, which are the same weight",
                "leave one of them out",
            )
        found[ours] = name
    return found


def _fill(body: Body, mapped: Mapped, source: Path, config: GPTConfig, bits: int) -> None:
    """Put each tensor of a checkpoint into its place; CheckpointError when they are not those of the model."""
    names = check(mapped, source, config)
    shape, workers = Shape.of(config, bits), threads()

    def pack(layer: int, name: str, *tensors: tuple[NDArray[np.uint8], str]) -> None:
        arguments: list[int | None] = [
            argument for numbers, dtype in tensors for argument in (pointer(numbers), TYPES[dtype][0])
        ]
        arguments += [None, 0] * (2 - len(tensors))
        call("pack", shape.address, pointer(body), layer, name.encode(), *arguments, workers)
        mapped.release()

    def put(layer: int, name: str, *tensors: str) -> None:
        there = [names[f"transformer.{tensor}"] for tensor in tensors]
        pack(layer, name, *((mapped.bytes_of(name), mapped.tensors[name].dtype) for name in there))

    pack(0, "wte", _embedding(mapped, names["transformer.wte.weight"]))
    put(0, "wpe", "wpe.weight")
    put(0, "ln_f", "ln_f.weight", "ln_f.bias")
    for layer in range(config.n_layer):
        for name in (*LINEAR, *NORMS):
            put(layer, name, f"h.{layer}.{name}.weight", f"h.{layer}.{name}.bias")


def check(mapped: Mapped, source: Path, config: GPTConfig) -> dict[str, str]:
    """Our names -> those in the files; CheckpointError when the tensors are not what the configuration asks for."""
    names = _of_model(mapped, source)
    expected, embedding = expected_shapes(config), "transformer.wte.weight"
    ranker = SCORE in mapped.tensors
    expected[embedding] = (config.vocab_size - ranker, config.n_embd)  # see `with_score`
    check_names_and_shapes(source, _shapes(mapped, names), expected)
    if not ranker:
        check_output(source, mapped.same(OUTPUT, names[embedding]) if OUTPUT in mapped.tensors else None)
    return names


def _embedding(mapped: Mapped, name: str) -> tuple[NDArray[np.uint8], str]:
    """The bytes of the token embedding and their type; a ranker's score is an additional row."""
    numbers, dtype = mapped.bytes_of(name), mapped.tensors[name].dtype
    if SCORE in mapped.tensors:
        score = in_type(mapped.bytes_of(SCORE), mapped.tensors[SCORE].dtype, dtype)
        numbers = np.concatenate([numbers, score])
    return numbers, dtype


def _shapes(mapped: Mapped, names: dict[str, str]) -> Shapes:
    """By our names, linear ones as (out, in)."""
    stored = {ours: mapped.tensors[name].shape for ours, name in names.items()}
    return {name: shape[::-1] if name.endswith(TRANSPOSED) else shape for name, shape in stored.items()}
