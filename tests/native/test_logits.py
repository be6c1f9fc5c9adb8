"""The native engine's logits against plain numpy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dialogpt.native.engine import NativeEngine, open_native
from dialogpt.native.logits import NativeLogits


@pytest.fixture(scope="module")
def folder(make_model: Callable[..., Any], save: Callable[[Any], Path]) -> Path:
    return save(make_model(vocab_size=400))


def held(engine: NativeEngine, rows: Any) -> NativeLogits:
    return NativeLogits.of(engine._model, np.ascontiguousarray(rows, np.float32), rows.shape[1])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.integers(1, 5), k=st.integers(1, 420), seed=st.integers(0, 2**16), ties=st.booleans(), data=st.data())
def test_all_is_as_numpy_has_it(
    kernels: str, folder: Path, array_logits: Any, rows: int, k: int, seed: int, ties: bool, data: st.DataObject
) -> None:
    engine = open_native(folder)
    assert engine is not None
    values = np.random.default_rng(seed).normal(0, 5, (rows, 400)).astype(np.float32)
    if ties:
        values = values.round()
    found, expected = held(engine, values.copy()), array_logits(values)
    for _ in range(3):
        assert (found.rows, found.vocabulary) == (expected.rows, expected.vocabulary)
        np.testing.assert_allclose(found.logsumexp(), expected.logsumexp(), 1e-5, 1e-5)
        temperatures = np.linspace(0.5, 2, found.rows, dtype=np.float32)
        np.testing.assert_allclose(found.mass(temperatures), expected.mass(temperatures), 1e-5)
        assert found.argmax().tolist() == expected.argmax().tolist()
        for mine, theirs in zip(found.likeliest(k), expected.likeliest(k), strict=True):
            assert mine.tolist() == theirs.tolist()
        places = data.draw(st.lists(st.integers(0, found.rows - 1), min_size=1, max_size=5, unique=True))
        tokens = data.draw(st.lists(st.integers(0, 399), min_size=len(places), max_size=len(places)))
        assert found.get(places, tokens).tolist() == expected.get(places, tokens).tolist()
        part, theirs = found.select([*places, places[0]]), expected.select([*places, places[0]])
        changed = np.linspace(-3, 3, len(places), dtype=np.float32)
        changed[0] = -np.inf
        for logits in (found, expected):
            logits.set(places, tokens, changed)
        assert found.array().tolist() == expected.array().tolist()
        assert part.array().tolist() == theirs.array().tolist()  # what was selected before is as it was
        ends = [*places[1:], *range(found.rows, found.rows + 2)]
        found.join(ends, part)
        expected.join(ends, theirs)
        part.set([0], [3], np.float32([9]))
        assert found.array().tolist() == expected.array().tolist()


def test_extremes(kernels: str, folder: Path) -> None:
    engine = open_native(folder)
    assert engine is not None
    row = np.full((1, 400), -np.inf, np.float32)
    row[0, [7, 399]] = 2, 3
    logits = held(engine, row)
    np.testing.assert_allclose(logits.logsumexp(), np.logaddexp(2, 3), 1e-6)
    assert logits.likeliest(3).tokens.tolist() == [[399, 7, 0]]
    cold = logits.mass(np.float32([1e-30]))
    assert cold.tolist() == pytest.approx([1])
    for wrong in (np.nan, np.inf):
        row[0, 20] = wrong
        assert not np.isfinite(held(engine, row).logsumexp()).any()
