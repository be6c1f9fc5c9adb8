"""Stage 3: the model, a GPT-2.

`gpt` is the network, `loss` its objective, `checkpoint` the Hugging Face folder it is kept in. This front page needs
no torch: the configuration and the paper's sizes.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GPTConfig:
    """The shape of a GPT-2; the names are those of the published configuration files."""

    vocab_size: int = 50257
    n_ctx: int = 1024
    n_layer: int = 12
    n_head: int = 12
    n_embd: int = 768
    dropout: float = 0.1
    layer_norm_eps: float = 1e-5
    ranks: bool = False  # it is a ranker: the last row of its embedding is the score's (`config.with_score`)

    def __post_init__(self) -> None:
        if self.n_embd % self.n_head:
            raise ValueError(f"n_embd {self.n_embd} is not a multiple of n_head {self.n_head}")


SIZES = {
    "117M": GPTConfig(),
    "345M": GPTConfig(n_layer=24, n_head=16, n_embd=1024),
    "762M": GPTConfig(n_layer=36, n_head=20, n_embd=1280),
}
