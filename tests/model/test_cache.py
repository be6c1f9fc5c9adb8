"""What a cache holds after any sequence of operations: the tokens that each row has read, and nothing else."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dialogpt.model import GPTConfig
from dialogpt.model.cache import KVCache

CONFIG = GPTConfig(n_layer=2, n_head=1, n_embd=1, vocab_size=100, n_ctx=512)


@torch.inference_mode()
def read(cache: KVCache, tokens: list[list[int]]) -> None:
    """Append a column of tokens for each step: what a row keeps of a token is its number, and its layer's sign."""
    values = torch.tensor(tokens, dtype=torch.float)[:, None, :, None]  # (B, H, T, D)
    for layer in range(CONFIG.n_layer):
        cache.append(layer, values + layer / 2, -values)
    cache.length += values.shape[2]


def rows_of(cache: KVCache) -> list[list[int]]:
    """What each row has read, after checking that layers, keys and values agree."""
    rows = []
    for row, start in enumerate(cache.starts):
        stored = cache.k[0, row, 0, start : cache.length, 0]
        assert torch.equal(cache.k[1, row, 0, start : cache.length, 0], stored + 0.5)
        assert torch.equal(cache.v[0, row, 0, start : cache.length, 0], -stored)
        rows.append([int(x) for x in stored.tolist()])
    return rows


def padded(contexts: list[list[int]], capacity: int) -> KVCache:
    longest = max(map(len, contexts))
    cache = KVCache.empty(CONFIG, len(contexts), capacity, torch.zeros(1), [longest - len(c) for c in contexts])
    read(cache, [[0] * (longest - len(context)) + context for context in contexts])
    return cache


tokens = st.integers(1, 99)
contexts = st.lists(st.lists(tokens, min_size=1, max_size=6), min_size=1, max_size=4)


@settings(max_examples=200, deadline=None)
@given(begin=contexts, data=st.data())
def test_any_sequence_of_operations(begin: list[list[int]], data: st.DataObject) -> None:
    cache, expected = padded(begin, 64), [list(row) for row in begin]
    for _ in range(data.draw(st.integers(0, 6))):
        match data.draw(st.sampled_from(["read", "select", "put", "compact", "widened", "drop"])):
            case "read" if cache.length < cache.capacity:
                new = data.draw(st.lists(tokens, min_size=len(expected), max_size=len(expected)))
                read(cache, [[token] for token in new])
                expected = [[*row, token] for row, token in zip(expected, new, strict=True)]
            case "select":
                rows = data.draw(st.lists(st.integers(0, len(expected) - 1), min_size=1, max_size=5))
                cache, expected = cache.select(rows), [list(expected[row]) for row in rows]
            case "put":
                others = data.draw(contexts)[: len(expected)]
                places = data.draw(st.permutations(range(len(expected))))[: len(others)]
                cache.put(places, padded(others, 8))
                for place, other in zip(places, others, strict=True):
                    expected[place] = list(other)
            case "compact":
                cache.compact()
                assert min(cache.starts) == 0
            case "widened":
                more = data.draw(st.integers(0, 2))
                cache = cache.widened(len(expected) + more, cache.capacity + 3)
                expected += [[] for _ in range(more)]
            case "drop":
                row = data.draw(st.integers(0, len(expected) - 1))
                cache.drop(row)
                expected[row] = []
    assert rows_of(cache) == expected
    for row, whole in enumerate(expected):
        for length in {len(whole) // 2, len(whole)} - {0}:
            assert rows_of(cache.prefix(row, length)) == [whole[:length]]


@given(begin=contexts, order=st.lists(st.integers(0, 3), min_size=4, max_size=4), since=st.integers(0, 6))
def test_reorder_leaves_what_is_alike(begin: list[list[int]], order: list[int], since: int) -> None:
    rows = [row[:1] * 6 for row in begin]
    cache = padded(rows, 6)
    order = [row % len(rows) for row in order][: len(rows)]
    order += range(len(order), len(rows))
    cache.reorder(order, since)
    assert rows_of(cache) == [row[:since] + rows[other][since:] for row, other in zip(rows, order, strict=True)]


def test_a_full_cache_can_be_compacted_and_no_more() -> None:
    cache = padded([[1, 2, 3], [4]], 3)
    with pytest.raises(ValueError, match="5 tokens do not fit into a cache of 3"):
        cache.put([1], padded([[1, 2, 3, 4, 5]], 5))
    assert rows_of(cache) == [[1, 2, 3], [4]]
    cache.drop(0)
    cache.compact()
    assert (cache.length, rows_of(cache)) == (1, [[], [4]])


def test_rows_that_branch_off_share_what_is_read(make_model: Any) -> None:
    model = make_model(seed=3)
    whole, context = torch.tensor([[5, 6, 7, 8, 9, 10]]), torch.tensor([[5, 6, 7, 8]])
    with torch.inference_mode():
        expected = model(whole)[0, -1]
        cache = KVCache.empty(model.config, 1, 16, torch.zeros(1))
        model(context, cache)
        branches = cache.branch(3, 4)
        model(torch.tensor([[9], [11], [9]]), branches)
        logits = model(torch.tensor([[10], [12], [10]]), branches)[:, -1]
    assert torch.allclose(logits[0], expected, atol=1e-4)
    assert torch.allclose(logits[2], expected, atol=1e-4)
    assert not torch.allclose(logits[1], expected, atol=1e-2)
    assert (cache.length, branches.length, branches.past) == (4, 2, 6)
    assert cache.size_bytes == 2 * cache.k.nbytes
