"""Replies to the same held-out contexts at each validation: what the numbers mean in words."""

from collections.abc import Sequence

from dialogpt.decoding import DecodingConfig
from dialogpt.decoding.hypotheses import context_tokens, make
from dialogpt.model.engine import TorchEngine
from dialogpt.model.gpt import GPT
from dialogpt.session import Turn
from dialogpt.tokens.bpe import Tokenizer
from dialogpt.tokens.shards import TokenShards
from dialogpt.train.metrics import Sample

SEED = 0
CONTEXT_TURNS = 4


def choose_contexts(shards: TokenShards, tokenizer: Tokenizer, count: int, *, reverse: bool) -> list[list[str]]:
    """The last turns before the response of up to `count` sessions, evenly spread over the shards."""
    count = min(count, len(shards))
    contexts = []
    for number in range(count):
        turns = shards[number * len(shards) // count].turns
        texts = [tokenizer.decode(turn[:-1].tolist()) for turn in (turns[::-1] if reverse else turns)]
        contexts.append(texts[:-1][-CONTEXT_TURNS:])
    return [context for context in contexts if context]


def sample_replies(model: GPT, tokenizer: Tokenizer, contexts: Sequence[Sequence[str]]) -> list[Sample]:
    """A reply to each context, drawn with the default settings of decoding and the same seed each time."""
    config = DecodingConfig()
    engine = TorchEngine(model)
    tokens = [
        context_tokens(tokenizer, map(Turn, context), engine.n_ctx, config.max_new_tokens) for context in contexts
    ]
    made = make(engine, tokenizer, tokens, config, [[SEED]] * len(tokens))
    return [Sample(list(context), reply.text) for context, (reply,) in zip(contexts, made, strict=True)]
