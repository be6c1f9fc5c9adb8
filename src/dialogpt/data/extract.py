"""The `extract` stage: Reddit dumps -> a sessions folder, in two passes with bounded memory.

1. Every dump is streamed once; posts that pass their filters go to a spill file by a hash of their thread, so that a
   thread is whole even when it crosses the end of a month.
2. Each spill file is read at once: thread -> forest -> paths -> filters -> sessions, threads and leaves in id order.

`manifest.dropped` counts lines, comments, titles and paths by reason (`comment: url`): lines = comments + submissions +
dropped lines; comments + submissions = posts + dropped comments and titles; paths = sessions + dropped paths.
"""

import shutil
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import zstandard

from dialogpt.artifact import Manifest, atomic_folder, make_manifest, write_manifest
from dialogpt.data import ExtractConfig
from dialogpt.data.dumps import Record, read_dump
from dialogpt.data.filters import first_reason, path_filters, post_filters
from dialogpt.data.reddit import Post, as_post, plant
from dialogpt.data.writers import SessionWriter
from dialogpt.errors import DataError, UsageError
from dialogpt.files import open_input
from dialogpt.progress import Progress
from dialogpt.session import Session, Turn

PARTITION_BYTES = 32 << 20  # of dump on disk: about 300,000 to 500,000 posts, half a gigabyte as objects
MAX_PARTITIONS = 8192
POSTS_IN_BUFFERS = 200_000  # all spill buffers together


