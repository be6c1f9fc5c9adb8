"""From logits to a token: tokens that a row may not use are removed, a few candidates are kept, one of them is drawn.

B rows, V tokens, K candidates, the likeliest first; of equally likely ones the lower id comes first. A draw takes one
uniform number from its row's own generator, so a reply depends neither on the batch it was made in nor on the device.
Rows have settings of their own: `configs` and what else is a sequence have an entry for each row.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from dialogpt.decoding import DecodingConfig
from dialogpt.engine import Candidates, Doubles, Floats, Ints, Logits
from dialogpt.errors import DataError

COLDEST = 1e-30  # the smallest divisor, still not zero in fp32
NUCLEUS = 1024  # candidates searched for a nucleus before the whole vocabulary is sorted


def check_finite(total: Doubles) -> None:
    """DataError when the logsumexp (B,) of any row's logits is not finite."""
    if not np.isfinite(total).all():
        raise DataError("the model's logits are not finite", "its weights are damaged, or overflow in this precision")


@contextmanager
def only_allowed(
    logits: Logits, contexts: Sequence[Sequence[int]], replies: Sequence[Sequence[int]],
    configs: Sequence[DecodingConfig], end_id: int, total: Doubles | None = None,
) -> Iterator[None]:  # fmt: skip
    """Apply the rules that depend on what each row has read and said: shortest length, penalty, no n-gram twice.

    The logits are changed, and restored afterwards. With `total` (B,), their logsumexp, the penalty is on
    log-probabilities.
    """
    banned: list[tuple[int, int]] = []  # (row, token)
    said: list[tuple[int, int]] = []
    for row, (context, reply, config) in enumerate(zip(contexts, replies, configs, strict=True)):
        if len(reply) < config.min_new_tokens:
            banned.append((row, end_id))
        if config.repetition_penalty != 1.0:
            said += [(row, token) for token in {*reply}]
        if config.no_repeat_ngram:
            banned += [(row, token) for token in repeated_next(reply, config.no_repeat_ngram)]
        if config.no_repeat_context:
            banned += [(row, token) for token in repeated_next([*context, *reply], config.no_repeat_context)]
    if not banned and not said:
        yield
        return
    rows, tokens = zip(*banned, *said, strict=True)
    before = logits.get(rows, tokens)
    if said:
        _penalise(logits, said, configs, total)
    if banned:
        out, these = zip(*banned, strict=True)
        logits.set(out, these, np.full(len(banned), -np.inf, np.float32))
    try:
        yield
    finally:
        logits.set(rows, tokens, before)


def _penalise(
    logits: Logits, said: Sequence[tuple[int, int]], configs: Sequence[DecodingConfig], total: Doubles | None
) -> None:
    """Divide the odds of tokens that were said, whatever the sign of their logits or log-probabilities."""
    rows, tokens = zip(*said, strict=True)
    penalties = np.array([configs[row].repetition_penalty for row in rows], np.float32)
    offsets = np.zeros(len(rows), np.float32) if total is None else total[[*rows]].astype(np.float32)
    scores = logits.get(rows, tokens) - offsets
    logits.set(rows, tokens, np.where(scores > 0, scores / penalties, scores * penalties) + offsets)


def repeated_next(tokens: Sequence[int], n: int) -> set[int]:
    """The tokens that would complete an n-gram that already occurs in `tokens`."""
    if n == 1:
        return {*tokens}
    if len(tokens) < n:
        return set()
    found: set[int] = set()
    prefix, end = tokens[1 - n :], len(tokens) - 1
    place = n - 2  # where the prefix may have ended before
    while True:  # `index` is many times faster than comparing at each place
        try:
            place = tokens.index(prefix[-1], place, end)
        except ValueError:
            return found
        if tokens[place + 2 - n : place + 1] == prefix:
            found.add(tokens[place + 1])
        place += 1


