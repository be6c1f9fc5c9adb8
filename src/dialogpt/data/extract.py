"""The `extract` stage: Reddit dumps -> a sessions folder, in bounded memory, on one process or many machines.

1. read    Every dump is streamed once, in one task or several; its posts go to a spill file by a hash of their thread,
           so that a thread is whole even when it crosses the end of a month.
2. plant   Each partition of the threads is read at once: thread -> forest -> paths -> sessions, in id order.

`manifest.dropped` counts lines, comments, titles and paths by reason (`comment: url`): lines = comments + submissions +
dropped lines; comments + submissions = posts + dropped comments and titles; paths = sessions + dropped paths.
"""

import dataclasses
import gc
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec

from dialogpt.artifact import Manifest, make_manifest
from dialogpt.data import ExtractConfig
from dialogpt.data.dumps import read_dump
from dialogpt.data.presets import resolve, rules_for
from dialogpt.data.reddit import Post, plant
from dialogpt.data.spill import SpillWriter, read_spill
from dialogpt.data.tally import Tally
from dialogpt.data.writers import file_name, open_sink
from dialogpt.errors import DataError, UsageError
from dialogpt.files import input_bytes
from dialogpt.jobs import Job, Workers
from dialogpt.session import Session
from dialogpt.storage import Storage

PARTITION_BYTES = 16 << 20  # of dump on disk: about 250,000 posts, 150 MB as objects
MAX_PARTITIONS = 4096
PART_BYTES = 32 << 20  # a dump is cut for several workers when a part has this much


