"""A single row's steps on a GPU as CUDA graphs: most of the time there goes into launching some 15 kernels per block.

A graph is recorded once and launched whole. All it touches must keep its address and shape, so the row's keys and
values are mirrored, and attention covers the mirror's first 128, 256, ... positions with a mask: one graph for each of
these lengths. The row's own cache remains authoritative: each step's keys and values are copied to it.
"""

import logging
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from dialogpt.model.cache import KVCache
from dialogpt.model.gpt import GPT

log = logging.getLogger(__name__)

Step = Callable[[], Tensor]  # the next logits (1, V)

SHORTEST = 128  # positions of the first graph; each further one has twice as many, up to n_ctx


class Mirror(KVCache):
    """The keys and values of one row, at fixed addresses; a step's are written at `place` (1,), on the device."""

    __slots__ = ("place", "span")
    place: Tensor
    span: int  # positions that attention goes over

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        for stored, new in ((self.k, k), (self.v, v)):
            stored[layer].index_copy_(2, self.place, new)
        return self.k[layer, :, :, : self.span], self.v[layer, :, :, : self.span]


class Replay:
    """Steps of one row: `step` reads a token and returns the next logits."""

    def __init__(self, model: GPT, record: Callable[[Step], Step] | None = None) -> None:
        """record: turns a function into one that repeats it at less cost (default: a CUDA graph)."""
        like = model.transformer.ln_f.weight
        self._model, self._record = model, record or partial(recorded, like.device)
        self._mirror = Mirror.empty(model.config, 1, model.config.n_ctx, like)
        self._mirror.place = torch.zeros(1, dtype=torch.long, device=like.device)
        self._token = torch.zeros(1, 1, dtype=torch.long, device=like.device)
        self._positions = torch.arange(model.config.n_ctx, device=like.device)
        self._steps: dict[int, Step] = {}
        self._mirrored: object | None = None  # the mark of the cache that the mirror equals
        self.works = True  # until a graph could not be recorded

    def fits(self, cache: KVCache) -> bool:
        """Whether the next step of this cache can be one of these: one row, without padding, with room in the model."""
        whole = cache.shared is None and cache.starts == [0] and not cache.dropped
        return self.works and whole and cache.length < self._model.config.n_ctx

    @torch.inference_mode()
    def step(self, token: int, cache: KVCache) -> Tensor | None:
        """Read a token after what the cache holds, which has room for it; returns logits (1, V), until the next step's.

        None if a graph could not be recorded; then nothing has been read.
        """
        place = cache.length
        if cache.mark is None or cache.mark is not self._mirrored:
            for mine, its in ((self._mirror.k, cache.k), (self._mirror.v, cache.v)):
                mine[:, :, :, :place] = its[:, :, :, :place]
            self._mirrored = cache.mark = object()
        self._token.fill_(token)
        self._mirror.place.fill_(place)
        step = self._step_of(place + 1)
        if step is None:
            return None
        logits = step()
        for mine, its in ((self._mirror.k, cache.k), (self._mirror.v, cache.v)):
            its[:, :, :, place] = mine[:, :, :, place]
        cache.length += 1
        return logits

    def _step_of(self, length: int) -> Step | None:
        """The step over the fewest positions that suffice, recorded at its first use."""
        span = SHORTEST
        while span < length:
            span *= 2
        span = min(span, self._model.config.n_ctx)
        if span not in self._steps:
            try:
                self._steps[span] = self._record(lambda: self._plain_step(span))
            except RuntimeError as error:
                log.warning("no CUDA graph, single replies are slower: %s", str(error).partition("\n")[0])
                self.works = False
                return None
        return self._steps[span]

    def _plain_step(self, span: int) -> Tensor:
        """The model's own blocks; no shape here depends on what was read, and nothing is waited for."""
        parts, mirror = self._model.transformer, self._mirror
        mirror.span = span
        hidden = parts.wte(self._token) + parts.wpe(mirror.place)  # (1, 1, C)
        mask = torch.zeros(span, dtype=hidden.dtype, device=hidden.device)
        mask = mask.masked_fill(self._positions[:span] > mirror.place, -torch.inf)[None, None, None]  # (1, 1, 1, S)
        for block in parts.h:
            hidden = block(hidden, mask, mirror)
        return self._model.logits(parts.ln_f(hidden)[:, -1])


def recorded(device: torch.device, step: Step) -> Step:
    """The step as a CUDA graph; RuntimeError if it cannot be one."""
    with torch.cuda.device(device):
        now, aside = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(now)
        with torch.cuda.stream(aside):  # in their first calls libraries take workspaces, which a graph cannot hold
            for _ in range(2):
                step()
        now.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # what other threads do does not count
            logits = step()

    def again() -> Tensor:
        graph.replay()
        return logits

    return again
