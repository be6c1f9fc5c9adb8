"""OpenAI's text and chat completions as an engine's client sees them: a wish -> a body; an answer -> hypotheses.

The prompt is made here, each turn ended by the end token, as our models read it. Engines use different names:
an extra that an engine does not know is ignored or refused, which is found out at the start (`meeting`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import numpy as np

from dialogpt.chat.bot import BOT, USER
from dialogpt.decoding import Hypothesis, ReplyConfig
from dialogpt.session import Turn
from dialogpt.tokens.opening import END_TEXT

Route = Literal["completions", "chat"]
PATHS = {"completions": "/v1/completions", "chat": "/v1/chat/completions"}
FEATURES = ("n", "logprobs", "extras")  # what an engine may refuse, in the order in which it is left out
OURS = "dialogpt"  # who owns the models of our own servers


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of an engine: its model and kind, the most tokens of context and reply, what it refuses.

    end_text: the token that ends each turn of a prompt.
    """

    model: str
    kind: str = ""  # as `owned_by` of /v1/models
    n_ctx: int | None = None
    lacks: frozenset[str] = frozenset()
    route: Route = "completions"
    end_text: str = END_TEXT

    @property
    def many(self) -> bool:
        """Whether one request may ask for several hypotheses."""
        return self.kind == OURS or "n" not in self.lacks


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked for in one request: `n` replies to the turns."""

    turns: Sequence[Turn]
    config: ReplyConfig
    seed: int
    n: int = 1
    stops: Sequence[str] = ()
    stream: bool = False


class Drawn(Hypothesis, frozen=True, kw_only=True):
    """A hypothesis of another engine, which says how many tokens it has, not which, and perhaps how likely they are."""

    tokens: tuple[int, ...] = ()
    logprob: float = math.nan
    count: int

    @property
    def size(self) -> int:
        return self.count


class TokenLogprob(msgspec.Struct):
    logprob: float | None = None


class Logprobs(msgspec.Struct):
    """Of text completions (`token_logprobs`), or of chat completions and llama.cpp (`content`)."""

    token_logprobs: list[float | None] | None = None
    content: list[TokenLogprob] | None = None

    @property
    def values(self) -> list[float | None]:
        return self.token_logprobs or [token.logprob for token in self.content or ()]


class Said(msgspec.Struct):
    content: str | None = None


class Choice(msgspec.Struct):
    """A reply, or a piece of one."""

    text: str | None = None
    message: Said | None = None
    delta: Said | None = None
    finish_reason: str | None = None
    logprobs: Logprobs | None = None

    @property
    def said(self) -> str:
        return next((part.content or "" for part in (self.message, self.delta) if part is not None), self.text or "")


class Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Told(msgspec.Struct):
    """A hypothesis, as our own servers give it."""

    text: str
    tokens: int
    ended: bool
    forward: float = math.nan


class Answer(msgspec.Struct):
    """An answer, or a piece of one; `error` in place of all else where the engine has failed."""

    choices: list[Choice] = []
    usage: Usage | None = None
    hypotheses: list[Told] | None = None
    error: Any = None


class Ours(msgspec.Struct):
    """What our own servers add about a model."""

    end_token: str | None = None


class Card(msgspec.Struct):
    """A model, as /v1/models describes it; `max_model_len` is vLLM's and ours, `meta` llama.cpp's."""

    id: str
    owned_by: str | None = None
    max_model_len: int | None = None
    meta: dict[str, Any] | None = None
    dialogpt: Ours | None = None


class Cards(msgspec.Struct):
    data: list[Card]


@dataclass(slots=True)
class Reading:
    """A reply as it comes, piece by piece."""

    text: str = ""
    finish: str | None = None
    usage: Usage | None = None
    told: list[Told] | None = None
    logprobs: list[float | None] = field(default_factory=list)

    def take(self, answer: Answer) -> str:
        """Take a piece; returns the text in it."""
        self.usage = answer.usage or self.usage
        self.told = answer.hypotheses if answer.hypotheses is not None else self.told
        said = ""
        for choice in answer.choices[:1]:
            said = choice.said
            self.text += said
            self.finish = choice.finish_reason or self.finish
            self.logprobs += choice.logprobs.values if choice.logprobs else []
        return said

    def hypotheses(self) -> list[Drawn]:
        """What was made: as our own servers give it, or the one reply that came."""
        if self.told is not None:
            return drawn_of(self.told)
        count = self.usage.completion_tokens if self.usage else 0
        return [_drawn(self.text, self.finish, self.logprobs, count)]


def drawn_of(told: Sequence[Told]) -> list[Drawn]:
    return [Drawn(text=h.text, logprob=h.forward, ended=h.ended, count=h.tokens) for h in told]


def hypotheses_of(answer: Answer) -> list[Drawn]:
    """The replies of a whole answer; none if there are none in it."""
    if answer.hypotheses is not None:
        return drawn_of(answer.hypotheses)
    count = answer.usage.completion_tokens if answer.usage and len(answer.choices) == 1 else 0
    return [
        _drawn(choice.said, choice.finish_reason, choice.logprobs.values if choice.logprobs else [], count)
        for choice in answer.choices
    ]


def _drawn(text: str, finish: str | None, logprobs: Sequence[float | None], count: int) -> Drawn:
    known = [value for value in logprobs if value is not None]
    total = sum(known) if known and len(known) == len(logprobs) else math.nan
    return Drawn(text=text.strip(), logprob=total, ended=finish != "length", count=len(logprobs) or count)


def body_of(wish: Wish, facts: Facts) -> dict[str, Any]:
    """The body of a request to the facts."""
    config = wish.config
    room = config.max_new_tokens if facts.n_ctx is None else min(config.max_new_tokens, max(facts.n_ctx // 2, 1))
    body = {"model": facts.model, "max_tokens": room, "temperature": config.temperature, "top_p": config.top_p,
            "seed": wish.seed, "stream": wish.stream}  # fmt: skip
    if facts.route == "chat":
        body["messages"] = messages_of(wish.turns, facts.end_text)
    else:
        body["prompt"] = prompt_of(wish.turns, facts.end_text)
    if wish.stops:
        body["stop"] = list(wish.stops)
    if facts.kind == OURS:
        return body | _ours(wish)
    if wish.n > 1:
        body["n"] = wish.n
    if "logprobs" not in facts.lacks:
        body["logprobs"] = True if facts.route == "chat" else 1
    return body if "extras" in facts.lacks else body | _extras(wish)


def _ours(wish: Wish) -> dict[str, Any]:
    """To one of our own servers: hypotheses as they are, neither judged nor ordered."""
    config = wish.config
    return {"top_k": config.top_k, "min_p": config.min_p, "repetition_penalty": config.repetition_penalty,
            "no_repeat_ngram": config.no_repeat_ngram, "num_hypotheses": wish.n, "hypotheses": True,
            "safety": False, "mmi": False, "stream_options": {"include_usage": True}}  # fmt: skip


def _extras(wish: Wish) -> dict[str, Any]:
    """By vLLM's and llama.cpp's names; each engine ignores the other's."""
    config = wish.config
    extras = {"top_k": config.top_k or -1, "min_p": config.min_p, "min_tokens": config.min_new_tokens,
              "repetition_penalty": config.repetition_penalty, "repeat_penalty": config.repetition_penalty}  # fmt: skip
    return extras | ({"stream_options": {"include_usage": True}} if wish.stream else {})


def prompt_of(turns: Sequence[Turn], end_text: str) -> str:
    """The turns, each ended by the end token."""
    return "".join(_harmless(turn.text, end_text) + end_text for turn in turns)


def messages_of(turns: Sequence[Turn], end_text: str) -> list[dict[str, str]]:
    """The turns as messages; those of unknown speakers alternate, and the last one is the user's."""
    roles = {USER: "user", BOT: "assistant"}
    last = len(turns) - 1
    in_turn = ("user", "assistant")
    return [
        {"role": roles.get(turn.speaker, in_turn[(last - i) % 2]), "content": _harmless(turn.text, end_text)}
        for i, turn in enumerate(turns)
    ]


def _harmless(text: str, end_text: str) -> str:
    """The text without an end token that somebody has typed: other engines would take it for one."""
    for end in (END_TEXT, end_text):
        text = text.replace(end, f"{end[:2]} {end[2:]}")
    return text


def seed_of(seed: int, attempt: int, i: int) -> int:
    """A seed in 31 bits, which every engine takes: the first one of a reply is the reply's own where it fits."""
    if attempt == i == 0 and seed < 2**31:
        return seed
    return int(np.random.SeedSequence((seed, attempt, i)).generate_state(1)[0]) >> 1
