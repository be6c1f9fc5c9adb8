"""Weights in every kind of file that a folder has them in: the native engine reads the same of each, without torch."""

import json
import mmap
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
from dialogpt.model import checkpoint
from dialogpt.native.engine import open_native
from dialogpt.native.opcodes import NotKnown
from dialogpt.native.packed import NAMES
from dialogpt.native.pickled import find_tensors

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


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module._orig_mod."])
def test_names_of_other_days(folder: Path, weights: Weights, wrapper: str) -> None:
    expected = logits(folder)
    old = {f"{wrapper}{name}": torch.nn.Parameter(weight, False) for name, weight in weights.items()}
    old[f"{wrapper}lm_head.decoder.weight"] = old.pop(f"{wrapper}lm_head.weight")
    pickled(folder, old)
    assert np.array_equal(logits(folder), expected)


def test_a_wrapper_in_safetensors(folder: Path) -> None:
    expected, ours = logits(folder), checkpoint.load(folder)[0].state_dict()
    file = folder / "model.safetensors"
    save_file({f"_orig_mod.{name}": weight for name, weight in load_file(file).items()}, file)
    assert np.array_equal(logits(folder), expected)
    assert all(torch.equal(ours[name], weight) for name, weight in checkpoint.load(folder)[0].state_dict().items())


@pytest.mark.parametrize("head", ["v_head.summary", "multiple_choice_head.summary"])
def test_heads_for_other_tasks_are_passed_over(folder: Path, weights: Weights, head: str) -> None:
    """As transformers does; a classifier's is none of them, since its model no longer speaks."""
    expected = logits(folder)
    pickled(folder, weights | {f"{head}.weight": torch.ones(1, 32), f"{head}.bias": torch.ones(1)})
    assert np.array_equal(logits(folder), expected)
    checkpoint.load(folder)
    pickled(folder, weights | {"score.weight": torch.ones(2, 32)})
    with pytest.raises(CheckpointError, match="scores replies and makes none"):
        open_native(folder)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_a_single_file(
    make_model: Callable[..., Any], save: Callable[[Any], Path], tmp_path: Path, zipped: bool
) -> None:
    """The authors' medium_ft.pkl: its packed file stands beside it, under its name."""
    folder = Path(shutil.copytree(save(make_model(seed=3, n_embd=128, n_head=2, n_layer=3)), tmp_path / "model"))
    expected = logits(folder)
    file = folder / "medium_ft.pkl"
    torch.save(load_file(folder / "model.safetensors"), file, _use_new_zipfile_serialization=zipped)
    for name in ("model.safetensors", "config.json", NAMES[8]):
        (folder / name).unlink()
    assert np.array_equal(logits(file), expected)
    assert (folder / "medium_ft.pkl.int8").is_file()
    assert sorted(load_engine(str(file), device="cpu", precision="int4")[1].encode("hello")) != []
    script = (
        "import sys; from dialogpt.decoding.loading import load_engine; load_engine(sys.argv[1], device='cpu');"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(file)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"medium_ft\.pkl needs its tokenizer beside it"):
        load_engine(str(file), device="cpu")


def test_pickled_parts(folder: Path, weights: Weights) -> None:
    expected = logits(folder)
    names = sorted(weights)
    pickled(folder, {name: weights[name] for name in names[::2]}).rename(folder / "pytorch_model-00001-of-00002.bin")
    torch.save({name: weights[name] for name in names[1::2]}, folder / "pytorch_model-00002-of-00002.bin")
    parts = {name: f"pytorch_model-0000{1 + i % 2}-of-00002.bin" for i, name in enumerate(names)}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": parts}))
    assert np.array_equal(logits(folder), expected)
    checkpoint.load(folder)
    (folder / "pytorch_model-00002-of-00002.bin").unlink()
    for opened in (open_native, checkpoint.load):
        with pytest.raises(CheckpointError, match=r"holds no pytorch_model-00002-of-00002\.bin"):
            opened(folder)


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


FLOATS, REBUILD = b"ctorch\nFloatStorage\n", b"ctorch._utils\n_rebuild_tensor_v2\n"
STORAGE = b"(X\x07\0\0\0storage" + FLOATS + b"X\x01\0\0\0" + b"0X\x03\0\0\0cpuK\x04tQ"


