"""What tasks count adds up to the same, however the items are cut into tasks and in whatever order they come."""

import json
import random
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogpt.data.tally import Tally

items = st.lists(
    st.tuples(st.sampled_from(["comment: url", "path: low score", "عام"]), st.integers(0, 30), st.text(max_size=3)),
    max_size=60,
)


def through_json(tally: Tally) -> Tally:
    """As it comes back from a task."""
    return msgspec.convert(json.loads(msgspec.json.encode(tally)), Tally, dec_hook=lambda kind, value: kind(value))


def counted(dropped: list[tuple[str, int, str]], keep: int) -> Tally:
    tally = Tally(keep=keep)
    for reason, id, text in dropped:
        tally.drop(reason, id, text)
        tally.counts["items"] += 1
    return tally


@given(items, st.integers(0, 5), st.integers(1, 5), st.randoms(use_true_random=False))
def test_order_and_split_change_nothing(
    dropped: list[tuple[str, int, str]], keep: int, tasks: int, chance: random.Random
) -> None:
    whole = counted(dropped, keep)
    shuffled = chance.sample(dropped, len(dropped))
    parts = [through_json(counted(shuffled[n::tasks], keep)) for n in range(tasks)]
    total = Tally(keep=keep)
    for part in chance.sample(parts, tasks):
        total.add(part)
    assert total.dropped == whole.dropped == Counter(reason for reason, *_ in dropped)
    assert total.counts == whole.counts
    assert total.sample_lines() == whole.sample_lines()
    lines = [json.loads(line) for line in total.sample_lines().splitlines()]
    assert Counter(line["reason"] for line in lines) == {
        reason: min(count, keep) for reason, count in total.dropped.items() if keep
    }
    assert all((line["reason"], int(line["id"]), line["text"]) in dropped for line in lines)


def test_nothing_is_shared_by_two_tallies() -> None:
    one, two = Tally(keep=1), Tally(keep=1)
    one.drop("a", 1, None)
    one.counts["b"] += 1
    assert two == Tally(keep=1)
    two.add(one)
    two.drop("a", 2, "x")
    assert one.dropped == {"a": 1}
    assert one.sample_lines() == b'{"reason":"a","id":"1","text":""}\n'


@pytest.mark.parametrize("keep", [0, 3])
def test_negative_counts_add_up(keep: int) -> None:
    total = Tally(keep=keep)
    for posts in (3, -2, -1):
        total.add(Tally(counts=Counter(posts=posts)))
    assert total.counts["posts"] == 0
    assert total.sample_lines() == b""


def test_many_dropped_at_once_are_as_if_dropped_one_by_one() -> None:
    items = [(f"t1_{n}", f"text {n}") for n in range(9)]
    for keep in (0, 3):
        at_once, singly = Tally(keep=keep), Tally(keep=keep)
        at_once.drop_all("comment: quote", items, lambda item: item)
        at_once.drop_all("comment: deleted", [], lambda item: item)
        for id, text in items:
            singly.drop("comment: quote", id, text)
        assert at_once == singly
