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
Size = Annotated[int, msgspec.Meta(ge=1)]


class _HFConfig(msgspec.Struct, kw_only=True):
    """What is read from a config.json; older files have n_ctx, newer ones n_positions alone."""

    vocab_size: Size
    n_positions: Size | None = None
    n_ctx: Size | None = None
    n_layer: Size
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
    except (OSError, msgspec.DecodeError, RecursionError, ValueError) as error:
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
