"""A ranker trained on people's feedback: DialogRPT (Gao et al., EMNLP 2020, arXiv 2009.06978), or one like it.

It is a GPT-2 that reads the context, each turn ended by the end token, and then a hypothesis without one. A linear
layer turns its state after the last token into a number, whose sigmoid says how good the hypothesis is: likely to get
more votes (`microsoft/DialogRPT-updown`), or to be a person's reply to this context (`-human-vs-rand`). In engines that
layer is the last row of the token embedding (`model.config.with_score`), so that the number is a logit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dialogpt.decoding import Hypothesis
from dialogpt.decoding.hypotheses import context_tokens
from dialogpt.decoding.rerank import scored_once
from dialogpt.engine import Engine
from dialogpt.session import Turn
from dialogpt.tokens.bpe import Tokenizer


@dataclass(frozen=True, slots=True)
class DialogRPT:
    """log sigmoid of its number, in nats: as a log-probability, which sums with those of other rankers."""

    engine: Engine
    tokenizer: Tokenizer
    name: str = "ranker"

    def __call__(self, context: Sequence[Turn], hypotheses: Sequence[Hypothesis]) -> list[float]:
        n_ctx = self.engine.n_ctx
        made = [tuple(self.tokenizer.encode(hypothesis.text)[-(n_ctx // 2) :]) for hypothesis in hypotheses]
        read = context_tokens(self.tokenizer, context, n_ctx, max(1, *map(len, made)))
        return scored_once(made, lambda some: self._scores(read, some))

    def _scores(self, read: list[int], made: Sequence[tuple[int, ...]]) -> list[float]:
        _, cache = self.engine.prefill([read], max(map(len, made)))
        begun = [cache.prefix(0, len(read) - 1, len(tokens) + 1) for tokens in made] if len(read) > 1 else []
        logits, _ = self.engine.prefill([[*read, *tokens] for tokens in made], 0, begun)
        found = logits.get(range(len(made)), [logits.vocabulary - 1] * len(made)).astype(np.float64)
        scores: list[float] = (-np.logaddexp(0, -found)).tolist()
        return scores
