"""Next-token logits of the native engine, as `dialogpt.engine.Logits` has them.

Rows stay where the engine wrote them; selecting and joining moves only addresses. A row shared by two objects is copied
by the first that changes it. Searches over the whole vocabulary are done by the library.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dialogpt.engine import Candidates, Doubles, Floats, Ints
from dialogpt.native.library import call, pointer


class NativeLogits:
    """Rows of V numbers; `model` keeps the library's object alive."""

    def __init__(self, model: Any, rows: list[Floats], addresses: NDArray[np.int64], shared: set[int]) -> None:
        self._model, self._rows, self._addresses, self._shared = model, rows, addresses, shared

    @classmethod
    def of(cls, model: Any, values: Floats, vocabulary: int) -> "NativeLogits":
        """All rows of an array, (B, V or more)."""
        addresses = pointer(values) + values.strides[0] * np.arange(len(values), dtype=np.int64)
        return cls(model, list(values[:, :vocabulary]), addresses, set())

    @property
    def rows(self) -> int:
        return len(self._rows)

    @property
    def vocabulary(self) -> int:
        return len(self._rows[0])

    def logsumexp(self) -> Doubles:
        masses, largest = self._masses(np.ones(self.rows, np.float32))
        with np.errstate(invalid="ignore"):
            return np.add(largest, np.log(masses), dtype=np.float64)

    def mass(self, temperatures: Floats) -> Doubles:
        return self._masses(np.divide(1, temperatures, dtype=np.float32))[0]

    def argmax(self) -> Ints:
        return self.likeliest(1).tokens[:, 0]

    def likeliest(self, k: int) -> Candidates:
        k = min(k, self.vocabulary)
        values, tokens = np.empty((self.rows, k), np.float32), np.empty((self.rows, k), np.int64)
        at = pointer(self._addresses), self.rows
        call("likeliest", self._model.handle, *at, k, pointer(values), pointer(tokens))
        return Candidates(values, tokens)

    def get(self, rows: Sequence[int], tokens: Sequence[int] | Ints) -> Floats:
        pairs = zip(rows, tokens, strict=True)
        return np.array([self._rows[row][token] for row, token in pairs], np.float32)

    def set(self, rows: Sequence[int], tokens: Sequence[int], values: Floats) -> None:
        for row in self._shared.intersection(rows):
            self._rows[row] = self._rows[row].copy()
            self._addresses[row] = pointer(self._rows[row])
            self._shared.discard(row)
        for row, token, value in zip(rows, tokens, values, strict=True):
            self._rows[row][token] = value

    def select(self, rows: Sequence[int]) -> "NativeLogits":
        self._shared.update(rows)
        taken = [self._rows[row] for row in rows]
        return NativeLogits(self._model, taken, self._addresses[list(rows)], set(range(len(taken))))

    def join(self, places: Sequence[int], other: "NativeLogits") -> None:
        new = max(*places, self.rows - 1) + 1 - self.rows
        self._rows += other._rows[:1] * new
        self._addresses = np.append(self._addresses, np.repeat(other._addresses[:1], new))
        for number, place in enumerate(places):
            self._rows[place], self._addresses[place] = other._rows[number], other._addresses[number]
        other._shared.update(range(other.rows))
        self._shared.update(places)

    def array(self) -> Floats:
        return np.stack(self._rows)

    def _masses(self, factors: Floats) -> tuple[Doubles, Floats]:
        found, largest = np.empty(self.rows, np.float64), np.empty(self.rows, np.float32)
        at = pointer(self._addresses), self.rows
        call("masses", self._model.handle, *at, pointer(factors), pointer(found), pointer(largest))
        return found, largest
