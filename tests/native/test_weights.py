"""Weights in every kind of file that a folder has them in: the native engine reads the same of each, without torch."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2LMHeadModel

from dialogpt.decoding.loading import load_engine
from dialogpt.errors import CheckpointError
from dialogpt.native.engine import open_native
from dialogpt.native.packed import NAMES

Weights = dict[str, torch.Tensor]
TOKENS = [5, 6, 7, 8, 9]


@pytest.fixture
def folder(make_model: Callable[..., Any], save: Callable[[Any], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(save(make_model(seed=2)), tmp_path / "model"))


def logits(folder: Path) -> Any:
    engine = open_native(folder)
    assert engine is not None
    return engine.prefill([TOKENS], 0)[0].array()


@pytest.fixture
def weights(folder: Path) -> Weights:
    """As old files have them: with masks, and the output layer that is the embedding."""
    found = load_file(folder / "model.safetensors")
    found |= {"transformer.h.0.attn.bias": torch.ones(1, 1, 4, 4, dtype=torch.uint8)}
    found |= {"transformer.h.0.attn.masked_bias": torch.tensor(-1e4)}
    return found | {"lm_head.weight": found["transformer.wte.weight"]}


def pickled(folder: Path, weights: Any, *, zipped: bool = True) -> Path:
    """The folder with a pytorch_model.bin in place of its file."""
    file = folder / "pytorch_model.bin"
    (folder / "model.safetensors").unlink(missing_ok=True)
    torch.save(weights, file, _use_new_zipfile_serialization=zipped)
    assert zipfile.is_zipfile(file) is zipped
    return file


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_a_pickled_file(folder: Path, weights: Weights, zipped: bool, dtype: torch.dtype) -> None:
    low = {name: weight.to(dtype) for name, weight in weights.items()}
    low["lm_head.weight"] = low["transformer.wte.weight"]
    save_file(
        {name: low[name].float() for name in load_file(folder / "model.safetensors")}, folder / "model.safetensors"
    )
    expected = logits(folder)
    (folder / NAMES[8]).unlink()
    pickled(folder, low, zipped=zipped)
    assert np.array_equal(logits(folder), expected)
    made = (folder / NAMES[8]).stat().st_mtime_ns
    assert np.array_equal(logits(folder), expected)
    assert (folder / NAMES[8]).stat().st_mtime_ns == made


def test_names_of_other_days(folder: Path, weights: Weights) -> None:
    expected = logits(folder)
    old = {f"module.{name}": torch.nn.Parameter(weight, False) for name, weight in weights.items()}
    old["module.lm_head.decoder.weight"] = old.pop("module.lm_head.weight")
    pickled(folder, old)
    assert np.array_equal(logits(folder), expected)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_what_transformers_pickles(folder: Path, zipped: bool) -> None:
    expected = logits(folder)
    pickled(folder, GPT2LMHeadModel.from_pretrained(folder).state_dict(), zipped=zipped)
    assert np.array_equal(logits(folder), expected)


def test_several_files(folder: Path) -> None:
    expected = logits(folder)
    model = GPT2LMHeadModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="40KB")
    parts = sorted(folder.glob("model-*.safetensors"))
    assert len(parts) > 1
    assert np.array_equal(logits(folder), expected)
    parts[0].unlink()
    with pytest.raises(CheckpointError, match=f"holds no {parts[0].name}"):
        open_native(folder)


def test_no_torch_is_imported(folder: Path, weights: Weights) -> None:
    pickled(folder, weights)
    script = (
        "import sys; from dialogpt.decoding.loading import load_engine; load_engine(sys.argv[1], device='cpu');"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w | {"transformer.ln_f.bias": w["transformer.ln_f.bias"].double()},
        lambda w: w | {"transformer.wte.weight": w["transformer.wte.weight"].T.contiguous().T},
        lambda w: {"model": w},
        lambda w: w | {"made by": print},
    ],
    ids=["doubles", "a view", "more than weights", "code"],
)
def test_what_torch_may_know(folder: Path, weights: Weights, change: Callable[[Weights], Any]) -> None:
    pickled(folder, change(weights))
    assert open_native(folder) is None


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_pickled_code_is_never_run(
    folder: Path, weights: Weights, zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pickled(folder, weights | {"more": Evil()}, zipped=zipped)
    with pytest.raises(CheckpointError, match=r"it names code to run, posix.mkdir"):
        load_engine(str(folder), device="cpu")
    assert not (tmp_path / "ran").exists()


def shorter(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def of_json(file: Path) -> None:
    file.write_text(json.dumps({"a": 1}))


def of_numbers(file: Path) -> None:
    file.write_bytes(pickle.dumps([1, 2, 3]))


def without_its_pickle(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/data/0", b"")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("harm", [shorter, of_json, of_numbers, without_its_pickle], ids=lambda harm: harm.__name__)
def test_damaged_files(folder: Path, weights: Weights, harm: Callable[[Path], None], zipped: bool) -> None:
    harm(pickled(folder, weights, zipped=zipped))
    with pytest.raises(CheckpointError, match=r"the weights in .* do not load: "):
        open_native(folder)
    assert not (folder / NAMES[8]).exists()
