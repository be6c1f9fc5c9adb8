"""Folders that do not load: each error names the folder and what is wrong in it, and runs nothing found there."""

import errno
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dialogpt.errors import CheckpointError, DataError, DialoGPTError
from dialogpt.model import checkpoint

Weights = dict[str, torch.Tensor]
BIAS = "transformer.h.1.ln_2.bias"


@pytest.fixture
def folder(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of a good checkpoint, to be spoiled."""
    shutil.copytree(tiny_checkpoint, tmp_path / "spoiled")
    return tmp_path / "spoiled"


def assert_fails(name: object, *words: str, kind: type[DialoGPTError] = CheckpointError) -> DialoGPTError:
    with pytest.raises(kind) as caught:
        checkpoint.load(str(name))
    for word in (str(name), *words):
        assert word in caught.value.message
    return caught.value


def edit_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    config.update(changes)
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))


def edit_weights(folder: Path, edit: Callable[[Weights], None]) -> None:
    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors")


def as_bin(folder: Path, **settings: Any) -> Path:
    """Put the weights into pytorch_model.bin instead; returns its path."""
    path = folder / "pytorch_model.bin"
    torch.save(load_file(folder / "model.safetensors"), path, **settings)
    (folder / "model.safetensors").unlink()
    return path


def test_a_missing_weight(folder: Path) -> None:
    edit_weights(folder, lambda weights: weights.pop(BIAS))
    assert_fails(folder, f"lack {BIAS}")


def test_many_missing_weights_are_counted(folder: Path) -> None:
    def keep_ln_f(weights: Weights) -> None:
        for name in [name for name in weights if ".ln_f." not in name]:
            del weights[name]

    edit_weights(folder, keep_ln_f)
    assert_fails(folder, "lack transformer.h.0.attn.c_attn.bias", "and 23 more")


def test_a_surplus_weight(folder: Path) -> None:
    edit_weights(folder, lambda weights: weights.update({"transformer.h.2.ln_1.bias": torch.zeros(32)}))
    assert_fails(folder, "surplus transformer.h.2.ln_1.bias")


@pytest.mark.parametrize("name, shape", [(BIAS, (33,)), ("transformer.h.0.mlp.c_fc.weight", (128, 32))])
def test_a_wrong_shape(folder: Path, name: str, shape: tuple[int, ...]) -> None:
    edit_weights(folder, lambda weights: weights.update({name: torch.zeros(shape)}))
    assert_fails(folder, name, "has shape")


def test_a_configuration_of_another_size(folder: Path) -> None:
    edit_config(folder, n_positions=65)
    assert_fails(folder, "wpe.weight", "(64, 32)", "(65, 32)")


def test_an_output_layer_of_its_own(folder: Path) -> None:
    """GPT-2's is the token embedding; leaving another one out would be another model."""
    edit_weights(folder, lambda weights: weights.update({"lm_head.weight": torch.zeros(360, 32)}))
    assert_fails(folder, "lm_head.weight")


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, 0.999])
def test_truncated_safetensors(folder: Path, keep: float) -> None:
    path = folder / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: keep if isinstance(keep, int) else int(len(data) * keep)])
    assert_fails(folder, "weights", "do not load")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, 0.999])
def test_truncated_bin(folder: Path, keep: float, zipped: bool) -> None:
    path = as_bin(folder, _use_new_zipfile_serialization=zipped)
    data = path.read_bytes()
    path.write_bytes(data[: keep if isinstance(keep, int) else int(len(data) * keep)])
    assert_fails(folder, "weights", "do not load")


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("form", ["zip", "before torch 1.6", "plain pickle"])
def test_pickled_code_is_not_run(folder: Path, tmp_path: Path, form: str) -> None:
    marker = tmp_path / "it ran"
    trap = {"transformer.wte.weight": torch.zeros(1), "trap": Trap(marker)}
    (folder / "model.safetensors").unlink()
    path = folder / "pytorch_model.bin"
    if form == "plain pickle":
        path.write_bytes(pickle.dumps(trap, protocol=2))
    else:
        torch.save(trap, path, _use_new_zipfile_serialization=form == "zip")
    error = assert_fails(folder, "weights", "do not load", "pickled code is never run")
    assert not marker.exists()
    assert "weights_only" not in error.message + error.hint  # torch's own words say how to run it all the same
    pickle.loads(pickle.dumps(trap))
    assert marker.exists()  # the trap is a real one


@pytest.mark.parametrize("content", [[torch.zeros(2)], {"model": {"wte.weight": torch.zeros(2)}}, {"step": 3}, {1: 2}])
def test_a_bin_that_holds_something_else(folder: Path, content: Any) -> None:
    torch.save(content, as_bin(folder))
    assert_fails(folder, "weights")


