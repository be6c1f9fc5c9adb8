"""The native engine: weights in a mapped file and the library that runs them, as the calls of `dialogpt.engine`.

Rows are packed one after another without padding, so only what was asked for is read, and no row's result depends on
another's. B rows, V tokens.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from dialogpt.engine import Floats, Joining, Kept, common_length
from dialogpt.errors import UsageError
from dialogpt.model import GPTConfig
from dialogpt.native.cache import NativeCache
from dialogpt.native.library import OfLibrary, Shape, call, ints, kernels, pointer
from dialogpt.native.logits import NativeLogits
from dialogpt.native.packed import HEADER, packed, readable
from dialogpt.processors import threads

SCORED_TOGETHER = 4096  # tokens per call of `nats`
LANES = 16  # logits are written in whole vectors of this many


def open_native(source: Path, bits: int = 8, *, ranker: bool = False) -> "NativeEngine | None":
    """The engine of a folder or of a single file of weights, in 8 bits or 4; of a ranker, where one is wanted.

    None without a library, with DIALOGPT_CPU=off, or if only torch can read it.
    """
    if (chosen := kernels()) is None or (config := readable(source, ranker=ranker)) is None:
        return None
    return NativeEngine(source, config, chosen, bits)


class _Model(OfLibrary):
    """The library's object, kept while anything made with it is in use."""

    def __init__(self, path: Path, config: GPTConfig, chosen: str, bits: int, workers: int) -> None:
        shape = Shape.of(config, bits)
        self.handle = call("open", bytes(path), HEADER, shape.address, chosen.encode(), workers)

    def __del__(self) -> None:
        if handle := getattr(self, "handle", None):
            call("close", handle)


class NativeEngine:
    """Runs a checkpoint on this CPU."""

    def __init__(self, source: Path, config: GPTConfig, chosen: str, bits: int) -> None:
        """Map a checkpoint's packed weights, making them first if need be."""
        self.n_ctx, self.vocabulary, self.kernels = config.n_ctx, config.vocab_size, chosen
        with packed(source, config, bits) as path:
            self._model = _Model(path, config, chosen, bits, threads())

    def prefill(
        self, contexts: Sequence[Sequence[int]], room: int, begun: Sequence[NativeCache | None] = ()
    ) -> tuple[NativeLogits, NativeCache]:
        """As `Engine.prefill`."""
        cache, new = NativeCache(self._model, len(contexts)), list(contexts)
        for row, known in enumerate(begun):
            if known is not None:
                cache.join([row], known)
                new[row] = contexts[row][known.tokens_read() :]
        return self._read(cache, range(len(contexts)), new), cache

    def resume(self, context: Sequence[int], kept: Kept | None) -> tuple[NativeLogits, Kept]:
        """As `Engine.resume`."""
        kept = kept or Kept([], NativeCache(self._model, 1))
        cache = _ours(kept.cache)
        common = common_length(context[:-1], kept.tokens[: cache.tokens_read()])
        cache.cut(common)
        kept.tokens = list(context)
        return self._read(cache, [0], [context[common:]]), kept

    def decode(self, tokens: Sequence[int], cache: NativeCache, joining: Sequence[Joining] = ()) -> NativeLogits:
        """As `Engine.decode`, in one pass; rows that were dropped are not read."""
        new: dict[int, Sequence[int]] = {row: [token] for row, token in enumerate(tokens) if row not in cache.dropped}
        same: dict[int, int] = {}  # rows with the same context as another one
        with cache.whole_or_as_before([place for each in joining for place in each.places]):
            for places, context, begun in joining:
                known = begun or NativeCache(self._model, 1)
                new[places[0]] = context[known.tokens_read() :]
                same.update(dict.fromkeys(places[1:], places[0]))
                cache.join(places[:1], known)
            live = sorted(new)
            logits = self._read(cache, live, [new[row] for row in live])
            if same:
                cache.repeat(same)
        if len(live) == cache.rows:
            return logits
        place = {row: number for number, row in enumerate(live)}
        return logits.select([place.get(same.get(row, row), 0) for row in range(cache.rows)])

    def nats(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[float]:
        """As `Engine.nats`; as many pairs as make a good batch are read together."""
        found: list[float] = []
        while len(found) < len(pairs):
            together, size = len(found), 0
            while together < len(pairs) and (not size or size + sum(map(len, pairs[together])) <= SCORED_TOGETHER):
                size += sum(map(len, pairs[together]))
                together += 1
            found += self._nats(pairs[len(found) : together])
        return found

    def _nats(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[float]:
        whole = [[*context, *target] for context, target in pairs]
        ends = np.cumsum([len(tokens) - 1 for tokens in whole])
        lengths = [len(target) for _, target in pairs]
        places = np.concatenate([np.arange(end - n, end) for end, n in zip(ends, lengths, strict=True)])
        targets = [token for _, target in pairs for token in target]
        logprobs = np.empty(len(targets), np.float32)
        self._call(NativeCache(self._model, len(pairs)), range(len(pairs)), [tokens[:-1] for tokens in whole], places,
                   targets=targets, logprobs=logprobs)  # fmt: skip
        firsts = np.cumsum([0, *lengths[:-1]])
        sums: list[float] = np.add.reduceat(-logprobs.astype(np.float64), firsts).tolist()
        return sums

    def _read(self, cache: NativeCache, rows: Iterable[int], contexts: Sequence[Sequence[int]]) -> NativeLogits:
        """Read tokens for rows of a cache; returns the logits after the last token of each."""
        values = np.empty((len(contexts), -(-self.vocabulary // LANES) * LANES), np.float32)
        self._call(cache, rows, contexts, np.cumsum([len(context) for context in contexts]) - 1, logits=values)
        return NativeLogits.of(self._model, values, self.vocabulary)

    def _call(
        self, cache: NativeCache, rows: Iterable[int], contexts: Sequence[Sequence[int]], places: object, *,
        logits: Floats | None = None, targets: Sequence[int] = (), logprobs: Floats | None = None,
    ) -> None:  # fmt: skip
        tokens = ints([token for context in contexts for token in context])
        of_rows = ints(np.repeat(ints(list(rows)), [len(context) for context in contexts]))
        at, wanted = ints(places), ints(targets)
        self._check(wanted)
        read = pointer(tokens), pointer(of_rows), len(tokens)
        asked = (None, 0) if logits is None else (pointer(logits), logits.shape[1])
        scored = (None, None) if logprobs is None else (pointer(wanted), pointer(logprobs))
        call("read", self._model.handle, cache.handle, *read, pointer(at), len(at), *asked, *scored)

    def _check(self, tokens: np.ndarray) -> None:
        """The library checks the tokens that are read, but not targets."""
        if len(tokens) and not 0 <= tokens.min() <= tokens.max() < self.vocabulary:
            raise UsageError(
                f"a target is not one of the model's {self.vocabulary:,} tokens", "use the model's own tokenizer"
            )


def _ours(cache: object) -> NativeCache:
    assert isinstance(cache, NativeCache), "a cache is for the engine that made it"
    return cache
