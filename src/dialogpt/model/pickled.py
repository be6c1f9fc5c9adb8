"""Pickled state dicts -> weights by name: `pytorch_model.bin`, and the authors' `.pkl` files.

Only tensors are read; code in a pickle is never run. Files of old torch, which are not zips, open too. What
the authors released (`medium_ft.pkl`, ...) is fp16 with GPT-2's Hugging Face names, with or without `transformer.`,
behind `module.` where several GPUs trained it, and without a config.json.
"""

import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dialogpt.errors import CheckpointError
from dialogpt.model.files import todays_names

CODE = re.compile(r"GLOBAL (\S+)")  # in torch's message about a function or class that it does not call


def read_pickled(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by the names of today's `transformers`; CheckpointError when it holds anything else."""
    try:
        # torch before 1.6 wrote no zip, and only a zip can be mapped into memory
        mmap = zipfile.is_zipfile(path)
        return _renamed(torch.load(path, map_location="cpu", weights_only=True, mmap=mmap))
    except Exception as error:  # a damaged pickle makes torch raise nearly anything
        code = CODE.search(str(error))
        if code:
            raise CheckpointError(
                f"the weights in {path} do not load: it names code to run, {code[1]}, and pickled code is never run",
                "take the file from where it was published; weights alone need no code",
            ) from error
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        if "weights_only" in reason:  # torch's advice on how to read it unsafely
            reason = "it is not a pickle of tensors"
        raise CheckpointError(
            f"the weights in {path} do not load: {reason}",
            "the file is damaged, or not a file of weights; fetch it again",
        ) from error


def _renamed(state: Any) -> dict[str, Tensor]:
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise ValueError("it is not a dictionary of tensors by name")
    names = todays_names(state)
    return {names[name]: weight for name, weight in state.items()}
