"""Posts between the two passes of `extract`: a file for each task of the first, cut by a hash of the posts' threads.

A file is a run of blocks, each the msgpack of a partition's posts and marks, and an index at its end in 8-byte
integers, little endian: for each block its offset and size, the blocks of a partition together; for each partition the
number of blocks before its first, and their number in all; the number of partitions. A few short reads find the blocks
of one partition, however large the file. Blocks are not compressed: that took a twentieth of all time to save 44%.
"""

import io
import struct
from collections.abc import Iterator, Sequence
from typing import IO
from zlib import crc32

import msgspec

from dialogpt.data.reddit import Mark, Post

SPILL_FORMAT = 3  # to be raised when files change, or which posts and marks go into them: work folders outlive updates
POSTS_IN_BLOCK = 500  # about 100 kB: blocks of megabytes would leave the processor's cache
POSTS_IN_BUFFERS = 200_000  # of all partitions together, in memory before they are written
_HEAD = b"\x92\xdd\0\0\0\0"  # of a block in msgpack: a pair, first an array whose length is to be filled in


class SpillWriter:
    """Takes posts and writes them in blocks; `close` writes the index, and leaves the file open.

    A post is encoded at once: to keep thousands of them as objects until a block is full would empty the processor's
    cache, and take four times the memory.
    """

    def __init__(self, file: IO[bytes], partitions: int) -> None:
        self.partitions = partitions
        self._file, self._offset = file, 0
        self._posts = [bytearray(_HEAD) for _ in range(partitions)]
        self._counts = [0] * partitions  # of the posts in each
        self._marks: list[list[str]] = [[] for _ in range(partitions)]
        self._room = self._buffered = min(partitions * POSTS_IN_BLOCK, POSTS_IN_BUFFERS)
        self._blocks: list[list[int]] = [[] for _ in range(partitions)]  # offset, size, offset, size, ...
        self._encoder = msgspec.msgpack.Encoder()

    def add(self, posts: Sequence[Post], marks: Sequence[Mark]) -> None:
        partitions, encode_into = self.partitions, self._encoder.encode_into
        # crc32 is stable, unlike hash()
        for post in posts:
            home = crc32(post.thread.encode()) % partitions
            encode_into(post, self._posts[home], -1)
            self._counts[home] += 1
        for thread, name in marks:
            self._marks[crc32(thread.encode()) % partitions].append(name)
        self._room -= len(posts) + len(marks)
        if self._room <= 0:
            self._flush()

    def _flush(self) -> None:
        for partition, (block, count, marks) in enumerate(zip(self._posts, self._counts, self._marks, strict=True)):
            if count or marks:
                block[2:6] = count.to_bytes(4, "big")
                self._encoder.encode_into(marks, block, -1)
                self._file.write(block)
                self._blocks[partition] += (self._offset, len(block))
                self._offset += len(block)
                del block[len(_HEAD) :]
                marks.clear()
        self._counts = [0] * self.partitions
        self._room = self._buffered

    def close(self) -> None:
        self._flush()
        firsts = [0]
        for numbers in self._blocks:
            self._file.write(_pack(numbers))
            firsts.append(firsts[-1] + len(numbers) // 2)
        self._file.write(_pack([*firsts, self.partitions]))


def read_spill(file: IO[bytes], partition: int) -> Iterator[tuple[list[Post], list[str]]]:
    """Yield a partition's posts and marks, block by block in the order they were written."""
    partitions = _unpack(file, file.seek(-8, io.SEEK_END), 1)[0]
    table = file.seek(-8 * (partitions + 2), io.SEEK_END)
    blocks = _unpack(file, table + 8 * partitions, 1)[0]
    first, end = _unpack(file, table + 8 * partition, 2)
    index = _unpack(file, table - 16 * (blocks - first), 2 * (end - first))
    decoder = msgspec.msgpack.Decoder(tuple[list[Post], list[str]])
    for offset, size in zip(index[::2], index[1::2], strict=True):
        file.seek(offset)
        yield decoder.decode(file.read(size))


def _pack(numbers: list[int]) -> bytes:
    return struct.pack(f"<{len(numbers)}Q", *numbers)


def _unpack(file: IO[bytes], offset: int, count: int) -> tuple[int, ...]:
    file.seek(offset)
    return struct.unpack(f"<{count}Q", file.read(8 * count))
