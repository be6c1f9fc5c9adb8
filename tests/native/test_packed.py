"""The packed file: written once, then mapped; made anew when it does not fit, elsewhere when the folder is closed."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dialogpt.artifact import lock_file
from dialogpt.errors import CheckpointError
from dialogpt.model import checkpoint
from dialogpt.native import packed
from dialogpt.native.engine import open_native

TOKENS = [5, 6, 7, 8]


@pytest.fixture
def folder(make_model: Callable[..., Any], save: Callable[[Any], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(save(make_model(seed=2)), tmp_path / "model"))


def logits(folder: Path, bits: int = 8) -> Any:
    engine = open_native(folder, bits)
    assert engine is not None
    return engine.prefill([TOKENS], 0)[0].array()


def test_it_is_written_once(folder: Path) -> None:
    expected, file = logits(folder), folder / packed.NAMES[8]
    header = json.loads(file.read_bytes()[: packed.HEADER].rstrip(b"\0"))
    assert header["version"] == packed.VERSION
    assert header["digest"] == packed.digest([folder / "model.safetensors"])
    assert header["size_bytes"] == file.stat().st_size
    made = file.stat().st_mtime_ns
    assert np.array_equal(logits(folder), expected)
    assert file.stat().st_mtime_ns == made


def test_each_number_of_bits_has_a_file_of_its_own(folder: Path) -> None:
    eight, four = logits(folder), logits(folder, 4)
    assert not np.array_equal(eight, four)
    sizes = [(folder / packed.NAMES[bits]).stat().st_size for bits in (8, 4)]
    assert sizes[1] < sizes[0]
    shutil.copy(folder / packed.NAMES[8], folder / packed.NAMES[4])  # of 8 bits, under the other's name
    assert np.array_equal(logits(folder, 4), four)
    assert [(folder / packed.NAMES[bits]).stat().st_size for bits in (8, 4)] == sizes


def shorter(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def damaged(file: Path) -> None:
    file.write_bytes(b"no header" + file.read_bytes()[9:])


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1000] ^= 4
    file.write_bytes(content)


def without_a_sum(file: Path) -> None:
    header = file.read_bytes()[: packed.HEADER].rstrip(b"\0")
    known = {name: value for name, value in json.loads(header).items() if name != "sum"}
    file.write_bytes(json.dumps(known).encode().ljust(packed.HEADER, b"\0") + file.read_bytes()[packed.HEADER :])


def older(file: Path) -> None:
    whole = file.read_bytes()
    before = f'"version":{packed.VERSION}'.encode()
    file.write_bytes(whole.replace(before, b'"version":0', 1))


@pytest.mark.parametrize(
    "harm", [shorter, damaged, flipped, without_a_sum, older, Path.unlink], ids=lambda harm: harm.__name__
)
def test_one_that_does_not_fit_is_made_anew(folder: Path, harm: Callable[[Path], None]) -> None:
    expected, file = logits(folder), folder / packed.NAMES[8]
    whole = file.read_bytes()
    harm(file)
    assert np.array_equal(logits(folder), expected)
    assert file.read_bytes() == whole


def test_another_checkpoint_in_the_same_place_is_packed_anew(
    folder: Path, make_model: Callable[..., Any], save: Callable[[Any], Path]
) -> None:
    before = logits(folder)
    other = save(make_model(seed=3))
    shutil.copy(other / "model.safetensors", folder / "model.safetensors")
    assert not np.array_equal(logits(folder), before)
    assert np.array_equal(logits(folder), logits(other))


def test_a_folder_that_is_closed(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.platform", "linux")
    (folder / packed.NAMES[8]).mkdir()  # no file can take its place
    expected = logits(folder)
    (kept,) = (tmp_path / "cache" / "dialogpt").iterdir()
    made = kept.stat().st_mtime_ns
    assert np.array_equal(logits(folder), expected)
    assert kept.stat().st_mtime_ns == made
    kept.unlink()
    kept.mkdir()
    assert np.array_equal(logits(folder), expected)  # by way of a temporary file
    assert not [path for path in folder.iterdir() if "partial" in path.name]


@pytest.mark.skipif(os.name == "nt", reason="files are not locked there")
def test_what_a_killed_process_left_goes_and_what_is_being_written_stays(folder: Path) -> None:
    left, living = (folder / f".{packed.NAMES[8]}.partial-{name}" for name in ("0123", "4567"))
    left.write_bytes(b"half")
    with living.open("wb") as file:
        assert lock_file(file.fileno(), living)
        logits(folder)
        assert sorted(folder.glob(".*")) == [living]
        assert (folder / packed.NAMES[8]).is_file()


def test_who_has_no_home_needs_none(folder: Path, homeless: None) -> None:
    expected = logits(folder)
    (folder / packed.NAMES[8]).unlink()
    (folder / packed.NAMES[8]).mkdir()  # no file can take its place
    assert np.array_equal(logits(folder), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_two_byte_weights_and_short_names(folder: Path, dtype: torch.dtype) -> None:
    weights = {name: weight.to(dtype) for name, weight in load_file(folder / "model.safetensors").items()}
    save_file({name: weight.float() for name, weight in weights.items()}, folder / "model.safetensors")
    expected = logits(folder)
    short = {name.removeprefix("transformer."): weight for name, weight in weights.items()}
    short |= {"h.0.attn.bias": torch.ones(1, 1, 4, 4), "lm_head.weight": short["wte.weight"].clone()}
    save_file(short, folder / "model.safetensors")
    assert np.array_equal(logits(folder), expected)


@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_an_output_layer_in_another_type(folder: Path, dtype: torch.dtype, stored: torch.dtype) -> None:
    """It is the embedding, rounded; a number that is another one beyond that makes it another layer."""
    weights = load_file(folder / "model.safetensors")
    embedding = weights["transformer.wte.weight"].to(stored)
    head = embedding.to(dtype, copy=True)
    save_file(weights | {"transformer.wte.weight": embedding, "lm_head.weight": head}, folder / "model.safetensors")
    assert open_native(folder) is not None
    checkpoint.load(folder)
    (folder / packed.NAMES[8]).unlink()
    head[-1, -1] *= 1.01
    save_file(weights | {"transformer.wte.weight": embedding, "lm_head.weight": head}, folder / "model.safetensors")
    for opening in (open_native, checkpoint.load):
        with pytest.raises(CheckpointError, match=r"lm_head\.weight is not the token embedding"):
            opening(folder)


def test_an_output_layer_that_is_said_to_be_its_own_and_is_missing(folder: Path) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"tie_word_embeddings": False}))
    for opening in (open_native, checkpoint.load):
        with pytest.raises(CheckpointError, match=r"holds no lm_head\.weight, and its config\.json says tie"):
            opening(folder)
    change(folder, lambda w: w.update({"lm_head.weight": w["transformer.wte.weight"].clone()}))
    assert open_native(folder) is not None
    checkpoint.load(folder)


def change(folder: Path, act: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    weights = load_file(folder / "model.safetensors")
    act(weights)
    save_file(weights, folder / "model.safetensors")


@pytest.mark.parametrize(
    "act, said",
    [
        (lambda w: w.pop("transformer.ln_f.bias"), "lack transformer.ln_f.bias"),
        (lambda w: w.update({"more": torch.ones(2)}), "have surplus transformer.more"),
        (
            lambda w: w.update({"transformer.h.0.attn.c_attn.weight": torch.ones(96, 32)}),
            r"transformer.h.0.attn.c_attn.weight has shape \(32, 96\), config.json asks for \(96, 32\)",
        ),
        (lambda w: w.update({"lm_head.weight": torch.ones(360, 32)}), "lm_head.weight is not the token embedding"),
    ],
)  # fmt: skip
def test_weights_of_another_model(folder: Path, act: Callable[[dict[str, torch.Tensor]], Any], said: str) -> None:
    change(folder, act)
    with pytest.raises(CheckpointError, match=said):
        open_native(folder)
    assert not (folder / packed.NAMES[8]).exists()


@pytest.mark.parametrize("harm", [lambda b: b[:100], lambda b: b[:-8], lambda b: b"\xff" * 8 + b[8:], lambda b: b""])
def test_damaged_weights(folder: Path, harm: Callable[[bytes], bytes]) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(harm(file.read_bytes()))
    with pytest.raises(CheckpointError, match="do not load"):
        open_native(folder)


def test_what_torch_has_to_read(folder: Path) -> None:
    change(folder, lambda w: w.update({"transformer.ln_f.bias": w["transformer.ln_f.bias"].double()}))
    assert open_native(folder) is None