def extract(config: ExtractConfig) -> Manifest:
    """Write the sessions of `config.dumps` to `config.out`; the manifest counts what came out and what was dropped.

    Raises DataError when a dump is missing, damaged or none, or when no session comes out; then nothing is written.
    """
    _check(config)
    size_bytes = sum(_size(path) for path in config.dumps)
    dropped: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    with atomic_folder(config.out, overwrite=config.overwrite) as folder:
        spill = Spill(folder / "spill", min(size_bytes // PARTITION_BYTES + 1, MAX_PARTITIONS))
        with Progress("read", size_bytes, "B") as progress:
            for path in config.dumps:
                spill_posts(path, config, spill, counts, dropped, progress)
        spill.flush()
        with closing(SessionWriter(folder)) as writer, Progress("sessions", spill.partitions, "partitions") as progress:
            for posts in spill:
                writer.write_all(sessions_of(posts, config, counts, dropped))
                progress.advance(note=f"{writer.sessions:,} sessions")
        spill.remove()
        if not writer.sessions:
            raise DataError("no session came out of these dumps", _why(counts, dropped))
        counts.update(writer.counts)
        manifest = make_manifest("sessions", config=config, inputs=config.dumps, counts=counts, dropped=dropped)
        write_manifest(folder, manifest)
    return manifest


def spill_posts(
    path: Path, config: ExtractConfig, spill: "Spill", counts: Counter[str], dropped: Counter[str], progress: Progress
) -> None:
    """Pass 1 over one dump: its records become posts, those that are kept go to the spill."""
    filters = post_filters(config.min_words, config.max_words)
    bad_lines: Counter[str] = Counter()
    reasons: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    records = {True: 0, False: 0}
    for record in read_dump(path, bad_lines, progress.advance):
        records[record.is_comment] += 1
        post = _post(record, config)
        reason = post if isinstance(post, str) else first_reason(post.text, filters)
        if reason is not None:
            reasons[record.is_comment][reason] += 1
        elif not isinstance(post, str):
            spill.add(post)
    counts.update(
        lines=sum(records.values()) + bad_lines.total(), comments=records[True], submissions=records[False]
    )  # fmt: skip
    for unit, found in (("line", bad_lines), ("comment", reasons[True]), ("title", reasons[False])):
        dropped.update({f"{unit}: {reason}": count for reason, count in found.items()})


def sessions_of(
    posts: Iterable[Post], config: ExtractConfig, counts: Counter[str], dropped: Counter[str]
) -> Iterator[Session]:
    """Pass 2 over one partition: the sessions of its threads, in the order of thread and leaf ids."""
    filters = path_filters(config.min_turns, config.min_score)
    threads: dict[str, list[Post]] = {}
    for post in posts:
        threads.setdefault(post.thread, []).append(post)
    for name in sorted(threads, key=lambda name: (len(name), name)):
        forest = plant(threads.pop(name))
        counts.update(posts=len(forest.posts), orphans=forest.orphans)
        dropped.update({f"comment: {reason}": count for reason, count in forest.dropped.items()})
        for path in forest.paths(config.max_turns):
            counts["paths"] += 1
            if reason := first_reason(path, filters):
                dropped[f"path: {reason}"] += 1
            else:
                yield as_session(path)


def as_session(path: Sequence[Post]) -> Session:
    leaf = path[-1]
    turns = tuple(Turn(post.text, post.author) for post in path)
    return Session(turns, id=f"{leaf.thread}/{leaf.id}", source=f"reddit/{leaf.subreddit}")


class Spill:
    """Posts on disk in `partitions` files, all posts of a thread in one of them; iterate over the files' posts.

    A file is a run of blocks: length (4 bytes, little endian), then that many bytes of zstd-compressed msgpack.
    """

    def __init__(self, folder: Path, partitions: int) -> None:
        self.folder, self.partitions = folder, partitions
        self._buffers: list[list[Post]] = [[] for _ in range(partitions)]
        self._block = max(POSTS_IN_BUFFERS // partitions, 16)
        self._encoder = msgspec.msgpack.Encoder()
        self._compressor = zstandard.ZstdCompressor(level=1)
        folder.mkdir()

    def add(self, post: Post) -> None:
        partition = zlib.crc32(post.thread.encode()) % self.partitions  # stable, unlike hash()
        buffer = self._buffers[partition]
        buffer.append(post)
        if len(buffer) >= self._block:
            self._write(partition)

    def flush(self) -> None:
        for partition in range(self.partitions):
            self._write(partition)

    def __iter__(self) -> Iterator[list[Post]]:
        decoder = msgspec.msgpack.Decoder(list[Post])
        decompressor = zstandard.ZstdDecompressor()
        for partition in range(self.partitions):
            posts: list[Post] = []
            path = self._path(partition)
            if path.exists():
                with path.open("rb") as file:
                    while head := file.read(4):
                        posts += decoder.decode(decompressor.decompress(file.read(int.from_bytes(head, "little"))))
                path.unlink()
            yield posts

    def remove(self) -> None:
        shutil.rmtree(self.folder)

    def _write(self, partition: int) -> None:
        if buffer := self._buffers[partition]:
            block = self._compressor.compress(self._encoder.encode(buffer))
            with self._path(partition).open("ab") as file:
                file.write(len(block).to_bytes(4, "little") + block)
            buffer.clear()

    def _path(self, partition: int) -> Path:
        return self.folder / f"{partition:04}"


def _post(record: Record, config: ExtractConfig) -> Post | str:
    return as_post(record) if record.is_comment or config.title else "not asked for"


def _check(config: ExtractConfig) -> None:
    if not config.dumps:
        raise UsageError("no dumps given", "name the files: RC_*.zst RS_*.zst")
    if config.min_turns < 2:
        raise UsageError(f"--min-turns {config.min_turns} is below 2", "a session is a turn and its response at least")
    if config.max_turns < config.min_turns:
        raise UsageError(f"--max-turns {config.max_turns} is below --min-turns {config.min_turns}", "raise --max-turns")
    if config.max_words < max(config.min_words, 1):
        raise UsageError(f"--max-words {config.max_words} is below --min-words", "raise --max-words")


def _size(path: Path) -> int:
    """The file's size; raises DataError now for a file that would fail hours later."""
    with open_input(path):
        return path.stat().st_size


def _why(counts: Counter[str], dropped: Counter[str]) -> str:
    top = ", ".join(f"{reason} {count:,}" for reason, count in dropped.most_common(4))
    return f"{counts['comments']:,} comments, {counts['posts']:,} posts kept; dropped: {top or 'nothing'}"
