"""What clients send and get: OpenAI's chat and text completions, and what this server adds to them.

Beyond OpenAI's: `top_k`, `min_p`, `repetition_penalty`, `no_repeat_ngram`, `mmi`, `num_hypotheses`, `safety`; with
`hypotheses` the answer includes what the reply was chosen from. What the model cannot do is an error, not ignored.
"""

import math
import random
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dialogpt.chat.bot import BOT, USER
from dialogpt.chat.serving import ServeConfig
from dialogpt.chat.serving.replier import ReplyError
from dialogpt.data.readers import tidy
from dialogpt.decoding import RANGES, Hypothesis, ReplyConfig, settings_by_name
from dialogpt.errors import DataError
from dialogpt.session import Turn
from dialogpt.tokens.opening import END_TEXT

MOST = 16  # replies, or hypotheses, or stops, of a request
LONGEST_STOP = 256  # characters: every stop is checked at each token
MOST_PROMPTS = 64
LEAVE_OUT = "leave it out"
NOT_HERE = {  # what the model cannot do, and what to do instead
    "tools": "leave them out: the model calls none", "functions": "leave them out: the model calls none",
    "logit_bias": "leave it out; there are `stop`, `repetition_penalty` and `no_repeat_ngram`",
    "logprobs": "leave it out; `hypotheses` gives the log-probability of each reply", "top_logprobs": LEAVE_OUT,
    "presence_penalty": "leave it out, or send 0; there is `repetition_penalty`",
    "frequency_penalty": "leave it out, or send 0; there is `repetition_penalty`",
    "audio": "leave it out: replies are text", "echo": "leave it out, and put the prompt before the reply",
    "suffix": "leave it out: replies follow what comes before them", "min_tokens": LEAVE_OUT, "ignore_eos": LEAVE_OUT,
    "mirostat": LEAVE_OUT, "mirostat_mode": LEAVE_OUT, "grammar": LEAVE_OUT, "json_schema": LEAVE_OUT,
    "guided_json": LEAVE_OUT, "guided_regex": LEAVE_OUT, "guided_choice": LEAVE_OUT, "guided_grammar": LEAVE_OUT,
    "structured_outputs": LEAVE_OUT, "stop_token_ids": "leave them out; `stop` takes texts",
}  # fmt: skip
UNREAD = ("tool", "function")  # roles whose messages are left out
PLAIN = {"type": "text"}  # the only response format

Stop = Annotated[str, Field(max_length=LONGEST_STOP)]


def _setting(name: str) -> Any:
    """An optional field for a setting, with the range that it has everywhere."""
    least, most, above = RANGES[name]
    from_, beyond = (None, least) if above else (least, None)
    return Field(None, ge=from_, gt=beyond, le=most if math.isfinite(most) else None)


class Part(BaseModel):
    type: str
    text: str | None = None


class Message(BaseModel):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None

    @model_validator(mode="after")
    def _said(self) -> "Message":
        if self.content is None and self.role not in ("assistant", *UNREAD):  # a message that only called tools
            raise ValueError(f"a message of role {self.role} needs a text as its content")
        return self


