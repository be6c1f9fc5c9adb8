"""Perplexity of held-out sessions by n-gram models of the training sessions: what a trained model has to beat.

    python bench/baselines.py SHARDS

SHARDS is a folder of `dialogpt tokenize --validation`. The targets are those of `train`: every turn but the first, end
tokens too. Both models are interpolated Kneser-Ney (Chen and Goodman 1998) with one discount an order, estimated as
n1 / (n1 + 2 n2) from how many n-grams were seen once and twice (1/2 where none was seen once); the unigrams count
tokens as they are.
"""

import argparse
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dialogpt.tokens.bpe import Tokenizer
from dialogpt.tokens.shards import TokenShards

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Order:
    """p(token | its n - 1 tokens before) = max(count - d, 0) / total + d * kinds / total * p(token | one fewer)."""

    def __init__(self, contexts: Ints, tokens: Ints, vocabulary: int) -> None:
        """Count n-grams: for each, a number of its context and its last token; repeated ones count again."""
        self.vocabulary = vocabulary
        self.grams, self.counts = np.unique(contexts * vocabulary + tokens, return_counts=True)
        self.contexts, starts, self.kinds = np.unique(self.grams // vocabulary, return_index=True, return_counts=True)
        self.totals = np.add.reduceat(self.counts, starts)
        once, twice = int((self.counts == 1).sum()), int((self.counts == 2).sum())
        self.discount = once / (once + 2 * twice) if once else 0.5

    def probabilities(self, contexts: Ints, tokens: Ints, lower: Floats) -> Floats:
        """Of each token in its context, given the lower order's; a context never seen is left to that one."""
        counts = _looked_up(self.grams, self.counts, contexts * self.vocabulary + tokens)
        totals = _looked_up(self.contexts, self.totals, contexts)
        kinds = _looked_up(self.contexts, self.kinds, contexts)
        seen = np.maximum(totals, 1)
        mixed = np.maximum(counts - self.discount, 0) / seen + self.discount * kinds / seen * lower
        return np.where(totals > 0, mixed, lower)


def _looked_up(keys: Ints, values: Ints, wanted: Ints) -> Ints:
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)


class Trigrams:
    """Kneser-Ney of three orders over triples (a, b, c): lower orders count in how many kinds of places one stands."""

    def __init__(self, triples: Ints, vocabulary: int) -> None:
        a, b, c = triples.T
        self.vocabulary = vocabulary
        self.three = Order(a * vocabulary + b, c, vocabulary)
        pairs = self.three.grams % vocabulary**2  # (b, c), once for each a before it
        self.two = Order(pairs // vocabulary, pairs % vocabulary, vocabulary)
        tokens = self.two.grams % vocabulary  # c, once for each b before it
        self.one = Order(np.zeros_like(tokens), tokens, vocabulary)

    def probabilities(self, triples: Ints) -> Floats:
        a, b, c = triples.T
        uniform = np.full(len(c), 1 / self.vocabulary)
        one = self.one.probabilities(np.zeros_like(c), c, uniform)
        two = self.two.probabilities(b, c, one)
        return self.three.probabilities(a * self.vocabulary + b, c, two)


def read(shards: TokenShards, end_id: int) -> tuple[Ints, NDArray[np.bool_]]:
    """Every token with the two before it, (N, 3), and which are targets; before a session stand end tokens."""
    triples, targets = [], []
    for number in range(len(shards)):
        session = shards[number]
        tokens = np.concatenate([[end_id, end_id], *session.turns]).astype(np.int64)
        triples.append(np.stack([tokens[:-2], tokens[1:-1], tokens[2:]], axis=1))
        learn = (place > 0 and learned for place, learned in enumerate(session.learn))
        targets.append(np.repeat(np.fromiter(learn, bool), [len(turn) for turn in session.turns]))
    return np.concatenate(triples), np.concatenate(targets)


def perplexity(probabilities: Floats) -> float:
    return math.exp(-float(np.log(probabilities).mean()))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("shards", type=Path)
    folder = parser.parse_args().shards
    tokenizer = Tokenizer.load(folder)
    triples, _ = read(TokenShards(folder), tokenizer.end_id)
    held_out, targets = read(TokenShards(folder / "validation"), tokenizer.end_id)
    held_out = held_out[targets]
    tokens = held_out[:, 2]
    uniform = np.full(len(tokens), 1 / tokenizer.vocab_size)
    unigrams = Order(np.zeros_like(triples[:, 2]), triples[:, 2], tokenizer.vocab_size)
    print(f"{len(triples):,} tokens counted, {len(tokens):,} held-out targets, vocabulary {tokenizer.vocab_size:,}")
    print(f"unigrams  perplexity {perplexity(unigrams.probabilities(np.zeros_like(tokens), tokens, uniform)):,.1f}")
    print(f"trigrams  perplexity {perplexity(Trigrams(triples, tokenizer.vocab_size).probabilities(held_out)):,.1f}")


if __name__ == "__main__":
    main()
