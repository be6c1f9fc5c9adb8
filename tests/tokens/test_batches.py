"""Which sessions stand in which batch, and the arrays they become."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialogpt.tokens.batches import IGNORE, collate, plan
from dialogpt.tokens.shards import TokenSession

lengths = st.lists(st.integers(1, 300), min_size=1, max_size=400).map(np.array)


def session(*turns: list[int], learn: tuple[bool, ...] | None = None) -> TokenSession:
    return TokenSession(tuple(np.array(turn, dtype=np.uint16) for turn in turns), learn or (True,) * len(turns))


@settings(deadline=None)
@given(lengths, st.integers(1, 2000), st.integers(0, 9), st.integers(0, 9))
def test_every_session_is_in_one_batch_of_the_epoch(of: np.ndarray, budget: int, seed: int, epoch: int) -> None:
    batches = plan(of, budget, seed, epoch)
    assert sorted(i for batch in batches for i in batch.tolist()) == list(range(len(of)))
    assert all(len(batch) for batch in batches)


@settings(deadline=None)
@given(lengths, st.integers(1, 2000), st.integers(0, 9))
def test_a_batch_keeps_to_its_budget(of: np.ndarray, budget: int, seed: int) -> None:
    for batch in plan(of, budget, seed, 0):
        assert len(batch) == 1 or len(batch) * of[batch].max() <= budget


@settings(deadline=None)
@given(lengths, st.integers(1, 2000), st.integers(0, 9), st.integers(0, 9))
def test_the_plan_is_a_function_of_seed_and_epoch(of: np.ndarray, budget: int, seed: int, epoch: int) -> None:
    first, again = plan(of, budget, seed, epoch), plan(of.copy(), budget, seed, epoch)
    assert [batch.tolist() for batch in first] == [batch.tolist() for batch in again]


@pytest.mark.parametrize("other", [(0, 1), (1, 0)])
def test_another_seed_or_epoch_gives_another_order(other: tuple[int, int]) -> None:
    of = np.random.default_rng(0).integers(10, 100, 1000)
    shown = [[batch.tolist() for batch in plan(of, 1024, *key)] for key in ((0, 0), other)]
    assert shown[0] != shown[1]
    assert {tuple(sorted(batch)) for batch in shown[0]} != {tuple(sorted(batch)) for batch in shown[1]}


@pytest.mark.parametrize("budget, most", [(2048, 0.05), (8192, 0.07)])
def test_next_to_nothing_is_padding(budget: int, most: float) -> None:
    """Lengths as dialogues have them, log-normal about 60 tokens up to 512: under 1/20 is padding, not 2/3."""
    rng = np.random.default_rng(0)
    of = np.clip(rng.lognormal(4.1, 0.7, 20_000), 4, 512).astype(int)
    batches = plan(of, budget, 0, 0)
    used = sum(len(batch) * int(of[batch].max()) for batch in batches)
    padding = 1 - int(of.sum()) / used
    at_random = plan_at_random(of, budget, rng)
    assert padding < most < 0.4 < at_random, (padding, at_random)


def plan_at_random(of: np.ndarray, budget: int, rng: np.random.Generator) -> float:
    """The padding share of batches of unsorted sessions."""
    rows = budget // int(of.mean())
    order = rng.permutation(len(of))
    used = sum(len(cut) * int(of[cut].max()) for cut in np.array_split(order, len(of) // rows))
    return 1 - int(of.sum()) / used


def test_batches_of_like_length_do_not_come_in_order_of_length() -> None:
    of = np.random.default_rng(0).integers(10, 400, 5000)
    longest = [int(of[batch].max()) for batch in plan(of, 2048, 0, 0)]
    assert longest != sorted(longest)
    assert longest != sorted(longest, reverse=True)


def test_targets_are_the_next_tokens_of_every_turn_but_the_first() -> None:
    batch = collate([session([1, 2, 0], [3, 0], [4, 5, 0]), session([6, 0], [7, 0])])
    assert batch.tokens.tolist() == [[1, 2, 0, 3, 0, 4, 5], [6, 0, 7, 0, 0, 0, 0]]
    x = IGNORE
    assert batch.targets.tolist() == [[x, x, 3, 0, 4, 5, 0], [x, 7, 0, x, x, x, x]]
    assert batch.target_count == 7
    assert batch.tokens.dtype == batch.targets.dtype == np.int64


def test_turns_that_carry_no_loss_are_context() -> None:
    batch = collate([session([1, 0], [2, 0], [3, 0], [4, 0], learn=(True, False, True, False))])
    x = IGNORE
    assert batch.tokens.tolist() == [[1, 0, 2, 0, 3, 0, 4]]
    assert batch.targets.tolist() == [[x, x, x, 3, 0, x, x]]


def test_the_backward_model_reads_turns_last_to_first() -> None:
    batch = collate([session([1, 2, 0], [3, 0], [4, 5, 0], learn=(True, False, True))], reverse=True)
    x = IGNORE
    assert batch.tokens.tolist() == [[4, 5, 0, 3, 0, 1, 2]]
    assert batch.targets.tolist() == [[x, x, x, x, 1, 2, 0]]


def test_a_turn_that_is_only_its_end_token() -> None:
    batch = collate([session([0], [0], [0])])
    assert batch.tokens.tolist() == [[0, 0]]
    assert batch.targets.tolist() == [[0, 0]]


@settings(deadline=None)
@given(st.lists(st.lists(st.lists(st.integers(1, 9), max_size=4), min_size=2, max_size=4), min_size=1, max_size=5))
def test_as_many_targets_as_tokens_after_the_first_turn(made: list[list[list[int]]]) -> None:
    with_ends = [[[*turn, 0] for turn in turns] for turns in made]
    batch = collate([session(*turns) for turns in with_ends])
    assert batch.target_count == sum(len(turn) for turns in with_ends for turn in turns[1:])
    for b, turns in enumerate(with_ends):
        row = [token for turn in turns for token in turn]
        assert batch.tokens[b, : len(row) - 1].tolist() == row[:-1]
        assert not batch.tokens[b, len(row) - 1 :].any()
