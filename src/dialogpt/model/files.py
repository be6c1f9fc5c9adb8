"""Which files hold a checkpoint's weights, and what the names in them mean: without torch, for engines that have none.

Several GPUs put `module.` before the names of what they trained, and the library that became transformers had another
name for the output layer.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from dialogpt.artifact import read_json
from dialogpt.errors import CheckpointError, DataError

INDEX = "model.safetensors.index.json"  # of weights in several files
WRAPPERS = re.compile(r"^(module\.)+")  # of DistributedDataParallel and apex
OLD_NAMES = {"lm_head.decoder.weight": "lm_head.weight"}


def weight_files(folder: Path) -> list[Path]:
    """model.safetensors, or its parts, or pytorch_model.bin; CheckpointError when one is missing."""
    safe, old, index = folder / "model.safetensors", folder / "pytorch_model.bin", folder / INDEX
    files = [safe] if safe.is_file() or not index.is_file() else _parts(index)
    if files == [safe] and not safe.is_file() and old.is_file():
        return [old]
    if missing := [file.name for file in files if not file.is_file()]:
        raise CheckpointError(
            f"{folder} holds no {missing[0]}", "copy the whole checkpoint folder, or name a single .pkl file"
        )
    return files


def todays_names(names: Iterable[str]) -> dict[str, str]:
    """The names in a file -> those of today's `transformers`; ValueError when two of them mean one weight."""
    bare = {name: WRAPPERS.sub("", name) for name in names}
    found = {name: OLD_NAMES.get(short, short) for name, short in bare.items()}
    if len(set(found.values())) < len(found):
        raise ValueError("two of its names mean one weight")
    return found


def _parts(index: Path) -> list[Path]:
    """The files beside an index that it names."""
    try:
        named = read_json(index, _Index).weight_map.values()
    except DataError as error:
        raise CheckpointError(error.message, "the file is damaged; fetch it again") from error
    if not named:
        raise CheckpointError(f"{index} names no files", "the file is damaged; fetch it again")
    return [index.parent / Path(name).name for name in sorted(set(named))]


class _Index(msgspec.Struct):
    """Which file has which weight."""

    weight_map: dict[str, str]
