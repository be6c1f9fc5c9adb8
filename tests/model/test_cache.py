"""What a cache holds after any sequence of operations: the tokens that each row has read, and nothing else."""

from typing import Any

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
    rows: list[list[int]] = []
    for row, start in enumerate(cache.starts):
        if row in cache.dropped:
            assert cache.tokens_read(row) == 0
            rows.append([])
            continue
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
        match data.draw(st.sampled_from(["read", "rearrange", "join", "make_room", "drop"])):
            case "read":
                new = data.draw(st.lists(tokens, min_size=len(expected), max_size=len(expected)))
                cache.make_room(1)
                read(cache, [[token] for token in new])
                expected = [[*row, token] if row else [] for row, token in zip(expected, new, strict=True)]
            case "rearrange":
                rows = data.draw(st.lists(st.integers(0, len(expected) - 1), min_size=1, max_size=5))
                cache.rearrange(rows)
                expected = [list(expected[row]) for row in rows]
            case "join":
                others = data.draw(contexts)
                more = data.draw(st.integers(0, len(others)))
                places = data.draw(st.permutations(range(len(expected))))[: len(others) - more]
                places += range(len(expected), len(expected) + len(others) - len(places))
                cache.join(places, padded(others, 8))
                expected += [[] for _ in others]
                for place, other in zip(places, others, strict=True):
                    expected[place] = list(other)
                expected = expected[: cache.rows]
            case "make_room":
                more = data.draw(st.integers(1, 40))
                cache.make_room(more)
                assert cache.capacity >= cache.length + more
            case "drop":
                row = data.draw(st.integers(0, len(expected) - 1))
                cache.drop(row)
                expected[row] = []
    assert rows_of(cache) == expected
    for row, whole in enumerate(expected):
        for length in {len(whole) // 2, len(whole)} - {0}:
            assert rows_of(cache.prefix(row, length, 3)) == [whole[:length]]


@given(begin=contexts, order=st.lists(st.integers(0, 3), min_size=4, max_size=4), differ=st.none() | st.integers(0, 6))
def test_only_what_differs_needs_to_be_moved(begin: list[list[int]], order: list[int], differ: int | None) -> None:
    rows = [row[:1] * 6 for row in begin]
    cache = padded(rows, 6)
    order = [row % len(rows) for row in order][: len(rows)]
    order += range(len(order), len(rows))
    cache.rearrange(order, differ)
    same = 0 if differ is None else 6 - differ
    assert rows_of(cache) == [row[:same] + rows[other][same:] for row, other in zip(rows, order, strict=True)]


def test_a_full_cache_loses_its_padding_before_it_grows() -> None:
    cache = padded([[1, 2, 3], [4]], 3)
    cache.drop(0)
    cache.make_room(2)
    assert (cache.length, cache.capacity, rows_of(cache)) == (1, 3, [[], [4]])
    cache.join([0], padded([[1, 2, 3, 4, 5]], 5))
    assert rows_of(cache) == [[1, 2, 3, 4, 5], [4]]
    assert cache.capacity > 5


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
    assert (cache.length, branches.length, branches.past, branches.tokens_read(1)) == (4, 2, 6, 6)
    assert cache.size_bytes == 2 * cache.k.nbytes
