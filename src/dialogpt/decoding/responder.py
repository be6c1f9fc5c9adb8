"""From a context to a reply: hypotheses, without those that a guard rejects, in the rankers' order; the first is said.

When all are rejected, they are drawn once more; when all are again, a fixed polite line is said.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Self

import msgspec

from dialogpt.decoding import Hypothesis, Reply, ReplyConfig
from dialogpt.decoding.engine import Engine, Kept
from dialogpt.decoding.hypotheses import context_tokens, make, make_from, stream_tokens
from dialogpt.decoding.loading import load_backward, load_engine
from dialogpt.decoding.rerank import MMI, Ranker, rerank
from dialogpt.decoding.safety import POLITE, Guard, default_guards, rejection
from dialogpt.session import Turn
from dialogpt.tokens.bpe import Tokenizer

Draw = Callable[[Sequence[int], ReplyConfig, int], list[list[Hypothesis]]]  # which contexts, how, which attempt


class Responder:
    """A model and how its replies are chosen; `counts` has what happened to hypotheses, by reason."""

    def __init__(
        self, engine: Engine, tokenizer: Tokenizer, config: ReplyConfig, *,
        guards: Sequence[Guard] = (), rankers: Sequence[tuple[Ranker, float]] = (),
    ) -> None:  # fmt: skip
        self.engine, self.tokenizer, self.config = engine, tokenizer, config
        self.guards, self.rankers = guards, rankers
        self.counts: Counter[str] = Counter()

    @classmethod
    def load(cls, model: str | None, config: ReplyConfig, *, device: str = "auto") -> Self:
        """Open the model, and the backward model when the settings ask for MMI; guards as they say."""
        engine, tokenizer = load_engine(model, device=device, precision=config.precision)
        rankers: list[tuple[Ranker, float]] = []
        if config.mmi:
            backward = load_backward(config.backward, model, device=device, precision=config.precision)
            rankers.append((MMI(*backward, config.mmi_source), 1.0))
        guards = default_guards(config.blocklist) if config.safety else []
        return cls(engine, tokenizer, config, guards=guards, rankers=rankers)

    def reply(self, context: Sequence[Turn], seed: int, kept: Kept | None = None) -> tuple[Reply, Kept | None]:
        """The reply to one context of a conversation, and what to give as `kept` for its next one."""
        tokens = self._tokens(context)

        def draw(_: Sequence[int], config: ReplyConfig, attempt: int) -> list[list[Hypothesis]]:
            nonlocal kept
            made, kept = make_from(self.engine, self.tokenizer, tokens, config, self._seeds(seed, attempt), kept)
            return [made]

        (reply,) = self._answer([context], draw)
        return reply, kept

    def replies(self, contexts: Sequence[Sequence[Turn]], seeds: Sequence[int], batch_size: int = 64) -> list[Reply]:
        """The reply to each context, `batch_size` rows decoded together; the same as each alone."""
        tokens = [self._tokens(context) for context in contexts]

        def draw(which: Sequence[int], config: ReplyConfig, attempt: int) -> list[list[Hypothesis]]:
            chosen, drawn_by = [tokens[i] for i in which], [self._seeds(seeds[i], attempt) for i in which]
            return make(self.engine, self.tokenizer, chosen, config, drawn_by, batch_size)

        return self._answer(contexts, draw)

    def _answer(self, contexts: Sequence[Sequence[Turn]], draw: Draw) -> list[Reply]:
        everyone = range(len(contexts))
        first = draw(everyone, self.config, 0)
        judged = [self._judge(contexts[i], first[i]) for i in everyone]
        if again := [i for i in everyone if all(hypothesis.rejected for hypothesis in judged[i])]:
            self.counts["drawn again"] += len(again)
            # What is not drawn at random would come out the same.
            config = replace(self.config, num_beams=1, temperature=self.config.temperature or 1.0)
            for i, made in zip(again, draw(again, config, 1), strict=True):
                judged[i] += self._judge(contexts[i], made)
        return [self._best(contexts[i], judged[i]) for i in everyone]

    def _judge(self, context: Sequence[Turn], made: Sequence[Hypothesis]) -> list[Hypothesis]:
        judged = []
        for hypothesis in made:
            reason = rejection(self.guards, context, hypothesis.text)
            if reason is not None:
                self.counts[reason.partition(":")[0]] += 1
            judged.append(msgspec.structs.replace(hypothesis, rejected=reason))
        return judged

    def _best(self, context: Sequence[Turn], judged: Sequence[Hypothesis]) -> Reply:
        left = [hypothesis for hypothesis in judged if hypothesis.rejected is None]
        ranked = rerank(context, left, self.rankers)
        if not ranked:
            self.counts["replaced by the polite line"] += 1
        text = ranked[0].text if ranked else POLITE
        return Reply(text=text, hypotheses=(*ranked, *(h for h in judged if h.rejected is not None)))

    @property
    def has_a_choice(self) -> bool:
        """Whether a reply is chosen or checked as a whole, so that it cannot be told before it is complete."""
        return self.config.hypotheses > 1 or self.config.num_beams > 1 or bool(self.guards)

    def stream(self, context: Sequence[Turn], seed: int, kept: Kept | None = None) -> Iterator[tuple[str, Kept]]:
        """A reply without guards or rankers, in pieces of whole code points as made, each with what to keep."""
        made = stream_tokens(
            self.engine, self.tokenizer.end_id, self._tokens(context), self.config, self._seeds(seed, 0)[0], kept
        )
        tokens: list[int] = []
        shown = ""
        for token, keep in made:
            tokens.append(token)
            text = self.tokenizer.decode(tokens).lstrip()
            whole = text.rstrip("\ufffd").rstrip()  # blanks wait as well: the reply may end here
            if len(whole) > len(shown):
                yield whole[len(shown) :], keep
                shown = whole

    def _tokens(self, context: Sequence[Turn]) -> list[int]:
        return context_tokens(self.tokenizer, context, self.engine.n_ctx, self.config.max_new_tokens)

    def _seeds(self, seed: int, attempt: int) -> list[tuple[int, ...]]:
        return [(seed, attempt, i) for i in range(self.config.hypotheses)]
