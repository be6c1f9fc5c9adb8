"""A model and responses -> how likely it finds them: nats and tokens of each response given its context.

Perplexity is exp(total nats / total tokens), end tokens counted, as that of training. Tokens are the model's own, so
perplexities of models with different vocabularies cannot be compared.
"""

from collections.abc import Sequence

import numpy as np

from dialogpt.decoding.hypotheses import context_tokens
from dialogpt.decoding.loading import load_engine
from dialogpt.engine import Engine
from dialogpt.evaluation.inputs import Inputs
from dialogpt.evaluation.ngrams import Floats
from dialogpt.evaluation.significance import Additive, exp_ratio
from dialogpt.logs import sparing
from dialogpt.model.memory import frugal_with_memory
from dialogpt.progress import Progress
from dialogpt.session import Turn
from dialogpt.tokens.bpe import Tokenizer

TOGETHER = 512  # responses between two updates of the progress bar


def nats_and_tokens(
    engine: Engine, tokenizer: Tokenizer, contexts: Sequence[Sequence[Turn]], responses: Sequence[str]
) -> Floats:
    """For each response its nats given its context, and its tokens, end token included: (R, 2).

    A context is cut as for a reply. If a response is longer than half of what the model reads, only that much of its
    beginning is scored.
    """
    most = engine.n_ctx // 2
    targets = [tokens[:most] for tokens in tokenizer.encode_turns(Turn(text) for text in responses)]
    pairs = [
        (context_tokens(tokenizer, context, engine.n_ctx, len(target)), target)
        for context, target in zip(contexts, targets, strict=True)
    ]
    return np.array([engine.nats(pairs), [len(target) for target in targets]], np.float64).T.reshape(-1, 2)


def perplexities(inputs: Inputs, contexts: Sequence[Sequence[Sequence[str]]], models: Sequence[str]) -> list[Additive]:
    """The perplexity of all references by each system's model, given the system's contexts."""
    frugal_with_memory()
    with sparing("dialogpt.decoding.hypotheses"):
        return [_perplexity(inputs, told, model) for told, model in zip(contexts, models, strict=True)]


def _perplexity(inputs: Inputs, contexts: Sequence[Sequence[str]], model: str) -> Additive:
    engine, tokenizer = load_engine(model, precision="fp32")
    owners = [place for place, references in enumerate(inputs.references) for _ in references]
    texts = [text for references in inputs.references for text in references]
    turns = [[Turn(text) for text in context] for context in contexts]
    statistics = np.zeros((len(turns), 2))
    with Progress("perplexity", len(texts), "references") as bar:
        for start in range(0, len(texts), TOGETHER):
            places, part = owners[start : start + TOGETHER], texts[start : start + TOGETHER]
            np.add.at(statistics, places, nats_and_tokens(engine, tokenizer, [turns[place] for place in places], part))
            bar.advance(len(part))
    signature = f"model:{model or 'bundled'}|vocabulary:{tokenizer.digest}|tokens:{statistics[:, 1].sum():.0f}"
    return Additive(("perplexity",), signature, statistics, exp_ratio)
