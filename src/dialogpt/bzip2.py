"""A part of a bzip2 file, without decompressing what stands before it: bzip2 compresses blocks of 900 kB independently.

A block begins with a 48-bit mark, at any bit; so does a stream's end. Each block between two marks is decompressed as a
stream of its own. Source: the format's description in J. Seward's bzip2.
"""

import bz2
from collections.abc import Callable, Iterator
from typing import IO

from dialogpt.errors import DataError

BLOCK, END = 0x314159265359, 0x177245385090
MARK_BITS = 48
CHUNK_BYTES = 1 << 20


def read_part(
    file: IO[bytes], name: str, part: int, parts: int, on_read: Callable[[int], object] = lambda _: None
) -> Iterator[tuple[int, bytes]]:
    """Yield the whole lines of one of `parts` shares of a file, a block at a time, each with its place: a bit offset.

    A share has the lines that begin in its blocks, but for the first, which the share before takes along. Raises
    DataError for a block that is damaged, and in the last share when the file ends early.
    """
    size = file.seek(0, 2)
    low, high = (8 * (size * n // parts) for n in (part, part + 1))
    skipping, rest, place = part > 0, b"", low
    for place, data in _blocks(file, name, low, on_read):
        if place >= high and (skipping or b"\n" in data):
            if not skipping:
                yield place, rest + data[: data.index(b"\n") + 1]
            return
        if skipping:
            if b"\n" not in data:
                continue
            data, skipping = data[data.index(b"\n") + 1 :], False
        lines, end = rest + data, (rest + data).rfind(b"\n") + 1
        rest = lines[end:]
        if end:
            yield place, lines[:end]
    if rest:
        yield place, rest


def _blocks(file: IO[bytes], name: str, low: int, on_read: Callable[[int], object]) -> Iterator[tuple[int, bytes]]:
    """Yield the place and the content of each block from bit offset `low` on."""
    begun: list[int] = []  # the block at hand, and marks within it that turned out to be none
    base = low // 8
    file.seek(base)
    data = b""
    while chunk := file.read(CHUNK_BYTES):
        on_read(len(chunk))
        before = max(len(data) - 7, 0)  # a mark may begin in the last bytes of what has been searched
        data += chunk
        for bit, mark in _marks(data, before):
            if 8 * base + bit < low:
                continue
            if begun:
                content = _decompress(data, begun[0] - 8 * base, bit)
                if content is None:  # a mark by chance; the block goes on
                    begun.append(bit)
                    if len(begun) > 3:
                        raise DataError(f"{name}: damaged bzip2 data", "fetch or compress the file again")
                    continue
                yield begun[0], content
            begun = [8 * base + bit] if mark == BLOCK else []
        keep = (begun[0] // 8 if begun else base + len(data) - 7) - base
        if keep > 0:
            data, base = data[keep:], base + keep
    if begun:
        raise DataError(f"{name}: the bzip2 archive ends early", "it was cut in transfer; fetch it again")


def _marks(data: bytes, first: int) -> list[tuple[int, int]]:
    """The bit offsets of all marks from byte `first` on, and which they are, in order."""
    found = []
    for mark in (BLOCK, END):
        for shift in range(8):  # of 7 bytes that hold the mark, the inner 5 are known whole
            window = (mark << 8 - shift).to_bytes(7, "big")
            at = data.find(window[1:6], first + 1)
            while at >= 0:
                bits = int.from_bytes(data[at - 1 : at + 6], "big") >> 8 - shift
                if at + 6 <= len(data) and bits & (1 << MARK_BITS) - 1 == mark:
                    found.append((8 * (at - 1) + shift, mark))
                at = data.find(window[1:6], at + 1)
    return sorted(found)


def _decompress(data: bytes, start: int, end: int) -> bytes | None:
    """The block between two bit offsets, as a stream of its own; None when it is none."""
    bits = int.from_bytes(data[start // 8 : -(-end // 8)], "big") >> -end % 8
    size = end - start
    bits &= (1 << size) - 1
    checksum = bits >> size - MARK_BITS - 32 & 0xFFFFFFFF  # the only block's is the stream's
    stream = (bits << MARK_BITS | END) << 32 | checksum
    padding = -(size + MARK_BITS + 32) % 8
    content = (stream << padding).to_bytes((size + MARK_BITS + 32 + padding) // 8, "big")
    try:
        return bz2.decompress(b"BZh9" + content)
    except (OSError, ValueError):
        return None