class Request(BaseModel):
    """Fields of both kinds of completions."""

    model_config = ConfigDict(extra="allow")

    model: str = ""
    temperature: float | None = _setting("temperature")
    top_p: float | None = _setting("top_p")
    top_k: int | None = _setting("top_k")
    min_p: float | None = _setting("min_p")
    repetition_penalty: float | None = _setting("repetition_penalty")
    no_repeat_ngram: int | None = _setting("no_repeat_ngram")
    n: int = Field(1, ge=1, le=MOST)
    stop: Stop | Annotated[list[Stop], Field(max_length=MOST)] | None = None
    max_tokens: int | None = _setting("max_new_tokens")
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    mmi: bool | None = None
    num_hypotheses: int | None = Field(None, ge=1, le=MOST)
    safety: bool | None = None
    hypotheses: bool = False

    @model_validator(mode="before")
    @classmethod
    def _null_is_nothing_said(cls, said: Any) -> Any:
        return {name: value for name, value in said.items() if value is not None} if isinstance(said, dict) else said

    @model_validator(mode="after")
    def _nothing_that_is_not_here(self) -> "Request":
        asked = self.model_extra or {}
        for name, instead in NOT_HERE.items():
            if asked.get(name) and not (name == "tools" and asked.get("tool_choice") == "none"):
                raise ValueError(f"{name} is not supported here ({instead})")
        if "audio" in (asked.get("modalities") or ()):
            raise ValueError("modalities: audio is not supported here (leave it out: replies are text)")
        if asked.get("response_format", PLAIN) != PLAIN:
            raise ValueError("response_format is not supported here: replies are plain text")
        if asked.get("best_of", self.n) != self.n:
            raise ValueError("best_of is not supported here: num_hypotheses says how many are drawn to choose from")
        return self

    def drawn_with(self, other: int) -> int:
        """The requested seed, else the other one; -1 means none, as in llama.cpp."""
        if self.seed is None or self.seed == -1:
            return other
        return self.seed if self.seed >= 0 else self.seed % 2**31  # a size that every engine accepts

    @property
    def stops(self) -> list[str]:
        found = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return [stop for stop in found if stop]

    @property
    def usage_at_the_end(self) -> bool:
        return bool((self.stream_options or {}).get("include_usage"))

    def settings(self, made: ReplyConfig) -> ReplyConfig:
        """The reply's settings: the server's, changed by the request; UsageError for contradictions."""
        mine = self.model_fields_set & SETTINGS  # unknown fields are ignored
        asked = {name: value for name in mine if (value := getattr(self, name)) is not None}
        if self.max_tokens is not None:
            asked["max_new_tokens"] = self.max_tokens
            asked["min_new_tokens"] = min(made.min_new_tokens, self.max_tokens)
        with settings_by_name():
            if asked:
                made = replace(made, **asked)
            if self.n > made.hypotheses:
                made = replace(made, num_hypotheses=self.n)
        return made


# What a request may say of its reply's settings; its seed is the job's.
SETTINGS = {field.name for field in fields(ReplyConfig)} & set(Request.model_fields) - {"seed"}


def reply_settings(config: ServeConfig) -> ReplyConfig:
    """A server's settings of replies, without what loads a model."""
    known = {field.name: getattr(config, field.name) for field in fields(ReplyConfig)}
    return ReplyConfig(**{**known, "backward": "", "seed": None})


class ChatRequest(Request):
    """`POST /v1/chat/completions`."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = _setting("max_new_tokens")

    @model_validator(mode="after")
    def _one_limit(self) -> "ChatRequest":
        self.max_tokens = self.max_tokens or self.max_completion_tokens
        return self

    def contexts(self, end_text: str = END_TEXT) -> list[list[Turn]]:
        """The one conversation, without system and tool messages: a dialogue model would reply to them."""
        if (last := self.messages[-1].role) in UNREAD:
            raise DataError(
                f"the last message is of role {last}, which is not read", "end with the message to reply to"
            )
        turns = []
        for number, message in enumerate(self.messages, 1):
            if message.role in ("user", "assistant") and (text := tidy(_text(message, number))):
                turns.append(Turn(text, USER if message.role == "user" else BOT))
        if not tidy(_text(self.messages[-1], len(self.messages))):
            raise DataError("the last message is empty", "a reply needs a message to reply to")
        if not turns:
            raise DataError(
                "all messages are the system's, which the model does not read", "a reply needs a message from the user"
            )
        return [turns]


class TextRequest(Request):
    """`POST /v1/completions`: the turns of a prompt stand between end tokens, the model's own or GPT-2's."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=MOST_PROMPTS)]

    @field_validator("prompt", mode="before")
    @classmethod
    def _some_texts(cls, said: Any) -> Any:
        if isinstance(said, list) and any(isinstance(each, int | list) for each in said):
            raise ValueError("prompts of token ids are not supported: send texts")
        if isinstance(said, list) and not 1 <= len(said) <= MOST_PROMPTS:
            raise ValueError(f"there are {len(said)}: a request has 1 to {MOST_PROMPTS}")
        return said

    @model_validator(mode="after")
    def _hypotheses_of_one(self) -> "TextRequest":
        if self.hypotheses and not isinstance(self.prompt, str) and len(self.prompt) > 1:
            raise ValueError("hypotheses are given for one prompt only: send a request for each prompt")
        return self

    def contexts(self, end_text: str = END_TEXT) -> list[list[Turn]]:
        """The turns of each prompt."""
        prompts = [self.prompt] if isinstance(self.prompt, str) else self.prompt
        contexts = []
        for number, prompt in enumerate(prompts, 1):
            parts = prompt.replace(end_text, END_TEXT).split(END_TEXT)
            contexts.append([Turn(text) for part in parts if (text := tidy(part))])
            if not contexts[-1]:
                which = f"prompt {number}" if len(prompts) > 1 else "the prompt"
                raise DataError(f"{which} is empty", "a reply needs something to reply to")
        return contexts