def candidates(logits: Logits, configs: Sequence[DecodingConfig]) -> Candidates:
    """Top-k, then temperature, then top-p and min-p of what is left; the logits returned are over the temperature.

    -inf where a row has fewer than K. All rows have a top-k, or none has one.
    """
    vocabulary = logits.vocabulary
    temperatures = np.array([max(config.temperature, COLDEST) for config in configs], np.float32)
    ks = np.array([_top_k(config, vocabulary) for config in configs])
    cut = bool((ks < vocabulary).all())
    if not cut and all(config.top_p == 1 and config.min_p == 0 for config in configs):
        raw = logits.array()  # nothing is left out, so nothing needs an order
        tokens = np.broadcast_to(np.arange(vocabulary), raw.shape)
        return Candidates(_cooled(raw, raw.max(-1, keepdims=True), temperatures), tokens)
    top_p, min_p = (np.array([getattr(config, name) for config in configs])[:, None] for name in ("top_p", "min_p"))
    width = int(ks.max()) if cut else NUCLEUS
    total = None if cut else logits.mass(temperatures)[:, None]
    while True:
        kept = logits.likeliest(width)
        cooled = _cooled(kept.logits, kept.logits[:, :1], temperatures)
        if cut:
            cooled[np.arange(width) >= ks[:, None]] = -np.inf
        odds = np.exp(cooled, dtype=np.float64)
        reached = odds.cumsum(-1)
        share = top_p * (reached[:, -1:] if total is None else total)
        inside = ((reached - odds < share) | (top_p == 1)) & (odds >= min_p * odds[:, :1])
        complete = ((reached[:, -1:] >= share) | (odds[:, -1:] < min_p * odds[:, :1])).all()
        if cut or complete or width >= vocabulary:
            cooled[~inside] = -np.inf
            return Candidates(cooled, kept.tokens)
        width = vocabulary  # the nucleus may be larger


def _cooled(logits: Floats, first: Floats, temperatures: Floats) -> Floats:
    with np.errstate(over="ignore"):
        cooled: Floats = (logits - first) / temperatures[:, None]  # the first stays 0 however cold it gets
    return cooled


def draw(logits: Logits, configs: Sequence[DecodingConfig], generators: Sequence[np.random.Generator]) -> Ints:
    """One token a row, (B,): the likeliest at temperature 0, else one of the candidates by their odds."""
    kinds: dict[str, list[int]] = {}
    for row, config in enumerate(configs):
        kinds.setdefault(_kind(config, logits.vocabulary), []).append(row)
    if len(kinds) == 1:
        return _draw(next(iter(kinds)), logits, configs, generators)
    drawn = np.empty(len(configs), np.int64)
    for kind, rows in kinds.items():
        mine = [configs[row] for row in rows], [generators[row] for row in rows]
        drawn[rows] = _draw(kind, logits.select(rows), *mine)
    return drawn


def _draw(
    kind: str, logits: Logits, configs: Sequence[DecodingConfig], generators: Sequence[np.random.Generator]
) -> Ints:
    if kind == "greedy":
        return logits.argmax()
    found = candidates(logits, configs)
    uniform = np.array([generator.random() for generator in generators])
    odds = np.exp(found.logits, dtype=np.float64)
    reached = odds.cumsum(-1)
    place = (reached <= (uniform * reached[:, -1])[:, None]).sum(-1)
    last = odds.shape[-1] - 1 - (odds[:, ::-1] > 0).argmax(-1)  # rounding may overshoot it
    tokens: Ints = found.tokens[np.arange(len(configs)), np.minimum(place, last)]
    return tokens


def _kind(config: DecodingConfig, vocabulary: int) -> str:
    """Rows of a kind are drawn together."""
    if config.temperature == 0:
        return "greedy"
    if _top_k(config, vocabulary) < vocabulary:
        return "top-k"
    return "all" if config.top_p == 1 and config.min_p == 0 else "nucleus"


def _top_k(config: DecodingConfig, vocabulary: int) -> int:
    return min(config.top_k or vocabulary, vocabulary)
