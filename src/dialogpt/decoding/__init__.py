"""Stage 5: context -> hypotheses.

`sampling` chooses tokens from logits, `engine` runs the model with its cache, `hypotheses` puts both together for a
batch of contexts, `generate` does that for a file.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from dialogpt.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodingConfig:
    """How a reply is chosen. The defaults are for talking: varied, and without loops."""

    max_new_tokens: Annotated[int, "longest reply, in tokens"] = 64
    min_new_tokens: Annotated[int, "shortest reply, in tokens before the end token"] = 1
    temperature: Annotated[float, "below 1: safer, above 1: wilder; 0: greedy"] = 0.6
    top_k: Annotated[int, "draw from the k likeliest tokens (0: all)"] = 50
    top_p: Annotated[float, "draw from the smallest set of tokens with this probability (1: all)"] = 0.9
    repetition_penalty: Annotated[float, "divide the odds of tokens already in the reply (1: off)"] = 1.0
    no_repeat_ngram: Annotated[int, "no n tokens twice in a reply (0: off)"] = 3
    seed: Annotated[int | None, "same seed, same replies (default: a new one each time)"] = None

    def __post_init__(self) -> None:
        for name, ok, rule in (
            ("max_new_tokens", self.max_new_tokens >= 1, "at least 1"),
            ("min_new_tokens", 0 <= self.min_new_tokens <= self.max_new_tokens, "from 0 to max-new-tokens"),
            ("temperature", 0 <= self.temperature < math.inf, "at least 0"),
            ("top_k", self.top_k >= 0, "at least 0"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("repetition_penalty", 0 < self.repetition_penalty < math.inf, "above 0"),
            ("no_repeat_ngram", self.no_repeat_ngram >= 0, "at least 0"),
            ("seed", self.seed is None or self.seed >= 0, "at least 0"),
        ):
            if not ok:
                raise UsageError(
                    f"--{name.replace('_', '-')} {getattr(self, name)} is out of range", f"it must be {rule}"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateConfig(DecodingConfig):
    """Settings of `generate`: a file of contexts -> a file of hypotheses."""

    contexts: Annotated[Path, 'JSONL ({"context": [...]} or sessions), or text: a context a line, turns between tabs']
    out: Annotated[Path | None, "file to write (default: stdout)"] = None
    model: Annotated[str, "checkpoint folder, run folder or hub name (default: the bundled model)"] = ""
    format: Annotated[Literal["text", "jsonl"], "text: a reply a line; jsonl: with id, context and log-probability"] = (
        "text"
    )
    batch_size: Annotated[int, "contexts decoded together"] = 32
    device: Annotated[str, "auto, cpu, cuda, mps"] = "auto"


class Hypothesis(msgspec.Struct, frozen=True, kw_only=True):
    """What a model produced for a context; `logprob` in nats, the end token included where there is one."""

    text: str
    tokens: tuple[int, ...]
    logprob: float
    ended: bool
