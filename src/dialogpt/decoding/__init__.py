"""Stage 5: context -> hypotheses -> the reply.

`sampling` chooses tokens from an engine's logits (see `dialogpt.engine`); `rows` decodes many contexts together and
`beam` searches; `hypotheses` applies both to contexts; `safety` rejects and `rerank` orders what they made;
`responder` is the whole way from a context to a reply, for `generate` (a file) and for a conversation.
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from dialogpt.errors import UsageError, given


class Range(NamedTuple):
    """The values that a setting may have; with `above` the least is excluded."""

    least: float
    most: float = math.inf
    above: bool = False

    def __contains__(self, value: Any) -> bool:
        return bool((value > self.least if self.above else value >= self.least) and value <= self.most)

    def __str__(self) -> str:
        if math.isinf(self.most):
            return f"at least {self.least:g}"
        between = "above {:g} and at most {:g}" if self.above else "from {:g} to {:g}"
        return between.format(self.least, self.most)


# For the settings of a reply, wherever they come from: the command line, /settings in the chat, a request.
RANGES = {
    "max_new_tokens": Range(1),
    "temperature": Range(0, 5),  # at 5 likely tokens are hardly likelier than the rest
    "top_k": Range(0),
    "top_p": Range(0, 1, above=True),
    "min_p": Range(0, 1),
    "repetition_penalty": Range(0, 10, above=True),
    "no_repeat_ngram": Range(0, 100),
    "no_repeat_context": Range(0, 100),
    "num_beams": Range(1),
    "length_penalty": Range(-10, 10),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodingConfig:
    """How a reply is chosen. The defaults are for talking: varied, and without loops."""

    max_new_tokens: Annotated[int, "longest reply, in tokens"] = 64
    min_new_tokens: Annotated[int, "shortest reply, in tokens before the end token"] = 1
    temperature: Annotated[float, "below 1: safer, above 1: wilder; 0: greedy"] = 0.6
    top_k: Annotated[int, "draw from the k likeliest tokens (0: all)"] = 50
    top_p: Annotated[float, "draw from the smallest set of tokens with this probability (1: all)"] = 0.9
    min_p: Annotated[float, "draw from tokens at least this share as likely as the likeliest (0: all)"] = 0.0
    repetition_penalty: Annotated[float, "divide the odds of tokens already in the reply (1: off)"] = 1.0
    no_repeat_ngram: Annotated[int, "no n tokens twice in a reply (0: off)"] = 3
    no_repeat_context: Annotated[int, "no n tokens of context and reply twice (0: off)"] = 0
    num_beams: Annotated[int, "beam search with this many beams, instead of drawing (1: off; the paper uses 10)"] = 1
    length_penalty: Annotated[float, "for beams: logprob / length ** penalty; above 0 favours long replies"] = 1.0
    seed: Annotated[int | None, "same seed, same replies (default: a new one each time)"] = None

    def __post_init__(self) -> None:
        check_ranges(
            self,
            *((name, getattr(self, name) in allowed, str(allowed)) for name, allowed in RANGES.items()),
            ("min_new_tokens", 0 <= self.min_new_tokens <= self.max_new_tokens, "from 0 to max-new-tokens"),
            ("seed", self.seed is None or self.seed >= 0, "at least 0"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyConfig(DecodingConfig):
    """How a reply is chosen among hypotheses: by a backward model (MMI) or a ranker, without unsafe ones."""

    num_hypotheses: Annotated[
        int, "hypotheses of a reply (0: 16 with --mmi or --ranker, else 1; in `chat` and `bot` see --mmi)"
    ] = 0
    mmi: Annotated[
        bool | None,
        "the reply is the hypothesis from which a backward model best predicts the source (MMI) (default: "
        "in `chat` and `bot`, if the model has a backward companion; a small model's reply is the best of 64)",
    ] = None
    backward: Annotated[str, "backward model for --mmi, trained with --reverse (default: the model's companion)"] = ""
    mmi_source: Annotated[Literal["last", "all"], "what the backward model predicts: the last turn, or all"] = "last"
    forward_weight: Annotated[
        float,
        "for --mmi: how much a hypothesis's own log-probability per token counts; above 0, what was said before "
        "also comes last (0: as in the paper)",
    ] = 0.0
    ranker: Annotated[str, "model that scores hypotheses, such as microsoft/DialogRPT-updown"] = ""
    ranker_weight: Annotated[float, "for --ranker beside --mmi: how much its log-probability counts"] = 1.0
    safety: Annotated[bool, "reject hypotheses that offend, or agree with something offensive"] = True
    blocklist: Annotated[Path | None, "phrases that no reply may contain, one per line (default: a short list)"] = None
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16", "int8", "int4"],
        "of matrix products; int8, int4: 8-bit or 4-bit weights, on a CPU only; fp16: on a GPU only",
    ] = "auto"

    def __post_init__(self) -> None:
        DecodingConfig.__post_init__(self)
        check_ranges(
            self,
            ("num_hypotheses", self.num_hypotheses >= 0, "at least 1"),
            ("forward_weight", 0 <= self.forward_weight < math.inf, "at least 0"),
            ("ranker_weight", math.isfinite(self.ranker_weight), "a number"),
        )
        if given(self, "ranker_weight") and not self.ranker:
            raise UsageError("--ranker-weight needs a ranker, and none is named", "add --ranker")
        if self.num_beams > 1 and self.hypotheses > self.num_beams:
            raise UsageError(
                f"--num-beams {self.num_beams} cannot find {self.hypotheses} hypotheses",
                "ask for more --num-beams, or for fewer --num-hypotheses",
            )
        if self.num_beams == 1 and self.temperature == 0 and self.hypotheses > 1:
            raise UsageError(
                f"--temperature 0 gives the same hypothesis {self.hypotheses} times",
                "set it above 0, or ask for --num-beams, or for --num-hypotheses 1",
            )

    @property
    def hypotheses(self) -> int:
        """How many hypotheses a reply is chosen from; the authors had 16."""
        return self.num_hypotheses or (16 if self.mmi or self.ranker else 1)

    def only_drawn(self) -> tuple[list[str], str]:
        """The settings of drawing that were given in vain, and what has tokens not drawn.

        In vain but for replies that are drawn because all hypotheses were rejected.
        """
        by = f"--num-beams {self.num_beams}" if self.num_beams > 1 else "--temperature 0"
        names = ["top_k", "top_p", "min_p", *(["temperature"] if self.temperature else [])]
        in_vain = given(self, *names) if self.num_beams > 1 or not self.temperature else []
        return [f"--{name.replace('_', '-')}" for name in in_vain], by

    def check_all_is_read(self) -> None:
        """Raise a UsageError for a setting that no reply uses (unless each has its own, as requests have)."""
        if self.backward and not self.mmi:
            raise UsageError(f"--backward {self.backward} is not used without --mmi", "add --mmi")
        if self.forward_weight and not self.mmi:
            raise UsageError(f"--forward-weight {self.forward_weight:g} is not used without --mmi", "add --mmi")
        if given(self, "mmi_source") and not self.mmi:
            raise UsageError(f"--mmi-source {self.mmi_source} is not used without --mmi", "add --mmi")
        if given(self, "length_penalty") and self.num_beams == 1:
            raise UsageError(f"--length-penalty {self.length_penalty:g} is for beams", "add --num-beams")
        if self.blocklist and not self.safety:
            raise UsageError(f"--blocklist {self.blocklist} is not used with --no-safety", "leave one of them out")


def check_ranges(config: object, *rules: tuple[str, bool, str]) -> None:
    """Raise a UsageError for the first (name, holds, rule) that does not hold."""
    for name, holds, rule in rules:
        if not holds:
            raise UsageError(
                f"--{name.replace('_', '-')} {getattr(config, name)} is out of range", f"it must be {rule}"
            )


@contextmanager
def settings_by_name() -> Iterator[None]:
    """Errors name settings as top_k, for those who have not typed --top-k."""
    try:
        yield
    except UsageError as error:
        message, hint = (re.sub(r"--([a-z-]+)", lambda flag: flag[1].replace("-", "_"), text)
                         for text in (error.message, error.hint))  # fmt: skip
        raise UsageError(message, hint) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateConfig(ReplyConfig):
    """Settings of `generate`: a file of contexts -> a file of hypotheses."""

    contexts: Annotated[
        Path, 'JSONL ({"context": [...]} or sessions), or text: a context per line, tabs between turns; -: stdin'
    ]
    out: Annotated[Path | None, "file, pipe or device to write (default: stdout, also named `-`)"] = None
    overwrite: Annotated[bool, "replace an existing file, or an unfinished one of another version"] = False
    model: Annotated[str, "checkpoint folder, run folder or hub name (default: the bundled model)"] = ""
    format: Annotated[Literal["text", "jsonl"], "text: a reply per line; jsonl: also id, context, log-probability"] = (
        "text"
    )
    show_hypotheses: Annotated[bool, "with --format jsonl: every hypothesis, its scores, and why it was rejected"] = (
        False
    )
    report: Annotated[bool, "print how much the hypotheses repeat themselves, their context and each other"] = False
    batch_size: Annotated[int, "rows decoded together: contexts times hypotheses"] = 64
    device: Annotated[str, "auto, cpu, cuda, mps"] = "auto"


class Hypothesis(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a model produced for a context; `logprob` in nats, the end token included where there is one.

    `scores` are the rankers', by name, higher is better; `rejected` is the reason, or None.
    """

    text: str
    tokens: tuple[int, ...]
    logprob: float
    ended: bool
    scores: dict[str, float] = {}
    rejected: str | None = None

    @property
    def size(self) -> int:
        """How many tokens it has."""
        return len(self.tokens)


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What is said, and the hypotheses it was chosen from: the best first, the rejected ones last."""

    text: str
    hypotheses: tuple[Hypothesis, ...]