def _text(message: Message, number: int) -> str:
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    for part in message.content:
        if part.type != "text" or part.text is None:
            raise DataError(f"message {number} has a part of type {part.type!r}", "this model reads text only")
    return "".join(part.text or "" for part in message.content)


class Answer:
    """One request's answer, whole or in pieces, in the format of its kind."""

    def __init__(self, model: str, chat: bool) -> None:
        self.model, self.chat = model, chat
        self.id = f"{'chatcmpl' if chat else 'cmpl'}-{random.getrandbits(128):032x}"
        self.created = int(time.time())

    def whole(self, texts: Sequence[str], reasons: Sequence[str], usage: dict[str, int], **more: Any) -> dict[str, Any]:
        choices: list[dict[str, Any]] = []
        for index, (text, reason) in enumerate(zip(texts, reasons, strict=True)):
            said = {"message": {"role": "assistant", "content": text}} if self.chat else {"text": text}
            choices.append({"index": index, **said, "logprobs": None, "finish_reason": reason})
        return {**self._head(""), "choices": choices, "usage": usage, **more}

    def piece(self, index: int, text: str | None, reason: str | None = None, **more: Any) -> dict[str, Any]:
        """A piece of a streamed reply; the first one, None, says who speaks."""
        if not self.chat:
            said: dict[str, Any] = {"text": text or ""}
        elif text is None:
            said = {"delta": {"role": "assistant", "content": ""}}
        else:
            said = {"delta": {"content": text} if text else {}}
        choice = {"index": index, **said, "logprobs": None, "finish_reason": reason}
        return {**self._head(".chunk"), "choices": [choice], **more}

    def usage(self, usage: dict[str, int]) -> dict[str, Any]:
        """The last piece of a stream with `include_usage`."""
        return {**self._head(".chunk"), "choices": [], "usage": usage}

    def _head(self, piece: str) -> dict[str, Any]:
        kind = f"chat.completion{piece}" if self.chat else "text_completion"
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def summed(usages: Sequence[dict[str, int]]) -> dict[str, int]:
    """The tokens of several prompts together."""
    return {name: sum(usage[name] for usage in usages) for name in usages[0]}


def told_of(hypotheses: Sequence[Hypothesis]) -> list[dict[str, Any]]:
    """What a reply was chosen from: best first, rejected ones last; `forward` if its engine reports it."""
    return [
        {"text": h.text, **({} if math.isnan(h.logprob) else {"forward": round(h.logprob, 4)}),
         "tokens": h.size, "ended": h.ended,
         "scores": {name: round(score, 4) for name, score in h.scores.items()}, "rejected": h.rejected}
        for h in hypotheses
    ]  # fmt: skip


def defaults_of(config: ServeConfig) -> dict[str, Any]:
    """The defaults of a request's fields; `num_hypotheses` None means 16 with MMI, else 1."""
    return {
        **{name: getattr(config, name) for name in sorted(SETTINGS | {"seed"})},
        "max_tokens": config.max_new_tokens, "num_hypotheses": config.num_hypotheses or None, "mmi": bool(config.mmi),
    }  # fmt: skip


def check_model(asked: str, name: str) -> None:
    """ReplyError when a request names another model than the one that is served."""
    if asked not in ("", name, "default"):
        raise ReplyError(f"no model {asked!r} here", f"name {name!r}, or none", status=404)
