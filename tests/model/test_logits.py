"""The torch engine's logits against plain numpy, in fp32 and as a GPU would have them: where numpy cannot see them."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dialogpt.model.logits import TorchLogits

ROWS = st.integers(1, 12).flatmap(
    lambda width: st.lists(
        st.lists(st.sampled_from([-2.0, 0.0, 0.5, 3.0]) | st.floats(-20, 20, width=16), min_size=width, max_size=width),
        min_size=1, max_size=5,
    )
)  # fmt: skip


def held(rows: list[list[float]], elsewhere: bool) -> TorchLogits:
    logits = TorchLogits(torch.tensor(rows))
    if elsewhere:
        logits._here = None  # what is done on a device must not go by way of numpy
    return logits


@pytest.mark.parametrize("elsewhere", [False, True])
@settings(max_examples=100, deadline=None)
@given(rows=ROWS, k=st.integers(1, 14), data=st.data())
def test_all_is_as_numpy_has_it(
    array_logits: Any, elsewhere: bool, rows: list[list[float]], k: int, data: st.DataObject
) -> None:
    found, expected = held(rows, elsewhere), array_logits(rows)
    for _ in range(2):
        assert (found.rows, found.vocabulary) == (expected.rows, expected.vocabulary)
        np.testing.assert_allclose(found.logsumexp(), expected.logsumexp(), 1e-5, 1e-5)
        temperatures = np.linspace(0.5, 2, found.rows, dtype=np.float32)
        np.testing.assert_allclose(found.mass(temperatures), expected.mass(temperatures), 1e-5)
        assert found.argmax().tolist() == expected.argmax().tolist()
        for mine, theirs in zip(found.likeliest(k), expected.likeliest(k), strict=True):
            assert mine.tolist() == theirs.tolist()
        assert found.array().tolist() == expected.array().tolist()
        places = data.draw(st.lists(st.integers(0, found.rows - 1), min_size=1, max_size=5, unique=True))
        tokens = data.draw(st.lists(st.integers(0, found.vocabulary - 1), min_size=len(places), max_size=len(places)))
        assert found.get(places, tokens).tolist() == expected.get(places, tokens).tolist()
        values = np.linspace(-3, 3, len(places), dtype=np.float32)
        values[0] = -np.inf if found.vocabulary > 1 else 0
        for logits in (found, expected):
            logits.set(places, tokens, values)
        assert found.array().tolist() == expected.array().tolist()
        part, theirs = found.select(places), expected.select(places)
        assert part.array().tolist() == theirs.array().tolist()
        if elsewhere:
            part._here = None
        ends = [*places[1:], *range(found.rows, found.rows + 1)]
        found.join(ends, part)
        expected.join(ends, theirs)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_shows_in_the_sum(value: float) -> None:
    sums = TorchLogits(torch.tensor([[1.0, value, 2.0], [0.0, 1.0, 2.0]])).logsumexp()
    assert np.isfinite(sums).tolist() == [False, True]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_exactly_k_of_many_that_are_equal_in_half_precision(dtype: torch.dtype, array_logits: Any) -> None:
    values = torch.randn(3, 5000, generator=torch.Generator().manual_seed(0)).to(dtype)
    found, expected = TorchLogits(values).likeliest(50), array_logits(values.float().numpy()).likeliest(50)
    assert found.tokens.tolist() == expected.tokens.tolist()
