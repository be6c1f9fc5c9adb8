"""From a context to a reply: hypotheses, without those that a guard rejects, in the rankers' order; the first is said.

If all are rejected, they are drawn once more; if all are rejected again, a fixed line is said.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Self

import msgspec

from dialogpt.decoding import Hypothesis, Reply, ReplyConfig
from dialogpt.decoding.hypotheses import context_tokens, make, make_from, sayable, stream_tokens
from dialogpt.decoding.loading import load_backward, load_engine, load_ranker
from dialogpt.decoding.rerank import Ranker, Rankers, mmi_rankers, rerank
from dialogpt.decoding.safety import Guard, default_guards, rejection, said_instead
from dialogpt.engine import Engine, Kept
from dialogpt.session import Turn
from dialogpt.tokens.bpe import Tokenizer

log = logging.getLogger(__name__)

Draw = Callable[[Sequence[int], ReplyConfig, int], list[list[Hypothesis]]]  # which contexts, how, which attempt


class Responder:
    """A model and how its replies are chosen; `counts` has what happened to hypotheses, by reason."""

    def __init__(
        self, engine: Engine, tokenizer: Tokenizer, config: ReplyConfig, *,
        guards: Sequence[Guard] = (), rankers: Rankers = (),
    ) -> None:  # fmt: skip
        self.engine, self.tokenizer, self.config = engine, tokenizer, config
        self.guards, self.rankers = guards, rankers
        self.counts: Counter[str] = Counter()

    @classmethod
    def load(cls, model: str | None, config: ReplyConfig, *, device: str = "auto") -> Self:
        """Open the model, the backward model when the settings ask for MMI, and a ranker; guards as they say."""
        config.check_all_is_read()
        in_vain, by = config.only_drawn()
        if in_vain:
            log.warning("%s: only for replies that are drawn, which %s has none of", ", ".join(in_vain), by)
        engine, tokenizer = load_engine(model, device=device, precision=config.precision)
        rankers: list[tuple[Ranker, float]] = []
        if config.mmi:
            backward = load_backward(config.backward, model, device=device, precision=config.precision)
            rankers = mmi_rankers(backward, config)
        rankers += load_ranker(config, device=device)
        guards = default_guards(config.blocklist) if config.safety else []
        return cls(engine, tokenizer, config, guards=guards, rankers=rankers)

    def reply(self, context: Sequence[Turn], seed: int, kept: Kept | None = None) -> tuple[Reply, Kept | None]:
        """The reply to one context of a conversation, and what to give as `kept` for its next one."""
        tokens = self._tokens(context)

        def draw(_: Sequence[int], config: ReplyConfig, attempt: int) -> list[list[Hypothesis]]:
            nonlocal kept
            made, kept = make_from(
                self.engine, self.tokenizer, tokens, config, seeds_of(self.config, seed, attempt), kept
            )
            return [made]

        (reply,) = self._answer([context], draw)
        return reply, kept

    def replies(self, contexts: Sequence[Sequence[Turn]], seeds: Sequence[int], batch_size: int = 64) -> list[Reply]:
        """The reply to each context, `batch_size` rows decoded together; the same as each alone."""
        tokens = [self._tokens(context) for context in contexts]

        def draw(which: Sequence[int], config: ReplyConfig, attempt: int) -> list[list[Hypothesis]]:
            chosen, drawn_by = [tokens[i] for i in which], [seeds_of(self.config, seeds[i], attempt) for i in which]
            return make(self.engine, self.tokenizer, chosen, config, drawn_by, batch_size)

        return self._answer(contexts, draw)

    def _answer(self, contexts: Sequence[Sequence[Turn]], draw: Draw) -> list[Reply]:
        everyone = range(len(contexts))
        first = draw(everyone, self.config, 0)
        judged = [judge(self.guards, contexts[i], first[i], self.counts) for i in everyone]
        if again := [i for i in everyone if all(hypothesis.rejected for hypothesis in judged[i])]:
            self.counts["drawn again"] += len(again)
            for i, made in zip(again, draw(again, drawn_again(self.config), 1), strict=True):
                judged[i] += judge(self.guards, contexts[i], made, self.counts)
        return [best(self.rankers, contexts[i], judged[i], self.counts) for i in everyone]

    @property
    def has_a_choice(self) -> bool:
        """Whether a reply is chosen or checked as a whole, so that it cannot be sent before it is complete."""
        return self.config.hypotheses > 1 or self.config.num_beams > 1 or bool(self.guards)

    def stream(self, context: Sequence[Turn], seed: int, kept: Kept | None = None) -> Iterator[tuple[str, Kept]]:
        """A reply without guards or rankers, in pieces of whole code points as made, each with what to keep."""
        made = stream_tokens(
            self.engine, self.tokenizer.end_id, self._tokens(context), self.config, seeds_of(self.config, seed)[0], kept
        )
        pieces = Pieces(self.tokenizer)
        for token, keep in made:
            if piece := pieces.feed(token):
                yield piece, keep

    def _tokens(self, context: Sequence[Turn]) -> list[int]:
        return context_tokens(self.tokenizer, context, self.engine.n_ctx, self.config.max_new_tokens)


class Pieces:
    """The tokens of a reply -> its text, in pieces of whole code points, up to the first of some strings, if any."""

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str] = ()) -> None:
        self.text = ""  # how much has been sent
        self.stopped = False
        self._tokenizer, self._stops = tokenizer, stops
        self._whole = ""  # the text of all tokens except those of an incomplete code point
        self._waiting: list[int] = []

    def feed(self, token: int) -> str:
        """What a further token adds to the text, perhaps nothing."""
        self._waiting.append(token)
        text = self._whole + self._tokenizer.decode(self._waiting)
        if not text.endswith("\ufffd"):
            self._whole = text
            self._waiting.clear()
        whole = sayable(text)  # blanks at its end wait as well: the reply may end here
        if found := [place for stop in self._stops if (place := whole.find(stop)) >= 0]:
            whole, self.stopped = whole[: min(found)], True
        else:
            whole = whole[: len(whole) - max((_begun(whole, stop) for stop in self._stops), default=0)]
        piece = whole[len(self.text) :]
        self.text += piece
        return piece


def _begun(text: str, stop: str) -> int:
    """How many of the text's last characters may be the beginning of `stop`."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)


