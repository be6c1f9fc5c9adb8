"""config.json <-> GPTConfig, without torch, for engines that do not need it."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import msgspec

from dialogpt.artifact import read_json
from dialogpt.errors import CheckpointError, DataError
from dialogpt.model import GPTConfig
from dialogpt.tokens.bpe import Tokenizer

GPT2_OPTIONS: dict[str, tuple[Any, ...]] = {  # accepted values in a config.json, GPT-2's own first
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
}
TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")  # in files
MASKS = (".attn.bias", ".attn.masked_bias")  # causal masks in old files
HEADS = ("v_head.", "multiple_choice_head.")  # other heads, from training with rewards or for multiple choice
OUTPUT = "lm_head.weight"
SCORE = "score.weight"  # a ranker's (DialogRPT) score of what was read, (1, n_embd)
BLOCK = re.compile(r"transformer\.h\.(\d+)\.")
HEAD_SIZE = 64
Shapes = dict[str, tuple[int, ...]]  # weights, by name
Size = Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]
Layers = Annotated[int, msgspec.Meta(ge=1, le=10_000)]  # each has its names listed before weights are looked at


class _HFConfig(msgspec.Struct, kw_only=True):
    """What is read from a config.json; older files have n_ctx, newer ones n_positions alone."""

    vocab_size: Size
    n_positions: Size | None = None
    n_ctx: Size | None = None
    n_layer: Layers
    n_head: Size
    n_embd: Size
    resid_pdrop: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.1
    layer_norm_epsilon: Annotated[float, msgspec.Meta(gt=0)] = 1e-5


class _Tie(msgspec.Struct):
    tie_word_embeddings: bool | None = True


def load_config(folder: Path) -> GPTConfig:
    """Read config.json; CheckpointError when it is not a GPT-2's."""
    try:
        hf = msgspec.json.decode((folder / "config.json").read_bytes(), type=dict[str, Any])
        if "model_type" not in hf:
            raise CheckpointError(f"{folder}/config.json has no model_type", "add it: for a GPT-2 it is gpt2")
        if hf["model_type"] != "gpt2":
            raise CheckpointError(
                f"{folder} is a {hf['model_type']!r} model", "only GPT-2 models work: model_type gpt2"
            )
        if hf.get("quantization_config"):
            raise CheckpointError(
                f"{folder} is quantised by another program: config.json has a quantization_config",
                "name the model that it was made from; dialogpt converts it to 8 or 4 bits itself",
            )
        for name, known in GPT2_OPTIONS.items():
            if hf.get(name, known[0]) not in known:
                raise CheckpointError(f"{folder}: {name} {hf[name]!r} is not GPT-2's {known[0]}", "use another model")
        read = msgspec.convert(hf, _HFConfig)
        if hf.get("n_inner") not in (None, 4 * read.n_embd):
            raise CheckpointError(
                f"{folder}: n_inner {hf['n_inner']!r} is not GPT-2's {4 * read.n_embd}", "use another model"
            )
        n_ctx = read.n_positions or read.n_ctx
        if n_ctx is None:
            raise ValueError("it has no n_positions")
        return GPTConfig(
            vocab_size=read.vocab_size,
            n_ctx=n_ctx,
            n_layer=read.n_layer,
            n_head=read.n_head,
            n_embd=read.n_embd,
            dropout=read.resid_pdrop,
            layer_norm_eps=read.layer_norm_epsilon,
        )
    except OSError as error:
        raise CheckpointError(
            f"{folder}/config.json cannot be read: {error.strerror or error}", "check the file and its permissions"
        ) from error
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise CheckpointError(
            f"{folder}/config.json does not load: {error}", "the folder is damaged; fetch it again"
        ) from error


def load_tokenizer(source: Path) -> Tokenizer:
    """The tokenizer of a folder, or the one beside a single file; CheckpointError if the file has none."""
    if not source.is_file():
        return Tokenizer.load(source)
    try:
        return Tokenizer.load(source.parent)
    except DataError as error:
        raise CheckpointError(
            f"{source} needs its tokenizer beside it: {error.message}",
            f"put GPT-2's vocab.json and merges.txt into {source.parent}",
        ) from error


def check_vocabulary(source: Path, tokenizer: Tokenizer, rows: int) -> None:
    """CheckpointError when a model's embedding lacks rows for tokens that its tokenizer makes."""
    if tokenizer.rows_needed > rows:
        raise CheckpointError(
            f"{source}: the tokenizer has {tokenizer.rows_needed} tokens, the model {rows}",
            "use the tokenizer that the model was trained with",
        )


def our_name(name: str) -> str | None:
    """A weight's name with the prefix that a file may lack; None for masks, other heads, output layer and score."""
    if name.endswith(MASKS) or name.startswith(HEADS) or name in (OUTPUT, SCORE):
        return None
    return name if name.startswith("transformer.") else f"transformer.{name}"


