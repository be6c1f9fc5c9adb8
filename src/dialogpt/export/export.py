"""The `export` command: a Hugging Face folder with weights in bf16, fp16 or fp32, or a GGUF file."""

import shutil
from pathlib import Path

import torch

from dialogpt.artifact import atomic_file, atomic_folder, is_backward, make_manifest, read_manifest
from dialogpt.errors import UsageError
from dialogpt.export import ExportConfig
from dialogpt.export.gguf import needs_gguf, write_gguf
from dialogpt.hub import model_path
from dialogpt.model import checkpoint
from dialogpt.model.gpt import GPT
from dialogpt.tokens.bpe import Tokenizer

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def export(config: ExportConfig) -> Path:
    """Write the checkpoint to `config.out`, which transformers and vLLM open, or llama.cpp; returns it."""
    as_gguf = config.out.suffix.lower() == ".gguf"
    if as_gguf:
        _check_file(config)
    elif config.dtype not in DTYPES:
        raise UsageError(f"--dtype {config.dtype} is for .gguf files", f"of folders: {', '.join(DTYPES)}")
    elif config.card is not None and not config.card.is_file():
        raise UsageError(f"--card {config.card} is not a file", "name a Markdown file")
    source = model_path(config.model)
    model, tokenizer = checkpoint.load(source)
    if as_gguf:
        config.out.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(config.out) as partial:
            write_gguf(model, tokenizer, partial, name=config.out.stem, dtype=config.dtype)
    else:
        _write_folder(config, source, model, tokenizer)
    return config.out


def _check_file(config: ExportConfig) -> None:
    needs_gguf()
    if config.card is not None:
        raise UsageError("--card is for a folder: a .gguf file has no card", "leave it out")
    if config.out.exists() and not config.out.is_file():
        what = "folder" if config.out.is_dir() else "stream"
        raise UsageError(f"{config.out} is a {what}, but a file is to be written there", "name another --out")
    if config.out.exists() and not config.overwrite:
        raise UsageError(f"{config.out} exists", "name another --out, or add --overwrite")


def _write_folder(config: ExportConfig, source: Path, model: GPT, tokenizer: Tokenizer) -> None:
    made = read_manifest(source)  # a single file of weights has none
    manifest = make_manifest("checkpoint", config=config, inputs=[source], counts=made.counts if made else {})
    if (backward := is_backward(source)) is not None:
        manifest.config["reverse"] = backward
    with atomic_folder(config.out, overwrite=config.overwrite) as folder:
        checkpoint.save_into(model, tokenizer, folder, manifest, dtype=DTYPES[config.dtype])
        if config.card is not None:
            shutil.copyfile(config.card, folder / "README.md")
