"""`export --out NAME.gguf`: what llama.cpp reads, by the readers of two other programs."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGUFReader, TokenType
from gguf.quants import dequantize
from transformers import AutoModelForCausalLM, AutoTokenizer

from dialogpt import GPT, Tokenizer
from dialogpt.artifact import make_manifest
from dialogpt.errors import CheckpointError, UsageError
from dialogpt.export import ExportConfig
from dialogpt.export.export import export
from dialogpt.model import checkpoint

Pair = tuple[GPT, Tokenizer]
TEXTS = ["Hello, how are you?", "  two  blanks\n", "صباح الخير، كيف حالك؟ ١٢٣", "I'll see 😀👍🏽, won't you? 10:30"]


def written(model: Path, out: Path, dtype: str = "fp32") -> GGUFReader:
    export(ExportConfig(model=str(model), out=out, dtype=dtype))  # type: ignore[arg-type]
    return GGUFReader(out)


def value(reader: GGUFReader, key: str) -> Any:
    field = reader.get_field(key)
    assert field is not None, key
    return field.contents()


def matrix(reader: GGUFReader, name: str) -> np.ndarray:
    [tensor] = [tensor for tensor in reader.tensors if tensor.name == name]
    return dequantize(tensor.data, tensor.tensor_type)


@pytest.mark.parametrize("dtype, exact", [("fp32", 1e-5), ("fp16", 2e-2), ("bf16", 0.1), ("q8_0", 0.1)])
def test_transformers_reads_the_same_model(
    make_model: Callable[..., GPT], tiny_model: Pair, tmp_path: Path, dtype: str, exact: float
) -> None:
    model = make_model(n_ctx=1024)  # of a GGUF's gpt2 transformers expects no other
    checkpoint.save(model, tiny_model[1], tmp_path / "model", make_manifest("checkpoint"))
    (tmp_path / "out").mkdir()
    written(tmp_path / "model", tmp_path / "out/tiny.gguf", dtype)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "out", gguf_file="tiny.gguf", dtype=torch.float32)
    tokens = torch.arange(40)[None]
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), theirs(tokens).logits, atol=exact, rtol=0)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["tiny.gguf"]


def test_transformers_makes_the_same_tokens(tiny_model: Pair, tiny_checkpoint: Path, tmp_path: Path) -> None:
    written(tiny_checkpoint, tmp_path / "tiny.gguf")
    theirs = AutoTokenizer.from_pretrained(tmp_path, gguf_file="tiny.gguf")
    for text in TEXTS:
        assert theirs.encode(text) == tiny_model[1].encode(text)


@pytest.mark.parametrize("dtype, step", [("bf16", 2**-8), ("q8_0", 1 / 127)])
def test_matrices_are_in_the_type_asked_for(
    tiny_model: Pair, tiny_checkpoint: Path, tmp_path: Path, dtype: str, step: float
) -> None:
    reader = written(tiny_checkpoint, tmp_path / "tiny.gguf", dtype)
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert kinds["token_embd.weight"] == kinds["blk.0.attn_qkv.weight"] == dtype.upper()
    assert kinds["position_embd.weight"] == kinds["blk.0.attn_qkv.bias"] == kinds["output_norm.weight"] == "F32"
    assert len(kinds) == len(tiny_model[0].state_dict())
    weight = tiny_model[0].state_dict()["transformer.h.0.attn.c_attn.weight"].numpy()  # (out, in)
    off = np.abs(matrix(reader, "blk.0.attn_qkv.weight") - weight)
    assert 0 < off.max() <= step * np.abs(weight).max()
    np.testing.assert_array_equal(
        matrix(reader, "position_embd.weight"), tiny_model[0].state_dict()["transformer.wpe.weight"].numpy()
    )


def test_what_the_file_says(tiny_model: Pair, tiny_checkpoint: Path, tmp_path: Path) -> None:
    model, tokenizer = tiny_model
    reader = written(tiny_checkpoint, tmp_path / "my bot.gguf", "q8_0")
    said = {"general.architecture": "gpt2", "general.name": "my bot", "gpt2.context_length": model.config.n_ctx,
            "gpt2.attention.head_count": model.config.n_head, "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.eos_token_id": tokenizer.end_id,
            "tokenizer.ggml.add_bos_token": False, "general.sampling.top_k": 50}  # fmt: skip
    assert {key: value(reader, key) for key in said} == said
    assert "eos_token" in value(reader, "tokenizer.chat_template")
    types = value(reader, "tokenizer.ggml.token_type")
    assert [row for row, kind in enumerate(types) if kind == TokenType.CONTROL] == [tokenizer.end_id]


@pytest.mark.parametrize(
    "more_rows, tokens, types",
    [
        (1, ["<extra>"], [TokenType.USER_DEFINED]),  # the padding token has no row
        (4, ["<extra>", "<pad>", "[PAD{2}]", "[PAD{3}]"],
         [TokenType.USER_DEFINED, TokenType.CONTROL, TokenType.UNUSED, TokenType.UNUSED]),
    ],
)  # fmt: skip
def test_tokens_without_a_row_and_rows_without_a_token(
    make_model: Callable[..., GPT], tiny_model: Pair, tmp_path: Path,
    more_rows: int, tokens: list[str], types: list[TokenType],
) -> None:  # fmt: skip
    size, folder = tiny_model[1].vocab_size, tmp_path / "model"
    checkpoint.save(make_model(vocab_size=size + more_rows), tiny_model[1], folder, make_manifest("checkpoint"))
    definition = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    for text, number, special in [("<extra>", size, False), ("<pad>", size + 1, True)]:
        added = {**definition["added_tokens"][0], "id": number, "content": text, "special": special}
        definition["added_tokens"].append(added)
    (folder / "tokenizer.json").write_text(json.dumps(definition), encoding="utf-8")
    reader = written(folder, tmp_path / "out.gguf")
    said, kinds = value(reader, "tokenizer.ggml.tokens"), value(reader, "tokenizer.ggml.token_type")
    assert len(said) == len(kinds) == size + more_rows
    assert said[size:] == [token.format(*range(size, size + 4)) for token in tokens]
    assert kinds[size:] == types


def test_rows_that_no_blocks_fit_are_in_fp16(make_model: Callable[..., GPT], tiny_model: Pair, tmp_path: Path) -> None:
    checkpoint.save(make_model(n_embd=24), tiny_model[1], tmp_path / "model", make_manifest("checkpoint"))
    reader = written(tmp_path / "model", tmp_path / "out.gguf", "q8_0")
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert kinds["blk.0.attn_qkv.weight"] == "F16"  # rows of 24
    assert kinds["blk.0.ffn_down.weight"] == "Q8_0"  # of 96


@pytest.mark.parametrize(
    "name, change",
    [
        ("tokenizer.json", {"normalizer": {"type": "Lowercase"}}),
        ("tokenizer.json", {"pre_tokenizer": {"type": "Whitespace"}}),
        ("tokenizer_config.json", {"add_prefix_space": True}),
    ],
)
def test_text_that_is_split_otherwise_is_refused(
    tiny_checkpoint: Path, tmp_path: Path, name: str, change: dict[str, Any]
) -> None:
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "other")
    said = json.loads((folder / name).read_text(encoding="utf-8"))
    (folder / name).write_text(json.dumps({**said, **change}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="splits text differently from GPT-2's"):
        written(folder, tmp_path / "out.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_folders_above_are_made_and_the_end_of_a_name_may_be_large(tiny_checkpoint: Path, tmp_path: Path) -> None:
    written(tiny_checkpoint, tmp_path / "a" / "b.GGUF", "q8_0")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.GGUF"]


def test_a_file_is_replaced_only_when_asked(tiny_checkpoint: Path, tmp_path: Path) -> None:
    config: dict[str, Any] = {"model": str(tiny_checkpoint), "out": tmp_path / "out.gguf"}
    export(ExportConfig(**config, dtype="fp32"))
    before = config["out"].read_bytes()
    with pytest.raises(UsageError, match=r"out\.gguf exists"):
        export(ExportConfig(**config))
    assert config["out"].read_bytes() == before
    export(ExportConfig(**config, overwrite=True))
    assert len(config["out"].read_bytes()) < len(before)  # now in bf16


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"out": "folder.gguf"}, "is a folder, but a file is to be written there"),
        ({"out": "pipe.gguf"}, "is a stream, but a file is to be written there"),
        ({"out": "out.gguf", "card": "card.md"}, "--card is for a folder"),
        ({"out": "out", "dtype": "q8_0"}, r"--dtype q8_0 is for \.gguf files"),
    ],
)
def test_what_does_not_go_together(tiny_checkpoint: Path, tmp_path: Path, settings: dict[str, str], said: str) -> None:
    (tmp_path / "folder.gguf").mkdir()
    (tmp_path / "pipe.gguf").symlink_to("/dev/null")
    (tmp_path / "card.md").write_text("# A model\n")
    paths = {key: text if key == "dtype" else tmp_path / text for key, text in settings.items()}
    with pytest.raises(UsageError, match=said):
        export(ExportConfig(model=str(tiny_checkpoint), **paths))  # type: ignore[arg-type]
    assert {path.name for path in tmp_path.iterdir()} == {"folder.gguf", "pipe.gguf", "card.md"}


def test_without_the_package(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(UsageError, match="needs the package gguf") as refused:
        export(ExportConfig(model=str(tiny_checkpoint), out=tmp_path / "out.gguf"))
    assert refused.value.hint == 'pip install "dialogpt[gguf]"'
