"""The `export` command: a Hugging Face folder with weights in bf16, fp16 or fp32."""

import shutil
from pathlib import Path

import torch

from dialogpt.artifact import atomic_folder, is_backward, make_manifest, read_manifest
from dialogpt.errors import UsageError
from dialogpt.export import ExportConfig
from dialogpt.hub import model_path
from dialogpt.model import checkpoint

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def export(config: ExportConfig) -> Path:
    """Write the checkpoint to `config.out`, which transformers, vLLM and llama.cpp's converter open; returns it."""
    if config.card is not None and not config.card.is_file():
        raise UsageError(f"--card {config.card} is no file", "name a Markdown file")
    source = model_path(config.model)
    model, tokenizer = checkpoint.load(source)
    made = read_manifest(source)  # a single file of weights has none
    manifest = make_manifest("checkpoint", config=config, inputs=[source], counts=made.counts if made else {})
    if (backward := is_backward(source)) is not None:
        manifest.config["reverse"] = backward
    with atomic_folder(config.out, overwrite=config.overwrite) as folder:
        checkpoint.save_into(model, tokenizer, folder, manifest, dtype=DTYPES[config.dtype])
        if config.card is not None:
            shutil.copyfile(config.card, folder / "README.md")
    return config.out
