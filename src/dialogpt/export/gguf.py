"""A checkpoint -> one GGUF file, which llama.cpp and what is built on it open, whatever vocabulary it has.

llama.cpp's own converter takes vocabularies whose hash it knows, so none that `dialogpt tokenizer` makes. What the file
has to say: words are split as GPT-2's, nothing comes before the first turn, the end token ends each. Matrices are in
the type asked for (q8_0 only where rows divide into its blocks of 32), vectors and positions in fp32.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from dialogpt.errors import CheckpointError, UsageError
from dialogpt.model.checkpoint import generation_config
from dialogpt.model.gpt import GPT
from dialogpt.tokens.bpe import CHAT_TEMPLATE, Tokenizer

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType, GGUFWriter

log = logging.getLogger(__name__)

TYPES = {"fp32": "F32", "fp16": "F16", "bf16": "BF16", "q8_0": "Q8_0"}  # GGUF's names
BLOCK = 32  # weights of a row that share a scale in q8_0


def needs_gguf() -> None:
    """UsageError where the package that writes these files is missing."""
    try:
        import gguf  # noqa: F401
    except ModuleNotFoundError as error:
        raise UsageError("a .gguf file needs the package gguf", 'pip install "dialogpt[gguf]"') from error


def write_gguf(model: GPT, tokenizer: Tokenizer, file: Path, *, name: str, dtype: str) -> None:
    """Write the model as `file`; `name` is what programs show, `dtype` one of TYPES.

    Raises CheckpointError for a tokenizer that splits text in another way than GPT-2's.
    """
    from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType

    _check_splits_as_gpt2(name, tokenizer)
    writer = GGUFWriter(file, "gpt2")
    try:
        prefix = "ALL" if dtype == "fp32" else "MOSTLY"
        writer.add_file_type(LlamaFileType[f"{prefix}_{TYPES[dtype]}"])
        writer.add_quantization_version(2)
        _describe(writer, model, tokenizer, name)
        _add_vocabulary(writer, tokenizer, model.config.vocab_size)
        _add_weights(writer, model, GGMLQuantizationType[TYPES[dtype]])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _check_splits_as_gpt2(name: str, tokenizer: Tokenizer) -> None:
    definition = tokenizer.definition
    split = definition["pre_tokenizer"] or {}
    as_gpt2 = (split.get("type"), split.get("use_regex"), split.get("add_prefix_space")) == ("ByteLevel", True, False)
    if not as_gpt2 or definition["normalizer"] is not None:
        raise CheckpointError(
            f"{name}: its tokenizer splits text differently from GPT-2's, which a GGUF file cannot express",
            "export a folder, or convert it with llama.cpp's convert_hf_to_gguf.py",
        )


def _describe(writer: "GGUFWriter", model: GPT, tokenizer: Tokenizer, name: str) -> None:
    """The model's shape, and how it is to be sampled when nothing else is said."""
    config, advice = model.config, generation_config(tokenizer.end_id)
    writer.add_type("model")
    writer.add_name(name)
    writer.add_block_count(config.n_layer)
    writer.add_context_length(config.n_ctx)
    writer.add_embedding_length(config.n_embd)
    writer.add_feed_forward_length(4 * config.n_embd)
    writer.add_head_count(config.n_head)
    writer.add_layer_norm_eps(config.layer_norm_eps)
    writer.add_float32("general.sampling.temp", advice["temperature"])
    writer.add_int32("general.sampling.top_k", advice["top_k"])
    writer.add_float32("general.sampling.top_p", advice["top_p"])


def _add_vocabulary(writer: "GGUFWriter", tokenizer: Tokenizer, rows: int) -> None:
    """A token for each of the embedding's rows; those that no text makes are marked as unused."""
    from gguf import TokenType

    definition: dict[str, Any] = tokenizer.definition
    tokens, types = [f"[PAD{row}]" for row in range(rows)], [TokenType.UNUSED] * rows
    for text, number in definition["model"]["vocab"].items():
        tokens[number], types[number] = text, TokenType.NORMAL
    for added in definition["added_tokens"]:
        if added["id"] < rows:  # special ones may have no row
            tokens[added["id"]] = added["content"]
            types[added["id"]] = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
    types[tokenizer.end_id] = TokenType.CONTROL
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in definition["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(tokenizer.end_id)
    writer.add_eos_token_id(tokenizer.end_id)
    writer.add_pad_token_id(tokenizer.end_id)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def _add_weights(writer: "GGUFWriter", model: GPT, matrices: "GGMLQuantizationType") -> None:
    """Each weight in its type: ours stand as (out, in), which is llama.cpp's way too."""
    from gguf import MODEL_ARCH, GGMLQuantizationType, get_tensor_name_map
    from gguf.quants import quantize

    names = get_tensor_name_map(MODEL_ARCH.GPT2, model.config.n_layer)
    weights: dict[str, Tensor] = model.state_dict()
    for ours, weight in weights.items():
        theirs = names.get_name(ours, try_suffixes=(".weight", ".bias"))
        assert theirs is not None, ours  # it knows all of GPT-2's
        kind = GGMLQuantizationType.F32 if weight.dim() == 1 or "wpe" in ours else matrices
        if kind is GGMLQuantizationType.Q8_0 and weight.shape[-1] % BLOCK:
            log.info("%s is in fp16: its rows of %d are not a multiple of %d", ours, weight.shape[-1], BLOCK)
            kind = GGMLQuantizationType.F16
        writer.add_tensor(theirs, quantize(weight.float().numpy(), kind), raw_dtype=kind)