def judge(
    guards: Sequence[Guard], context: Sequence[Turn], made: Sequence[Hypothesis], counts: Counter[str]
) -> list[Hypothesis]:
    """The hypotheses, those that a guard rejects with the reason, which is counted."""
    judged = []
    for hypothesis in made:
        reason = rejection(guards, context, hypothesis.text)
        if reason is not None:
            counts[reason.partition(":")[0]] += 1
        judged.append(msgspec.structs.replace(hypothesis, rejected=reason))
    return judged


def best(rankers: Rankers, context: Sequence[Turn], judged: Sequence[Hypothesis], counts: Counter[str]) -> Reply:
    """The reply: the rankers' first of those that were not rejected, or a fixed line."""
    left = [hypothesis for hypothesis in judged if hypothesis.rejected is None]
    ranked = rerank(context, left, rankers)
    if not ranked:
        counts["replaced by a fixed line"] += 1
    text = ranked[0].text if ranked else said_instead(judged)
    return Reply(text=text, hypotheses=(*ranked, *(h for h in judged if h.rejected is not None)))


def drawn_again(config: ReplyConfig) -> ReplyConfig:
    """How hypotheses are drawn after all were rejected: at random, or they would be the same again."""
    return replace(config, num_beams=1, temperature=config.temperature or 1.0)


def seeds_of(config: ReplyConfig, seed: int, attempt: int = 0) -> list[tuple[int, ...]]:
    """A seed for each hypothesis of a reply."""
    return [(seed, attempt, i) for i in range(config.hypotheses)]
