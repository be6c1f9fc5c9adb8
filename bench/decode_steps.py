"""What engines called step by step, with a cache, have in common: greedy replies, turns, draws.

Drawing is numpy's, of the likeliest tokens that the engine's own graph finds: the time is the engine's.
"""

from abc import ABC, abstractmethod
from importlib.util import find_spec

import numpy as np
from decode_tasks import TOP_K, Told


class Steps(ABC):
    """The greedy and the drawn half of a `Decoder`."""

    end_id: int

    @abstractmethod
    def reset(self, length: int) -> None:
        """Forget what was read; one row of at most `length` tokens begins."""

    @abstractmethod
    def best(self, tokens: list[int], past: int) -> int:
        """The likeliest token, but the end's, after `tokens`, which follow `past` ones that were read."""

    @abstractmethod
    def likeliest(self, rows: list[list[int]], past: int) -> tuple[np.ndarray, np.ndarray]:
        """Logits and tokens of the TOP_K + 1 likeliest after each row, (rows, TOP_K + 1)."""

    @abstractmethod
    def spread(self, number: int) -> None:
        """The rows read next, `number` of them, all follow the row that was read."""

    def _greedy(self, context: list[int], past: int, new: int, told: Told = lambda: None) -> list[int]:
        made = [self.best(context, past)]
        told()
        while len(made) < new:
            made.append(self.best(made[-1:], past + len(context) + len(made) - 1))
            told()
        return made

    def reply(self, context: list[int], new: int, told: Told) -> list[int]:
        self.reset(len(context) + new)
        return self._greedy(context, 0, new, told)

    def converse(self, turns: list[list[int]], new: int) -> list[list[int]]:
        self.reset(sum(len(turn) + new for turn in turns))
        past, left, replies = 0, list[int](), list[list[int]]()
        for turn in turns:
            replies.append(self._greedy(left + turn, past, new))
            past, left = past + len(left + turn) + new - 1, replies[-1][-1:]
        return replies

    def hypotheses(self, context: list[int], number: int, new: int, seed: int) -> list[list[int]]:
        self.reset(len(context) + new)
        rng = np.random.default_rng(seed)
        logits, tokens = (np.repeat(found, number, 0) for found in self._allowed([context], 0))
        self.spread(number)
        made = np.empty((number, new), np.int64)
        for step in range(new):
            noise = rng.gumbel(size=logits.shape)
            made[:, step] = np.take_along_axis(tokens, (logits + noise).argmax(1)[:, None], 1)[:, 0]
            if step < new - 1:
                logits, tokens = self._allowed(made[:, step : step + 1].tolist(), len(context) + step)
        found: list[list[int]] = made.tolist()
        return found

    def _allowed(self, rows: list[list[int]], past: int) -> tuple[np.ndarray, np.ndarray]:
        """The TOP_K `likeliest`, the best first, without the end token."""
        logits, tokens = self.likeliest(rows, past)
        order = np.argsort(np.where(tokens == self.end_id, np.inf, -logits), kind="stable")[:, :TOP_K]
        return np.take_along_axis(logits, order, 1), np.take_along_axis(tokens, order, 1)


def missing(needs: dict[str, list[str]]) -> dict[str, list[str]]:
    """The modules of each engine that are not installed here."""
    return {engine: [*filter(_is_missing, names)] for engine, names in needs.items()}


def _is_missing(name: str) -> bool:
    try:
        return find_spec(name) is None
    except ModuleNotFoundError:  # the package that it is in
        return True
