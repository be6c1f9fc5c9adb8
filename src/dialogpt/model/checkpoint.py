"""A checkpoint is a Hugging Face folder: config.json, model.safetensors, tokenizer.json, generation_config.json.

`save` writes what `AutoModelForCausalLM` opens; `load` opens that, any GPT-2 or DialoGPT folder or hub name, weights in
several files and older `pytorch_model.bin` files included, and the authors' single `.pkl` files (see `pickled`). GPT-2
keeps its linear weights as (in, out); ours are (out, in), transposed here.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dialogpt.artifact import Manifest, atomic_folder, write_json, write_manifest
from dialogpt.errors import CheckpointError
from dialogpt.hub import model_path
from dialogpt.model.config import (
    OUTPUT,
    SCORE,
    TRANSPOSED,
    check_names_and_shapes,
    check_output,
    check_ranker,
    check_vocabulary,
    expected_shapes,
    load_config,
    load_tokenizer,
    our_name,
    shape_of,
    to_hf,
    with_score,
)
from dialogpt.model.files import SAFE, todays_names, weight_files
from dialogpt.model.gpt import GPT
from dialogpt.model.pickled import read_pickled
from dialogpt.tokens.bpe import Tokenizer

EMBEDDING = "transformer.wte.weight"


def load(name: str | Path | None = None, *, mapped: bool = False, ranker: bool | None = False) -> tuple[GPT, Tokenizer]:
    """Open a checkpoint (see `hub.model_path`) as an fp32 model in evaluation mode and its tokenizer.

    `mapped`: fp32 weights stay in the file and are read when used; such a model is not for training. `ranker`: the
    model is one, and its score becomes the last row of the embedding; None: it may be one. A single file of weights has
    its tokenizer beside it. Raises CheckpointError for another architecture, missing, surplus or wrongly shaped
    weights, a tokenizer that does not fit the model, and a ranker where a model is wanted.
    """
    source = model_path(name)
    config = None if source.is_file() else load_config(source)
    tokenizer = load_tokenizer(source)
    stored = read_weights(source)
    weights = _to_ours(stored)
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    config = config or shape_of(source, shapes)
    check_vocabulary(source, tokenizer, config.vocab_size)
    check_names_and_shapes(source, shapes, expected_shapes(config))
    score, embedding = stored.get(SCORE), weights[EMBEDDING]
    check_ranker(source, None if score is None else tuple(score.shape), config.n_embd, wanted=ranker)
    if score is None:
        check_output(source, _same(stored[OUTPUT], embedding) if OUTPUT in stored else None)
    else:
        weights[EMBEDDING] = torch.cat([embedding, score.to(embedding.dtype)])
        config = with_score(config)
    with torch.device("meta"):
        model = GPT(config)
    typed = {name: weight.float() for name, weight in weights.items()}
    if not mapped:
        typed = {name: weight.contiguous() for name, weight in typed.items()}
    model.load_state_dict(typed, assign=True)
    return model.eval(), tokenizer


def save(
    model: GPT, tokenizer: Tokenizer, folder: Path, manifest: Manifest, *, dtype: torch.dtype = torch.float32
) -> None:
    """Write a checkpoint folder, whole or not at all, in place of one that may be there."""
    with atomic_folder(folder, overwrite=True) as partial:
        save_into(model, tokenizer, partial, manifest, dtype=dtype)


def save_into(model: GPT, tokenizer: Tokenizer, folder: Path, manifest: Manifest, *, dtype: torch.dtype) -> None:
    """Write a checkpoint's files into a folder that exists."""
    write_json(folder / "config.json", to_hf(model.config, tokenizer.end_id, str(dtype).removeprefix("torch.")))
    tokenizer.save(folder)
    stored = model.state_dict()
    if model.config.ranks:
        stored[EMBEDDING], stored[SCORE] = stored[EMBEDDING][:-1], stored[EMBEDDING][-1:]
    else:
        write_json(folder / "generation_config.json", generation_config(tokenizer.end_id))
    weights = {
        name: (weight.T if name.endswith(TRANSPOSED) else weight).detach().to("cpu", dtype).contiguous()
        for name, weight in stored.items()
    }
    try:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "model.safetensors").chmod((folder / "config.json").stat().st_mode)  # it is 0600
    except SafetensorError as error:  # a full disk, for one
        raise OSError(str(error)) from error
    write_manifest(folder, manifest)


def generation_config(end_id: int) -> dict[str, Any]:
    """How `transformers` should decode by default: as `DecodingConfig` does."""
    return {
        "bos_token_id": end_id, "eos_token_id": end_id, "pad_token_id": end_id,
        "do_sample": True, "temperature": 0.6, "top_k": 50, "top_p": 0.9, "no_repeat_ngram_size": 3,
    }  # fmt: skip


def as_ranker(model: GPT) -> GPT:
    """A language model as a ranker to be trained.

    Its scores begin at 0 and stay around it, as only their differences are learned. (DialogRPT's began as the end
    token's logits, which are far from 0, where the sigmoid of all replies is nearly the same.)
    """
    weights = model.state_dict()
    weights[EMBEDDING] = F.pad(weights[EMBEDDING], (0, 0, 0, 1))
    with torch.device("meta"):
        ranker = GPT(with_score(model.config))
    ranker.load_state_dict(weights, assign=True)
    return ranker


def read_weights(source: Path) -> dict[str, Tensor]:
    """The weights of a folder or file by the names of today's `transformers` (see `files.weight_files`)."""
    found: dict[str, Tensor] = {}
    for file in weight_files(source):
        found |= _read_safetensors(file) if file.suffix == SAFE else read_pickled(file)
    return found


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        stored = load_file(file)
        names = todays_names(stored)
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"the weights in {file} do not load: {error}", "the file is damaged; fetch it again"
        ) from error
    return {names[name]: weight for name, weight in stored.items()}


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal in the narrower of their types."""
    narrow = min(one.dtype, other.dtype, key=lambda dtype: dtype.itemsize)
    return torch.equal(one.to(narrow), other.to(narrow))


def _to_ours(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our names and orientation; a file may lack the `transformer.` prefix and hold the tied output layer."""
    ours = {}
    for name, weight in weights.items():
        if key := our_name(name):
            ours[key] = weight.T if key.endswith(TRANSPOSED) and weight.dim() == 2 else weight
    return ours
