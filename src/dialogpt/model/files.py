"""Which files hold a checkpoint's weights, and what the names in them mean: without torch, for engines that have none.

Training on several GPUs puts `module.` before the names, torch's compiler `_orig_mod.`, and the predecessor of
transformers had another name for the output layer.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from dialogpt.artifact import read_json
from dialogpt.errors import CheckpointError, DataError
from dialogpt.hub import other_weights

SAFE = ".safetensors"  # other files are pickled
PICKLED = (".pkl", ".pth", ".bin")  # their usual names
WHOLE = ("model.safetensors", "pytorch_model.bin")
INDEX = ".index.json"  # suffix of the index of weights in several files
WRAPPERS = re.compile(r"^((module|_orig_mod)\.)+")  # prefixes by DistributedDataParallel and apex, and by torch.compile
OLD_NAMES = {"lm_head.decoder.weight": "lm_head.weight"}


def weight_files(source: Path) -> list[Path]:
    """A single file itself; of a folder model.safetensors or its parts, or pytorch_model.bin or its parts.

    CheckpointError when one is missing.
    """
    if source.is_file():
        return [source]
    for name in WHOLE:
        if (whole := source / name).is_file():
            return [whole]
        if (index := source / f"{name}{INDEX}").is_file():
            files = _parts(index)
            if missing := [file.name for file in files if not file.is_file()]:
                raise CheckpointError(f"{source} holds no {missing[0]}", "copy the whole checkpoint folder")
            return files
    raise CheckpointError(*other_weights(source, f"{source} holds no {' or '.join(WHOLE)}"))


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