def shape_of(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> GPTConfig:
    """The shape of a single file's model, from those of its weights by the names of ours.

    Weights do not show the number of heads: it is n_embd / 64, as in every released size. Raises CheckpointError when
    the embeddings are missing, not matrices, or their width is not a multiple of 64.
    """
    embeddings = ("transformer.wte.weight", "transformer.wpe.weight")
    missing = [name for name in embeddings if name not in shapes]
    if missing:
        raise CheckpointError(f"the weights in {path} lack {', '.join(missing)}", "only state dicts of a GPT-2 work")
    for name in embeddings:
        if len(shapes[name]) != 2 or 0 in shapes[name]:
            raise CheckpointError(
                f"{path}: {name} has shape {shapes[name]}, a matrix is expected", "only state dicts of a GPT-2 work"
            )
    (vocab_size, n_embd), (n_ctx, _) = (shapes[name] for name in embeddings)
    if n_embd % HEAD_SIZE:
        raise CheckpointError(
            f"{path}: the width {n_embd} is not a multiple of {HEAD_SIZE}, so the number of heads is unknown",
            "name a checkpoint folder, whose config.json says it",
        )
    # Blocks are counted, not taken from the highest number, which a damaged name could make astronomical.
    blocks = {found[1] for found in map(BLOCK.match, shapes) if found}
    return GPTConfig(vocab_size=vocab_size, n_ctx=n_ctx, n_layer=len(blocks), n_head=n_embd // HEAD_SIZE, n_embd=n_embd)


def expected_shapes(config: GPTConfig) -> Shapes:
    """The weights that a model of this configuration has, linear ones as (out, in)."""
    width = config.n_embd
    found: Shapes = {"wte.weight": (config.vocab_size, width), "wpe.weight": (config.n_ctx, width)}
    linears = {"attn.c_attn": (3, 1), "attn.c_proj": (1, 1), "mlp.c_fc": (4, 1), "mlp.c_proj": (1, 4)}
    for layer in range(config.n_layer):
        for name in ("ln_1", "ln_2"):
            found |= {f"h.{layer}.{name}.{part}": (width,) for part in ("weight", "bias")}
        for name, (outputs, inputs) in linears.items():
            found[f"h.{layer}.{name}.weight"] = (outputs * width, inputs * width)
            found[f"h.{layer}.{name}.bias"] = (outputs * width,)
    found |= {"ln_f.weight": (width,), "ln_f.bias": (width,)}
    return {f"transformer.{name}": shape for name, shape in found.items()}


def check_names_and_shapes(source: Path, found: Shapes, expected: Shapes) -> None:
    """CheckpointError when the weights of a folder or file are not those of its model."""
    of_one = "only state dicts of a GPT-2 work" if source.is_file() else "config.json and weights must be of one model"
    asks = "the embeddings ask" if source.is_file() else "config.json asks"
    missing, surplus = expected.keys() - found.keys(), found.keys() - expected.keys()
    for what, names in (("lack", missing), ("have surplus", surplus)):
        if names:
            shown = ", ".join(sorted(names)[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            raise CheckpointError(f"the weights in {source} {what} {shown}", of_one)
    for name, shape in expected.items():
        if found[name] != shape:
            raise CheckpointError(f"{source}: {name} has shape {found[name]}, {asks} for {shape}", of_one)


def check_ranker(source: Path, score: tuple[int, ...] | None, n_embd: int, *, wanted: bool | None) -> None:
    """CheckpointError when a ranker is to reply, or another model to rank (wanted; None: either is allowed).

    score: the shape of its `SCORE`, None where it has none.
    """
    if score is None and wanted:
        raise CheckpointError(
            f"{source} is not a ranker: it has no {SCORE}", "name one such as microsoft/DialogRPT-updown"
        )
    if score is not None and wanted is False:
        raise CheckpointError(
            f"{source} scores replies and makes none: it has {SCORE}", "name it with --ranker, and a model here"
        )
    if score not in (None, (1, n_embd)):
        raise CheckpointError(f"{source}: {SCORE} has shape {score}, a ranker's is {(1, n_embd)}", "name a ranker")


def with_score(config: GPTConfig) -> GPTConfig:
    """A ranker as engines run it: its score is an additional row of the embedding, and so an additional logit."""
    return replace(config, vocab_size=config.vocab_size + 1, ranks=True)


def check_output(source: Path, same: bool | None) -> None:
    """CheckpointError unless a model's output layer is its token embedding.

    same: whether the output layer in its weights equals it; None if they have none, so that config.json decides.
    """
    if same is False:
        raise CheckpointError(
            f"{source}: {OUTPUT} is not the token embedding", "only models whose output layer is tied work"
        )
    file = source / "config.json"
    if same is None and file.is_file() and not read_json(file, _Tie).tie_word_embeddings:
        raise CheckpointError(
            f"{source} holds no {OUTPUT}, and its config.json says tie_word_embeddings false",
            "copy all of the model's weights; if its output layer is the token embedding, write true there",
        )


def to_hf(config: GPTConfig, end_id: int, dtype: str) -> dict[str, Any]:
    """What a config.json says of a model, or a ranker, whose weights are in this precision."""
    ranker = {"pad_token_id": end_id, "id2label": {"0": "score"}, "label2id": {"score": 0}}  # one label: num_labels 1
    return {
        "architectures": ["GPT2ForSequenceClassification" if config.ranks else "GPT2LMHeadModel"],
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "vocab_size": config.vocab_size - config.ranks,
        "n_positions": config.n_ctx,
        "n_ctx": config.n_ctx,
        "n_embd": config.n_embd,
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "layer_norm_epsilon": config.layer_norm_eps,
        "initializer_range": 0.02,
        "tie_word_embeddings": True,
        "bos_token_id": end_id,
        "eos_token_id": end_id,
        "torch_dtype": dtype,
        **(ranker if config.ranks else {}),
    }
