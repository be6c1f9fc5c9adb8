"""Hypotheses ordered by rankers.

A ranker is a function (context, hypotheses) -> scores, higher is better, with a name. `MMI` is the authors': log
P(source | hypothesis) by a backward model that reads `hypothesis <eos> last source turn <eos> older turns <eos>`, with
loss on the source alone (paper, section 3.3). Rankers are combined by weights.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec

from dialogpt.decoding import Hypothesis, ReplyConfig
from dialogpt.engine import Engine
from dialogpt.session import Turn
from dialogpt.tokens.bpe import Tokenizer

FEW_WORDS = 3  # words from which a turn should not be repeated; "me too" may be
LAST = 1e4  # more than other scores can make up for


class Ranker(Protocol):
    """Scores the hypotheses of a context, one number each; higher is better."""

    @property
    def name(self) -> str: ...
    def __call__(self, context: Sequence[Turn], hypotheses: Sequence[Hypothesis]) -> Sequence[float]: ...


Rankers = Sequence[tuple[Ranker, float]]  # with their weights


@dataclass(frozen=True, slots=True)
class Forward:
    """log P(hypothesis | context) per token by the model that made it; 0 if an engine does not report it."""

    name: str = "forward a token"

    def __call__(self, context: Sequence[Turn], hypotheses: Sequence[Hypothesis]) -> list[float]:
        logprobs = [hypothesis.logprob / max(hypothesis.size, 1) for hypothesis in hypotheses]
        return [0.0 if math.isnan(logprob) else logprob for logprob in logprobs]


@dataclass(frozen=True, slots=True)
class MMI:
    """log P(source | hypothesis) by a backward model, in nats; the source is the last turn, or all turns."""

    engine: Engine
    tokenizer: Tokenizer
    source: Literal["last", "all"] = "last"
    name: str = "mmi"

    def __call__(self, context: Sequence[Turn], hypotheses: Sequence[Hypothesis]) -> list[float]:
        turns = context[-1:] if self.source == "last" else context[::-1]
        source = [token for turn in self.tokenizer.encode_turns(turns) for token in turn]
        longest = self.engine.n_ctx // 2  # as the context of a reply, a hypothesis that is too long keeps its end
        made = [tuple(self.tokenizer.encode_turns([Turn(hypothesis.text)])[0][-longest:]) for hypothesis in hypotheses]
        room = self.engine.n_ctx - max(map(len, made))  # the same part of the source for all, to be comparable
        return scored_once(made, lambda some: [-x for x in self.engine.nats([(one, source[:room]) for one in some])])


@dataclass(frozen=True, slots=True)
class Unsaid:
    """0, or -1 for a hypothesis of several words that is already a turn of the context, whoever said it."""

    name: str = "unsaid"

    def __call__(self, context: Sequence[Turn], hypotheses: Sequence[Hypothesis]) -> list[float]:
        said = {tuple(words) for turn in context if len(words := _words(turn.text)) >= FEW_WORDS}
        return [-1.0 if tuple(_words(hypothesis.text)) in said else 0.0 for hypothesis in hypotheses]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def scored_once(
    made: Sequence[tuple[int, ...]], score: Callable[[Sequence[tuple[int, ...]]], Sequence[float]]
) -> list[float]:
    """The score of each text, in tokens; one that was drawn several times is scored once."""
    different = list(dict.fromkeys(made))
    found = dict(zip(different, score(different), strict=True))
    return [found[tokens] for tokens in made]


def mmi_rankers(backward: tuple[Engine, Tokenizer], config: ReplyConfig) -> list[tuple[Ranker, float]]:
    """The rankers of `--mmi`: a backward model, as in the paper.

    With a `forward_weight` the forward model counts too, and what was said before comes last.
    """
    rankers: list[tuple[Ranker, float]] = [(MMI(*backward, config.mmi_source), 1.0)]
    return [*rankers, (Forward(), config.forward_weight), (Unsaid(), LAST)] if config.forward_weight else rankers


def rerank(context: Sequence[Turn], hypotheses: Sequence[Hypothesis], rankers: Rankers) -> list[Hypothesis]:
    """The hypotheses with their scores, the best first: by the sum of weight * score; equal ones keep their order."""
    if not hypotheses:
        return []
    scored = [dict(hypothesis.scores) for hypothesis in hypotheses]
    totals = [0.0] * len(hypotheses)
    for ranker, weight in rankers:
        for i, score in enumerate(ranker(context, hypotheses)):
            scored[i][ranker.name] = score
            totals[i] += weight * score
    order = sorted(range(len(hypotheses)), key=lambda i: -totals[i])
    return [msgspec.structs.replace(hypotheses[i], scores=scored[i]) for i in order]
