"""Posts between the passes come back, whatever the partitions and the sizes of blocks and buffers."""

import io
from collections.abc import Iterable
from unittest.mock import patch
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogpt.data import spill
from dialogpt.data.reddit import Mark, Post
from dialogpt.data.spill import SpillWriter, read_spill

names = st.sampled_from(["", *(f"t3_{n}" for n in range(9)), "t3_ж", "t3_😀"])
post = st.builds(
    Post,
    id=names,
    parent=names,
    thread=names,
    author=st.text(max_size=3),
    text=st.one_of(st.text(max_size=20), st.sampled_from(["صباح الخير", "おはよう", "Привет 👍🏽"])),
    score=st.integers(-(2**31), 2**31),
    subreddit=st.text(max_size=3),
    order=st.integers(0, 2**60),
)
Block = tuple[list[Post], list[Mark]]


def spilled(blocks: Iterable[Block], partitions: int) -> io.BytesIO:
    file = io.BytesIO()
    writer = SpillWriter(file, partitions)
    for posts, marks in blocks:
        writer.add(posts, marks)
    writer.close()
    assert not file.closed
    return file


@given(
    st.lists(st.tuples(st.lists(post, max_size=8), st.lists(st.tuples(names, names), max_size=8)), max_size=8),
    st.one_of(st.integers(1, 9), st.just(4096)),
    st.integers(1, 20),
    st.integers(1, 40),
)
def test_every_post_and_mark_comes_back_once_in_its_partition_in_order(
    blocks: list[Block], partitions: int, in_block: int, in_buffers: int
) -> None:
    def home(thread: str) -> int:
        return crc32(thread.encode()) % partitions

    with patch.multiple(spill, POSTS_IN_BLOCK=in_block, POSTS_IN_BUFFERS=in_buffers):
        file = spilled(blocks, partitions)
    posts = [post for some, _ in blocks for post in some]
    marks = [mark for _, some in blocks for mark in some]
    homes = {home(thread) for thread in [*(post.thread for post in posts), *(thread for thread, _ in marks)]}
    for partition in sorted({*homes, 0, partitions - 1}):
        found = list(read_spill(file, partition))
        assert [post for some, _ in found for post in some] == [p for p in posts if home(p.thread) == partition]
        assert [name for _, some in found for name in some] == [name for t, name in marks if home(t) == partition]


def test_blocks_are_written_as_the_buffers_fill() -> None:
    with patch.multiple(spill, POSTS_IN_BLOCK=2, POSTS_IN_BUFFERS=100):
        file = io.BytesIO()
        writer = SpillWriter(file, 1)
        one = Post(id="t1_1", parent="", thread="t3_1", author="", text="a", score=1, subreddit="", order=0)
        writer.add([one], [])
        assert not file.tell()
        writer.add([one], [])
        assert file.tell()
        writer.add([one], [])
        writer.close()
    assert [len(posts) for posts, _ in read_spill(file, 0)] == [2, 1]


@pytest.mark.parametrize("partitions", [1, 2, 4096])
def test_a_spill_without_posts_has_empty_partitions(partitions: int) -> None:
    file = spilled([], partitions)
    assert list(read_spill(file, 0)) == list(read_spill(file, partitions - 1)) == []