def numbers(*values: int) -> bytes:
    """A pickled tuple."""
    return b"(" + b"".join(b"\x8a\x09" + value.to_bytes(9, "little", signed=True) for value in values) + b"t"


def tensor(shape: bytes, strides: bytes, offset: bytes = b"K\0") -> bytes:
    made = REBUILD + b"(" + STORAGE + offset + shape + strides + b"\x89ccollections\nOrderedDict\n)RtR"
    return b"}X\x01\0\0\0a" + made + b"s."


@pytest.mark.parametrize(
    "script, said",
    [
        (b"Nr\xff\xff\xff\x7f.", "not a dictionary"),
        (b"})" + b"2\x86" * 60 + b"Ns.", "DUP"),
        (b"}(h\0" + b")q\0h\0h\0\x86q\0" * 60 + b"Nu.", "0"),
        (REBUILD + b"N}X\x0c\0\0\0__defaults__)s\x86b.", "has objects"),
        (tensor(numbers(2**32, 2**32), numbers(2**32, 1)), "not inside its storage"),
        (tensor(numbers(2, -2), numbers(2, 1)), "impossible sizes"),
        (tensor(numbers(4), numbers(1), b"K\x01"), "not inside its storage"),
        (tensor(b"(G\x40\x10\0\0\0\0\0\0t", numbers(1)), "has a float where a int"),
        (tensor(numbers(*[1] * 65), numbers(*[1] * 65)), "do not match"),
    ],
    ids=["a memo's number", "tuples of tuples", "memo", "a function's attributes", "overflow", "negative", "beyond",
         "floats", "dimensions"],
)  # fmt: skip
def test_crafted_pickles_end_at_once(tmp_path: Path, script: bytes, said: str) -> None:
    file = tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("m/data.pkl", b"\x80\x02" + script)
        archive.writestr("m/data/0", bytes(16))
    with (
        file.open("rb") as opened,
        mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        pytest.raises((NotKnown, ValueError, KeyError), match=said),
    ):
        find_tensors(file, mapped)


def test_a_name_and_its_short_form(folder: Path) -> None:
    """The shape that is checked is that of the weights that are read."""
    stored = load_file(folder / "model.safetensors")
    save_file({"wte.weight": torch.ones(1), **stored}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="which are the same weight"):
        open_native(folder)


def test_a_mask_that_is_a_view_is_no_harm(folder: Path, weights: Weights) -> None:
    expected = logits(folder)
    pickled(folder, weights | {"transformer.h.1.attn.bias": torch.ones(1).expand(1, 1, 4, 4)})
    assert np.array_equal(logits(folder), expected)


def test_a_file_that_may_not_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("dialogpt.native.weights.mmap.mmap", refused)
    with pytest.raises(CheckpointError, match=r"cannot be read: Permission denied .*permissions"):
        open_native(folder)


def shorter(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def pointed_to(file: Path) -> None:
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 9\n")


def of_json(file: Path) -> None:
    file.write_text(json.dumps({"a": 1}))


def of_numbers(file: Path) -> None:
    file.write_bytes(pickle.dumps([1, 2, 3]))


def without_its_pickle(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/data/0", b"")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize(
    "harm, said",
    [
        (shorter, "it is cut off|not inside the file"),
        (lambda file: file.write_bytes(b""), "empty file"),
        (pointed_to, "it is a pointer of Git LFS, for which `git lfs pull` fetches the file"),
        (of_json, "it is not a file of tensors"),
        (of_numbers, "it is not a file of tensors"),
        (without_its_pickle, "it has no 'data.pkl'"),
    ],
    ids=["cut", "empty", "pointer", "JSON", "numbers", "not a pickle"],
)
def test_damaged_files(folder: Path, weights: Weights, harm: Callable[[Path], None], said: str, zipped: bool) -> None:
    harm(pickled(folder, weights, zipped=zipped))
    with pytest.raises(CheckpointError, match=rf"the weights in .*pytorch_model.bin do not load: .*({said})"):
        open_native(folder)
    assert not (folder / NAMES[8]).exists()


def test_a_file_of_another_kind_is_not_called_damaged(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="it is not a file of tensors") as caught:
        open_native(folder / "tokenizer.json")
    assert caught.value.hint == "name a checkpoint folder, or a .pkl file of weights"
