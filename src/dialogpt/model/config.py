"""config.json <-> GPTConfig, without torch: engines that do without it read checkpoints too."""

from pathlib import Path
from typing import Annotated, Any

import msgspec

from dialogpt.errors import CheckpointError
from dialogpt.model import GPTConfig
from dialogpt.tokens.bpe import Tokenizer

GPT2_OPTIONS: dict[str, tuple[Any, ...]] = {  # what a config.json may say, GPT-2's own first
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
}
TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")  # in files
NOT_WEIGHTS = (".attn.bias", ".attn.masked_bias")  # causal masks that old files carry along
Shapes = dict[str, tuple[int, ...]]  # of weights, by name
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


def load_config(folder: Path) -> GPTConfig:
    """Read config.json; CheckpointError when it is not a GPT-2's."""
    try:
        hf = msgspec.json.decode((folder / "config.json").read_bytes(), type=dict[str, Any])
        if hf.get("model_type") != "gpt2":
            raise CheckpointError(
                f"{folder} is a {hf.get('model_type')!r} model", "only GPT-2 models work: model_type gpt2"
            )
        for name, known in GPT2_OPTIONS.items():
            if hf.get(name, known[0]) not in known:
                raise CheckpointError(
                    f"{folder}: {name} {hf[name]!r} is not GPT-2's {known[0]}", "another model is needed"
                )
        read = msgspec.convert(hf, _HFConfig)
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
            f"{folder}/config.json cannot be read: {error.strerror or error}", "check the file and its rights"
        ) from error
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise CheckpointError(
            f"{folder}/config.json does not load: {error}", "the folder is damaged; fetch it again"
        ) from error


def check_vocabulary(source: Path, tokenizer: Tokenizer, config: GPTConfig) -> None:
    """CheckpointError when a model does not know all tokens of its tokenizer."""
    if tokenizer.vocab_size > config.vocab_size:
        raise CheckpointError(
            f"{source}: the tokenizer has {tokenizer.vocab_size} tokens, the model {config.vocab_size}",
            "use the tokenizer that the model was trained with",
        )


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


def to_hf(config: GPTConfig, end_id: int, dtype: str) -> dict[str, Any]:
    """What a config.json says of a model whose weights are in this precision."""
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "vocab_size": config.vocab_size,
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
    }
