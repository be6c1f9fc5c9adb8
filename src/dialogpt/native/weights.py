"""A checkpoint's tensors, mapped: of a folder's model.safetensors or pytorch_model.bin, of their parts, or of a single
pickled file. Without torch."""

import mmap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dialogpt.errors import CheckpointError
from dialogpt.model.files import PICKLED, SAFE, todays_names, weight_files
from dialogpt.native import pickled, safetensors
from dialogpt.native.opcodes import NotKnown
from dialogpt.native.stored import TYPES, Stored, in_type

POINTER = b"version https://git-lfs."  # what a clone has instead of a large file
PIECE = 1 << 22  # numbers compared at a time


class Mapped:
    """Open files of tensors by name; `release` frees the memory that reading one took."""

    def __init__(self) -> None:
        self.tensors: dict[str, Stored] = {}
        self._maps: dict[str, mmap.mmap] = {}

    def add(self, tensors: dict[str, Stored], map: mmap.mmap) -> None:
        self.tensors |= tensors
        self._maps |= dict.fromkeys(tensors, map)

    def bytes_of(self, name: str) -> NDArray[np.uint8]:
        stored = self.tensors[name]
        return np.frombuffer(self._maps[name], np.uint8, stored.end - stored.begin, stored.begin)

    def same(self, name: str, other: str) -> bool:
        """Whether two tensors are equal in the narrower of their types; some of them is in memory at a time."""
        one, two = self.tensors[name], self.tensors[other]
        if self._maps[name] is self._maps[other] and one == two:
            return True
        narrow = min(one.dtype, two.dtype, key=lambda dtype: TYPES[dtype][1])
        return one.shape == two.shape and all(
            np.array_equal(in_type(a, one.dtype, narrow), in_type(b, two.dtype, narrow))
            for a, b in zip(self._pieces(name), self._pieces(other), strict=True)
        )

    def _pieces(self, name: str) -> Iterator[NDArray[np.uint8]]:
        size = PIECE * TYPES[self.tensors[name].dtype][1]
        found = self.bytes_of(name)
        return (found[begin : begin + size] for begin in range(0, len(found), size))

    def release(self) -> None:
        if hasattr(mmap, "MADV_DONTNEED"):
            for map in set(self._maps.values()):
                map.madvise(mmap.MADV_DONTNEED)


@contextmanager
def open_weights(source: Path) -> Iterator[Mapped]:
    """Map a folder's files, or one; CheckpointError for what is missing or damaged, NotKnown if torch may read it."""
    found = Mapped()
    with ExitStack() as opened:
        for path in weight_files(source):
            try:
                file = opened.enter_context(path.open("rb"))
                map = opened.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
                if map[: len(POINTER)] == POINTER:
                    raise ValueError("it is a pointer of Git LFS, for which `git lfs pull` fetches the file")
                found.add(_tensors(path, map), map)
            except NotKnown:
                raise
            except OSError as error:
                raise CheckpointError(
                    f"the weights in {path} cannot be read: {error.strerror or error}",
                    "check the file and its permissions",
                ) from error
            except Exception as error:  # a damaged pickle raises nearly anything
                reason = f"it has no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
                hint = "the file is damaged; fetch it again"
                if source.is_file() and source.suffix not in PICKLED:
                    hint = "name a checkpoint folder, or a .pkl file of weights"
                raise CheckpointError(f"the weights in {path} do not load: {reason}", hint) from error
        yield found


def _tensors(path: Path, map: mmap.mmap) -> dict[str, Stored]:
    tensors = safetensors.find_tensors(map) if path.suffix == SAFE else pickled.find_tensors(path, map)
    names = todays_names(tensors)
    return {names[name]: stored for name, stored in tensors.items()}