@pytest.mark.parametrize("data", [b"PK\x03\x04 not really", b"\x00" * 100, "سلام".encode(), b"version https://git-lfs"])
def test_a_bin_that_is_none(folder: Path, data: bytes) -> None:
    as_bin(folder).write_bytes(data)
    assert_fails(folder, "weights", "do not load")


def test_a_zip_of_something_else(folder: Path) -> None:
    with zipfile.ZipFile(as_bin(folder), "w") as archive:
        archive.writestr("hello.txt", "hello")
    assert_fails(folder, "weights", "do not load")


def test_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert_fails(folder, "holds no model.safetensors")


def test_another_architecture(folder: Path) -> None:
    edit_config(folder, model_type="llama")
    assert_fails(folder, "'llama'")


def test_another_activation(folder: Path) -> None:
    edit_config(folder, activation_function="gelu")
    assert_fails(folder, "activation_function 'gelu'")


def test_another_width_inside_is_named(folder: Path) -> None:
    width = 4 * json.loads((folder / "config.json").read_text())["n_embd"]
    edit_config(folder, n_inner=width)
    checkpoint.load(folder)
    edit_config(folder, n_inner=64 + width)
    assert_fails(folder, f"n_inner {64 + width} is not GPT-2's {width}")


@pytest.mark.parametrize("name, value", [("scale_attn_weights", False), ("scale_attn_by_inverse_layer_idx", True)])
def test_another_kind_of_gpt2(folder: Path, name: str, value: bool) -> None:
    """Variants that transformers knows and this model is not: they would load, and talk nonsense."""
    edit_config(folder, **{name: value})
    assert_fails(folder, name)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"3", b"null", b'"gpt2"', b'{"model_type": "gpt2"}', b"\xff\xfe{}", b"[" * 100_000]
)
def test_a_damaged_configuration(folder: Path, data: bytes) -> None:
    (folder / "config.json").write_bytes(data)
    assert_fails(folder, "config.json")


def test_a_configuration_that_may_not_be_read_is_not_called_damaged(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refused)
    error = assert_fails(folder, "config.json cannot be read: Permission denied")
    assert error.hint == "check the file and its permissions"


@pytest.mark.parametrize(
    "changes",
    [
        {"n_layer": "2"}, {"n_layer": -1}, {"n_layer": 2.5}, {"n_layer": True}, {"n_head": 0}, {"n_head": 3},
        {"n_embd": None}, {"n_embd": 0}, {"n_positions": ..., "n_ctx": ...}, {"n_positions": "64"},
        {"vocab_size": 0}, {"vocab_size": [360]}, {"resid_pdrop": "much"}, {"resid_pdrop": 2.0},
        {"layer_norm_epsilon": None},
    ],
    ids=str,
)  # fmt: skip
def test_values_that_make_no_model(folder: Path, changes: dict[str, Any]) -> None:
    edit_config(folder, **changes)
    assert_fails(folder, "config.json")


def test_a_tokenizer_larger_than_the_model(folder: Path) -> None:
    edit_weights(folder, lambda weights: weights.update({"transformer.wte.weight": torch.zeros(300, 32)}))
    edit_config(folder, vocab_size=300)
    assert_fails(folder, "tokenizer has 360 tokens", "the model 300")


def test_no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    assert_fails(folder, "no tokenizer.json", kind=DataError)


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b"\xff", b'{"model": {"type": "BPE"}}'])
def test_a_damaged_tokenizer(folder: Path, data: bytes) -> None:
    (folder / "tokenizer.json").write_bytes(data)
    assert_fails(folder, "tokenizer", "does not load", kind=DataError)


def test_a_tokenizer_without_an_end_token(folder: Path) -> None:
    text = (folder / "tokenizer.json").read_text(encoding="utf-8")
    (folder / "tokenizer.json").write_text(text.replace("<|endoftext|>", "</s>"), encoding="utf-8")
    assert_fails(folder, "no <|endoftext|> token", kind=DataError)


def test_a_plain_folder(tmp_path: Path) -> None:
    assert_fails(tmp_path, "not a checkpoint folder", "config.json")


@pytest.mark.parametrize("name", ["/no/such/folder", "no/such/folder", "../none", "x" * 200, "a b"])
def test_neither_a_folder_nor_a_hub_name(name: str) -> None:
    assert_fails(name, "neither a folder nor a hub name")


@pytest.mark.parametrize("name", ["someone/no-such-model", "no-such-model"])
def test_a_hub_name_without_network(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    error = assert_fails(name, "hub cannot be reached")
    assert "go online once, or name a folder" in error.hint
