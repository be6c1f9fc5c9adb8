"""What ranks read: together a step is the same for every number of them, and a place in the data is a number."""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogpt.session import Session, Turn
from dialogpt.tokens.shards import TokenShards
from dialogpt.train.feed import Feed, ahead


@pytest.fixture(scope="session")
def many(make_shards: Callable[..., Path]) -> TokenShards:
    return TokenShards(make_shards([Session((Turn("a b c" * (i % 7)), Turn(f"{i}"))) for i in range(50)]))


def members(feed: Feed, epoch: int, batch: int, count: int) -> list[set[int]]:
    """The sessions of each of `count` steps."""
    return [set(np.concatenate([*step.sessions, []]).tolist()) for step in islice(feed.steps(epoch, batch), count)]


@given(size=st.integers(1, 5), accumulate=st.integers(1, 6), tokens=st.integers(20, 200), seed=st.integers(0, 9))
def test_ranks_share_each_step_out(many: TokenShards, size: int, accumulate: int, tokens: int, seed: int) -> None:
    def feed(rank: int, of: int) -> Feed:
        return Feed(shards=many, micro_batch_tokens=tokens, accumulate=accumulate, seed=seed, rank=rank, size=of)

    count = feed(0, 1).steps_per_epoch() + 2
    alone = members(feed(0, 1), 0, 0, count)
    shares = [members(feed(rank, size), 0, 0, count) for rank in range(size)]
    for step, whole in enumerate(alone):
        parts = [share[step] for share in shares]
        assert set().union(*parts) == whole
        assert sum(map(len, parts)) == len(whole), "no session on two ranks"
    assert set().union(*alone[: count - 2]) == set(range(len(many))), "an epoch has all sessions"
    steps = [list(islice(feed(rank, size).steps(0, 0), count)) for rank in range(size)]
    for same in zip(*steps, strict=True):
        assert len({step.after for step in same}) == 1
        assert len({len(step.batches) for step in same}) == 1, "joint gradients need equally many passes"


def test_a_place_in_the_data_is_where_a_step_ended(many: TokenShards) -> None:
    feed = Feed(shards=many, micro_batch_tokens=60, accumulate=2, seed=3)
    steps = list(islice(feed.steps(0, 0), feed.steps_per_epoch() + 3))
    for number, step in enumerate(steps[:-1]):
        (following,) = islice(feed.steps(*step.after), 1)
        assert [m.tolist() for m in following.sessions] == [m.tolist() for m in steps[number + 1].sessions]


@given(size=st.integers(1, 4))
def test_validation_reads_every_session_once(many: TokenShards, size: int) -> None:
    feeds = [Feed(shards=many, micro_batch_tokens=60, rank=rank, size=size) for rank in range(size)]
    passes = [list(feed.once()) for feed in feeds]
    assert len({len(batches) for batches in passes}) == 1
    (alone,) = [sum(batch.target_count for batch in Feed(shards=many, micro_batch_tokens=60).once())]
    assert sum(batch.target_count for batches in passes for batch in batches) == alone


def test_the_share_of_real_tokens_is_that_of_the_batches(many: TokenShards) -> None:
    feed = Feed(shards=many, micro_batch_tokens=60)
    batches = list(feed.once())
    real = sum(len(many[i]) - 1 for i in range(len(many)))
    assert feed.real_share() == pytest.approx(real / sum(batch.tokens.size for batch in batches), rel=0.05)
    assert 0.5 < feed.real_share() <= 1


def test_a_thread_works_ahead_and_its_error_is_raised_in_place() -> None:
    made = []

    def items() -> Iterator[int]:
        for i in range(5):
            made.append(i)
            yield i
        raise OSError("the disk is gone")

    found: list[int] = []
    with pytest.raises(OSError, match="the disk is gone"):
        found.extend(ahead(items(), 2))
    assert found == made == [0, 1, 2, 3, 4]
    assert list(ahead(iter("abc"))) == ["a", "b", "c"]
    endless = ahead(iter(int, 1))
    next(endless)
    endless.close()  # does not wait for an end
