"""Parts of bzip2 files: together they are the file, whatever the parts, the blocks and the lines."""

import bz2
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialogpt.bzip2 import read_part
from dialogpt.errors import DataError


def whole(data: bytes, parts: int) -> list[bytes]:
    return [lines for part in range(parts) for _, lines in read_part(io.BytesIO(data), "x", part, parts)]


def text(lines: int, seed: int = 0) -> bytes:
    """Lines that compress badly, so that a file of level 1 has a block every 100 kB."""
    numbers = ((seed + n) * 2654435761 % 2**64 for n in range(lines))
    return b"".join(b"%d %x %d\n" % (n, number**3, number) for n, number in enumerate(numbers))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 9)), max_size=4), st.integers(1, 9), st.booleans(),
    st.integers(0, 3),
)  # fmt: skip
def test_parts_are_the_file(streams: list[tuple[int, int]], parts: int, ends: bool, long_lines: int) -> None:
    contents = [text(lines, seed) for lines, seed in streams] + [b"x" * 120_000] * long_lines
    contents[-1:] = [content if ends else content.rstrip(b"\n") for content in contents[-1:]]
    data = b"".join(bz2.compress(content, 1) for content in contents)
    found = whole(data, parts)
    assert b"".join(found) == b"".join(contents)
    assert all(lines.endswith(b"\n") for lines in found[:-1])


def test_each_part_reads_its_own_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    content = text(20_000)
    data = bz2.compress(content, 1)
    places = [[place for place, _ in read_part(io.BytesIO(data), "x", part, 4)] for part in range(4)]
    assert all(len(found) > 1 for found in places)
    in_order = [place for found in places for place in found]
    assert in_order == sorted(in_order)
    read: list[int] = []
    decompress = bz2.decompress
    monkeypatch.setattr(bz2, "decompress", lambda stream: read.append(1) or decompress(stream))
    list(read_part(io.BytesIO(data), "x", 1, 4))
    assert len(read) <= len(places[1]) + 2


def test_a_mark_by_chance_within_a_block_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    content = text(6000)
    data = bz2.compress(content, 1)
    from dialogpt import bzip2

    marks = bzip2._marks

    def with_chance(data: bytes, first: int) -> list[tuple[int, int]]:
        found = marks(data, first)
        return sorted([*found, *((bit + 999, bzip2.BLOCK) for bit, mark in found if mark == bzip2.BLOCK)])

    monkeypatch.setattr(bzip2, "_marks", with_chance)
    assert b"".join(whole(data, 1)) == content


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_a_file_that_ends_early_or_is_damaged_is_an_error(parts: int) -> None:
    data = bytearray(bz2.compress(text(20_000), 1))
    with pytest.raises(DataError, match="ends early"):
        whole(bytes(data[:-20]), parts)
    data[len(data) // 2] ^= 16
    with pytest.raises(DataError, match="damaged"):
        whole(bytes(data), parts)


def test_a_real_month(shared: Path) -> None:
    data = (shared / "reddit" / "RC_2006-02.bz2").read_bytes()
    for parts in (1, 3):
        assert b"".join(whole(data, parts)) == bz2.decompress(data)