def extract(config: ExtractConfig) -> Manifest:
    """Write the sessions of `config.dumps` to `config.out`; the manifest counts what came out and what was dropped.

    A job that was stopped goes on when it is started again. Raises DataError when a dump is missing, damaged or none, or
    when no session comes out; then nothing is written.
    """
    if not config.dumps:
        raise UsageError("no dumps given", "name the files: RC_*.zst RS_*.zst")
    config = resolve(config)
    workers = Workers(config.workers, config.engine, config.address)
    sizes = [input_bytes(path) for path in config.dumps]
    rules_for(config)  # its lists are read now, not hours later
    job = Job(str(config.out), _settings(config), overwrite=config.overwrite)
    with job.kept():
        job.begin(_plan(sizes, workers.count))
        reads = read_tasks(job, config, sizes)
        total = Tally(keep=config.sample_dropped)
        found = list(_tallies(job.run("read", read_part, reads, workers)))
        _check_dumps(config, reads, found)
        for tally in found:
            total.add(tally)
        partitions = range(job.plan["partitions"])
        names = tuple(f"read/{task.name}.spill" for task in reads)
        plants = [PlantTask(n, sum(sizes) // len(partitions), names, config, job.folder.url) for n in partitions]
        for tally in _tallies(job.run("plant", plant_partition, plants, workers)):
            total.add(tally)
        if not total.counts["sessions"]:
            job.folder.remove()
            raise DataError("no session came out of these dumps", _why(total))
        if total.keep:
            job.folder.write("out/dropped.jsonl", total.sample_lines())
        manifest = _manifest(config, total)
        job.finish(manifest)
    return manifest


@dataclass(frozen=True, slots=True)
class ReadTask:
    """A dump, or one of `parts` equal shares of its blocks of lines; `number` is its place among the dumps."""

    name: str
    size: int
    url: str
    number: int
    part: int
    parts: int
    partitions: int
    config: ExtractConfig
    folder: str


@dataclass(frozen=True, slots=True)
class PlantTask:
    """The threads of one partition, to be read from the spill files named."""

    number: int
    size: int
    spills: tuple[str, ...]
    config: ExtractConfig
    folder: str

    @property
    def name(self) -> str:
        return f"{self.number:05}"


def read_tasks(job: Job, config: ExtractConfig, sizes: Sequence[int]) -> list[ReadTask]:
    """The tasks of the first pass. A dump's size is in their names: one that has been replaced is read again."""
    tasks = []
    for number, (url, size, parts) in enumerate(zip(config.dumps, sizes, job.plan["parts"], strict=True)):
        for part in range(parts):
            name = f"{number:04}-{size}-{part}of{parts}"
            tasks.append(
                ReadTask(
                    name, size // parts, str(url), number, part, parts, job.plan["partitions"], config, job.folder.url
                )
            )
    return tasks


def read_part(task: ReadTask) -> Tally:
    """First pass over (a share of) one dump: its records become posts, those that are kept go to a spill file."""
    rules = rules_for(task.config)
    tally = Tally(keep=task.config.sample_dropped)
    with _no_collector(), Storage(task.folder).new_file(f"read/{task.name}.spill") as file:
        spill = SpillWriter(file, task.partitions)
        for block, records in read_dump(task.url, tally, part=task.part, parts=task.parts):
            spill.add_all(rules.posts(records, (task.number << 40) + block, tally))
        spill.close()
    return tally


def plant_partition(task: PlantTask) -> Tally:
    """Second pass over one partition: the sessions of its threads, in the order of thread and leaf ids."""
    tally = Tally(keep=task.config.sample_dropped)
    folder = Storage(task.folder)
    with _no_collector():
        sessions = sessions_of(*read_partition(folder, task), task.config, tally)
        first = next(sessions, None)
        if first is not None:
            with folder.new_file(f"out/{file_name(task.number, task.config.format)}") as file:
                sink = open_sink(file, task.config.format)
                for session in _counted(first, sessions, tally):
                    sink.write(session)
                sink.close()
    return tally


def read_partition(folder: Storage, task: PlantTask) -> tuple[list[Post], list[str]]:
    """The posts and marks of a partition's threads."""
    posts: list[Post] = []
    marks: list[str] = []
    for name in task.spills:
        with folder.open(name) as file:
            for some_posts, some_marks in read_spill(file, task.number):
                posts += some_posts
                marks += some_marks
    return posts, marks


def sessions_of(posts: list[Post], marks: list[str], config: ExtractConfig, tally: Tally) -> Iterator[Session]:
    """The sessions of whole threads' posts."""
    forest = plant(posts, marks)
    tally.counts.update(orphans=forest.orphans, posts=-sum(forest.dropped.values()))
    tally.dropped.update({f"comment: {reason}": count for reason, count in forest.dropped.items()})
    yield from rules_for(config).sessions(forest, tally)


def _counted(first: Session, others: Iterator[Session], tally: Tally) -> Iterator[Session]:
    sessions = turns = words = 0
    session: Session | None = first
    while session is not None:
        sessions += 1
        turns += len(session.turns)
        words += sum(len(turn.text.split()) for turn in session.turns)
        yield session
        session = next(others, None)
    tally.counts.update(sessions=sessions, turns=turns, words=words)


@contextmanager
def _no_collector() -> Iterator[None]:
    """Without the cycle collector: a task makes millions of objects and no cycles, and it would look at them all."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _settings(config: ExtractConfig) -> dict[str, object]:
    """What decides the output: a job may go on with other workers, on another engine."""
    elsewhere = ("out", "workers", "engine", "address", "overwrite")
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.name not in elsewhere}


def _plan(sizes: Sequence[int], workers: int) -> dict[str, object]:
    """Into how many partitions the threads go, and into how many parts each dump.

    A part decompresses its whole dump and skips the blocks of others: that is cheap, but for as many parts as help only.
    """
    partitions = min(max(sum(sizes) // PARTITION_BYTES + 1, 1), MAX_PARTITIONS)
    parts = [max(min(workers, size // PART_BYTES), 1) for size in sizes]
    return {"partitions": partitions, "parts": parts}


def _tallies(results: Sequence[object]) -> Iterator[Tally]:
    return (msgspec.convert(result, Tally, dec_hook=lambda kind, value: kind(value)) for result in results)


def _check_dumps(config: ExtractConfig, reads: Sequence[ReadTask], tallies: Sequence[Tally]) -> None:
    """DataError for a dump without a single comment or submission."""
    for number, path in enumerate(config.dumps):
        shares = [tally for read, tally in zip(reads, tallies, strict=True) if read.number == number]
        if not any(tally.counts["comments"] or tally.counts["submissions"] for tally in shares):
            bad = sum((tally.dropped for tally in shares), Counter())
            why = ", ".join(f"{count:,} lines: {r.removeprefix('line: ')}" for r, count in bad.most_common(3))
            raise DataError(
                f"{path}: no Reddit comment or submission in it ({why or 'the file is empty'})",
                "`extract` reads dump files with one JSON object a line (RC_*, RS_*); conversations go through `import`",
            )


def _manifest(config: ExtractConfig, total: Tally) -> Manifest:
    counts = dict(total.counts)
    lines = counts["comments"] + counts["submissions"]
    lines += sum(count for reason, count in total.dropped.items() if reason.startswith("line: "))
    return make_manifest(
        "sessions", config=config, inputs=config.dumps, counts={"lines": lines, **counts}, dropped=total.dropped
    )


def _why(total: Tally) -> str:
    top = ", ".join(f"{reason} {count:,}" for reason, count in total.dropped.most_common(4))
    return f"{total.counts['comments']:,} comments, {total.counts['posts']:,} posts kept; dropped: {top or 'nothing'}"
