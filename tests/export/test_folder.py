"""The `export` command's function: a checkpoint in a smaller type, for shipping and for other engines."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from dialogpt import GPT, Tokenizer
from dialogpt.artifact import read_manifest
from dialogpt.errors import CheckpointError, UsageError
from dialogpt.export import ExportConfig
from dialogpt.export.export import export
from dialogpt.model import checkpoint

Pair = tuple[GPT, Tokenizer]
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_exported_folder_opens_here_and_in_transformers(
    tiny_model: Pair, tiny_checkpoint: Path, tmp_path: Path, dtype: str
) -> None:
    out = export(ExportConfig(model=str(tiny_checkpoint), out=tmp_path / "out", dtype=dtype))  # type: ignore[arg-type]
    assert out == tmp_path / "out"
    assert {w.dtype for w in load_file(out / "model.safetensors").values()} == {DTYPES[dtype]}
    ours, tokenizer = checkpoint.load(out)
    for name, weight in tiny_model[0].state_dict().items():
        assert torch.equal(ours.state_dict()[name], weight.to(DTYPES[dtype]).float()), name
    assert tokenizer.digest == tiny_model[1].digest
    assert AutoModelForCausalLM.from_pretrained(out).dtype == DTYPES[dtype]  # as the folder's config.json says
    theirs = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    tokens = torch.arange(40)[None]
    with torch.no_grad():
        torch.testing.assert_close(ours(tokens), theirs(tokens).logits, atol=1e-5, rtol=0)
    text = "Hello, صباح الخير 😀"
    assert AutoTokenizer.from_pretrained(out).encode(text) == tokenizer.encode(text)


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_the_weights_are_half_as_large(tiny_model: Pair, tiny_checkpoint: Path, tmp_path: Path, dtype: str) -> None:
    out = export(ExportConfig(model=str(tiny_checkpoint), out=tmp_path / "out", dtype=dtype))  # type: ignore[arg-type]
    full, half = (folder / "model.safetensors" for folder in (tiny_checkpoint, out))
    header_bytes = half.stat().st_size - 2 * tiny_model[0].parameter_count
    assert 0 < header_bytes < 4096
    assert full.stat().st_size - half.stat().st_size == pytest.approx(2 * tiny_model[0].parameter_count, abs=100)


def test_bf16_is_what_ships(tmp_path: Path) -> None:
    assert ExportConfig(model="x", out=tmp_path).dtype == "bf16"


def test_the_manifest_and_the_card_go_along(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "card.md").write_text("# A model\n\nنموذج\n", encoding="utf-8")
    out = export(ExportConfig(model=str(tiny_checkpoint), out=tmp_path / "out", card=tmp_path / "card.md"))
    assert (out / "README.md").read_text(encoding="utf-8") == "# A model\n\nنموذج\n"
    made, manifest = read_manifest(tiny_checkpoint), read_manifest(out)
    assert made is not None
    assert manifest is not None
    assert (manifest.kind, manifest.inputs, manifest.counts) == ("checkpoint", [str(tiny_checkpoint)], made.counts)
    assert not (tiny_checkpoint / "README.md").exists()  # the source is as it was


def test_a_run_folder_is_exported_as_its_best(tiny_model: Pair, tiny_checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_checkpoint, tmp_path / "run/best")
    export(ExportConfig(model=str(tmp_path / "run"), out=tmp_path / "out", dtype="fp32"))
    weights = checkpoint.load(tmp_path / "out")[0].state_dict()
    assert all(torch.equal(weights[name], weight) for name, weight in tiny_model[0].state_dict().items())


def test_a_folder_without_a_manifest_gets_one(tiny_checkpoint: Path, tmp_path: Path) -> None:
    source = tmp_path / "hub"
    shutil.copytree(tiny_checkpoint, source)
    (source / "manifest.json").unlink()
    manifest = read_manifest(export(ExportConfig(model=str(source), out=tmp_path / "out")))
    assert manifest is not None
    assert (manifest.kind, manifest.inputs) == ("checkpoint", [str(source)])


def test_a_card_that_is_not_there(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.md is not a file"):
        export(ExportConfig(model=str(tiny_checkpoint), out=tmp_path / "out", card=tmp_path / "none.md"))
    assert not (tmp_path / "out").exists()


def test_a_folder_is_replaced_only_when_asked(tiny_checkpoint: Path, tmp_path: Path) -> None:
    config = {"model": str(tiny_checkpoint), "out": tmp_path / "out"}
    export(ExportConfig(**config, dtype="fp32"))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="is not empty"):
        export(ExportConfig(**config))  # type: ignore[arg-type]
    export(ExportConfig(**config, overwrite=True))  # type: ignore[arg-type]
    assert load_file(tmp_path / "out/model.safetensors")["transformer.ln_f.bias"].dtype == torch.bfloat16
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_model_may_be_exported_onto_itself(tiny_model: Pair, tiny_checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_checkpoint, tmp_path / "model")
    export(ExportConfig(model=str(tmp_path / "model"), out=tmp_path / "model", overwrite=True))
    weights = checkpoint.load(tmp_path / "model")[0].state_dict()
    assert all(torch.equal(weights[n], w.bfloat16().float()) for n, w in tiny_model[0].state_dict().items())


def test_no_model_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        export(ExportConfig(model=str(tmp_path), out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()
