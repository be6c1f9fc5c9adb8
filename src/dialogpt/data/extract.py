"""The `extract` stage: Reddit dumps -> a sessions folder, in bounded memory, on one process or many machines.

1. read    Every dump is streamed once, in one task or several; its posts go to a spill file by a hash of their thread,
           so that a thread is whole even when it crosses the end of a month.
2. plant   Each partition of the threads is read at once: thread -> forest -> paths -> sessions, in id order.
3. sift    If near-duplicates or bland responses are dropped, these are found over the whole corpus,
4. write   and the sessions that remain are written (data/corpus.py).

`manifest.dropped` counts lines, comments, titles and paths by reason (`comment: url`): lines = comments + submissions +
dropped lines; comments + submissions = posts + dropped comments and titles; paths = sessions + dropped paths.
"""

import dataclasses
import gc
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from zlib import crc32

import msgspec

from dialogpt.artifact import Manifest, make_manifest
from dialogpt.data import ExtractConfig, PreferencesConfig, ReferencesConfig
from dialogpt.data.dumps import read_dump
from dialogpt.data.presets import resolve, rules_for
from dialogpt.data.reddit import Forest, Post, plant
from dialogpt.data.screen import Screen, blocked_subreddits, unblocked
from dialogpt.data.spill import SPILL_FORMAT, SpillWriter, read_spill
from dialogpt.data.tally import Tally
from dialogpt.data.writers import file_name, open_sink
from dialogpt.errors import DataError, UsageError
from dialogpt.files import compression, input_bytes
from dialogpt.jobs import Job
from dialogpt.progress import report
from dialogpt.session import DROPPED, Session
from dialogpt.storage import Storage
from dialogpt.workers import Workers

PARTITION_BYTES = 4 << 20  # of dump on disk: 13,000 posts with `released`; more would not fit the processor's cache
MAX_PARTITIONS = 4096
# Several workers read a dump in parts of this size; reading one means decompressing the whole dump, except for bzip2.
PART_BYTES, BZIP2_PART_BYTES = 32 << 20, 4 << 20


def extract(config: ExtractConfig) -> Manifest:
    """Write the sessions of `config.dumps` to `config.out`; the manifest counts what came out and what was dropped.

    A job that was stopped resumes when it is started again. Raises DataError when a dump is missing, damaged or not
    a dump, and when no session comes out; then nothing is written.
    """
    if not config.dumps:
        raise UsageError("no dumps given", "name the files: RC_*.zst RS_*.zst")
    config = resolve(config)
    workers = Workers(config.workers, config.engine, config.address)
    sizes = [input_bytes(path) for path in config.dumps]
    _ = Screen(config), blocked_subreddits(config)  # lists are read now, not hours later
    open_sink(io.BytesIO(), config.format).close()  # a missing library is reported now, too
    job = Job(str(config.out), job_settings(config), overwrite=config.overwrite, work_format=SPILL_FORMAT)
    if job.finished:
        return job.finished
    with job.kept(), workers:
        reads, tallies = read_dumps(job, config, sizes, workers)
        plants = plant_tasks(job, config, reads)
        tallies += as_tallies(job.run("plant", plant_partition, plants, workers))
        if _is_sifted(config):
            tallies += sift(job, config, plants, tallies, workers)
        total = Tally(keep=config.sample_dropped)
        for tally in tallies:
            total.add(tally)
        if not total.counts["sessions"]:
            job.folder.remove()
            raise DataError("no session came out of these dumps", _why(total))
        if total.keep:
            job.folder.write(f"out/{DROPPED}", total.sample_lines())
        manifest = make_manifest(
            "sessions", config=config, inputs=config.dumps, counts=counts_of(total), dropped=total.dropped
        )
        job.finish(manifest)
    return manifest


def read_dumps(
    job: Job, config: ExtractConfig, sizes: Sequence[int], workers: Workers
) -> tuple[list["ReadTask"], list[Tally]]:
    """The first stage: begin or resume the job; returns the tasks and their tallies."""
    job.begin(_plan(config, sizes, workers.count))
    reads = read_tasks(job, config, sizes)
    tallies = as_tallies(job.run("read", read_part, reads, workers))
    if not any(tally.counts["comments"] or tally.counts["submissions"] for tally in tallies):
        job.folder.remove()  # nothing to resume from
    _check_dumps(config, reads, tallies)
    return reads, tallies


def sift(
    job: Job, config: ExtractConfig, plants: Sequence["PartitionTask"], tallies: Sequence[Tally], workers: Workers
) -> list[Tally]:
    """The third and the fourth stage: what only the whole corpus can decide; returns the fourth's tallies."""
    from dialogpt.data import corpus  # imports NumPy, which takes long and is only for these stages

    trigrams, keys = (sum(tally.counts[name] for tally in tallies) for name in ("trigrams", "keys"))
    names, folder = [task.name for task in plants], job.folder.url
    if config.bland_share:
        files = tuple(f"plant/{name}.trigrams" for name in names)
        task = corpus.SketchTask("trigrams", 1, files, trigrams, config.bland_count, folder)
        job.run("bland", corpus.make_sketch, [task], workers)
    duplicates: list[corpus.DuplicatesTask] = []
    if config.dedup:
        files = tuple(f"plant/{name}.keys.npy" for name in names)
        ranges = corpus.sift_ranges(keys)
        duplicates = [corpus.DuplicatesTask(number, ranges, keys // ranges, files, folder) for number in range(ranges)]
        job.run("duplicates", corpus.find_duplicates, duplicates, workers)
    found = tuple(f"duplicates/{task.name}.npy" for task in duplicates)
    writes = [dataclasses.replace(task, files=found) for task in plants]
    return as_tallies(job.run("write", write_partition, writes, workers))


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
class PartitionTask:
    """A partition of the threads; `files` are its spill files, or of the fourth stage those that name duplicates."""

    number: int
    size: int
    files: tuple[str, ...]
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
    rules, blocked = rules_for(task.config), blocked_subreddits(task.config)
    tally = Tally(keep=task.config.sample_dropped)
    with no_collector(), Storage(task.folder).new_file(f"read/{task.name}.spill") as file:
        spill = SpillWriter(file, task.partitions)
        for block, records in read_dump(task.url, tally, part=task.part, parts=task.parts, on_read=report):
            if blocked:
                records = unblocked(records, blocked, tally)
            spill.add(*rules.posts(records, (task.number << 40) + block, tally))
        spill.close()
    return tally


def plant_tasks(job: Job, config: ExtractConfig, reads: Sequence[ReadTask]) -> list[PartitionTask]:
    partitions = job.plan["partitions"]
    spills = tuple(f"read/{task.name}.spill" for task in reads)
    size = sum(task.size for task in reads) // partitions
    return [PartitionTask(number, size, spills, config, job.folder.url) for number in range(partitions)]


def plant_partition(task: PartitionTask) -> Tally:
    """Second pass over one partition: the sessions of its threads, in the order of thread and leaf ids."""
    tally = Tally(keep=task.config.sample_dropped)
    folder = Storage(task.folder)
    with no_collector():
        sessions = Screen(task.config)(sessions_of(*read_partition(folder, task), task.config, tally), tally)
        if _is_sifted(task.config):
            collect_candidates(sessions, task, folder, tally)
        else:
            write_sessions(sessions, task, folder, tally)
    return tally


def write_partition(task: PartitionTask) -> Tally:
    """Fourth stage: the candidates of one partition that may stay."""
    from dialogpt.data import corpus

    tally = Tally(keep=task.config.sample_dropped)
    folder = Storage(task.folder)
    with no_collector():
        sieve = corpus.Sieve(task.config, folder, task.number, task.files)
        candidates = corpus.read_candidates(folder, f"plant/{task.name}.candidates")
        write_sessions(sieve(candidates, tally), task, folder, tally)
    return tally


def collect_candidates(sessions: Iterator[Session], task: PartitionTask, folder: Storage, tally: Tally) -> None:
    """Write a partition's candidates, and what the third stage needs to know of them."""
    from dialogpt.data import corpus

    with ExitStack() as files:
        trigrams, keys = (
            files.enter_context(folder.new_file(f"plant/{task.name}.{kind}")) if asked else None
            for kind, asked in (("trigrams", task.config.bland_share), ("keys.npy", task.config.dedup))
        )
        collector = corpus.Collector(task.config, trigrams)
        sink = open_sink(files.enter_context(folder.new_file(f"plant/{task.name}.candidates")), "jsonl")
        for session in collector.through(sessions):
            sink.write(session)
        sink.close()
        collector.finish(task.number, keys, tally)


def write_sessions(sessions: Iterator[Session], task: PartitionTask, folder: Storage, tally: Tally) -> None:
    """Write a partition's part of the output; no file when there is no session."""
    first = next(sessions, None)
    if first is None:
        return
    with folder.new_file(f"out/{file_name(task.number, task.config.format)}") as file:
        sink = open_sink(file, task.config.format)
        for session in chain([first], sessions):
            tally.counts["sessions"] += 1
            tally.counts["turns"] += len(session.turns)
            # Presets leave one blank between words, and to count it is quicker than to split.
            tally.counts["words"] += sum([turn.text.count(" ") + 1 for turn in session.turns if turn.text])
            sink.write(session)
        sink.close()


def read_partition(folder: Storage, task: PartitionTask) -> tuple[list[Post], list[str]]:
    """The posts and marks of a partition's threads."""
    posts, marks = list[Post](), list[str]()
    for name in task.files:
        with folder.open(name) as file:
            for some_posts, some_marks in read_spill(file, task.number):
                posts += some_posts
                marks += some_marks
    return posts, marks


def sessions_of(posts: list[Post], marks: list[str], config: ExtractConfig, tally: Tally) -> Iterator[Session]:
    """The sessions of whole threads' posts."""
    yield from rules_for(config).sessions(counted_forest(posts, marks, tally), tally)


def counted_forest(posts: list[Post], marks: list[str], tally: Tally) -> Forest:
    """The forest of whole threads' posts; what is left out of it is counted."""
    forest = plant(posts, marks)
    tally.counts.update(orphans=forest.orphans, posts=-sum(forest.dropped.values()))
    tally.dropped.update({f"comment: {reason}": count for reason, count in forest.dropped.items()})
    return forest


@contextmanager
def no_collector() -> Iterator[None]:
    """Without the cycle collector, which would visit a task's millions of objects, none of them in a cycle."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def job_settings(config: ExtractConfig | ReferencesConfig | PreferencesConfig) -> dict[str, object]:
    """The settings that decide the output (not workers or engine, which may change), with the content of lists."""
    elsewhere = ("out", "workers", "engine", "address", "overwrite")
    settings = {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.name not in elsewhere}
    lists = [config.blocklist, config.block_subreddits, *getattr(config, "held_out", ())]
    return settings | {"lists": [crc32(path.read_bytes()) if path and path.is_file() else 0 for path in lists]}


def _plan(config: ExtractConfig, sizes: Sequence[int], workers: int) -> dict[str, object]:
    """Into how many partitions the threads go, and into how many parts each dump."""
    partitions = min(sum(sizes) // PARTITION_BYTES + 1, MAX_PARTITIONS)
    share = sum(sizes) // (2 * workers)  # larger parts than that would leave workers idle, smaller ones cost more
    parts = []
    for path, size in zip(config.dumps, sizes, strict=True):
        part_bytes = BZIP2_PART_BYTES if compression(path) == "bzip2" else max(PART_BYTES, share)
        parts.append(max(min(workers, -(-size // part_bytes)), 1))
    return {"partitions": partitions, "parts": parts}


def _is_sifted(config: ExtractConfig) -> bool:
    return bool(config.dedup or config.bland_share)


def as_tallies(results: Sequence[object]) -> list[Tally]:
    return [msgspec.convert(result, Tally, dec_hook=lambda kind, value: kind(value)) for result in results]


def _check_dumps(config: ExtractConfig, reads: Sequence[ReadTask], tallies: Sequence[Tally]) -> None:
    """DataError for a dump without a single comment or submission."""
    for number, path in enumerate(config.dumps):
        shares = [tally for read, tally in zip(reads, tallies, strict=True) if read.number == number]
        if not any(tally.counts["comments"] or tally.counts["submissions"] for tally in shares):
            bad = sum((tally.dropped for tally in shares), Counter())
            why = ", ".join(f"{count:,} lines: {r.removeprefix('line: ')}" for r, count in bad.most_common(3))
            raise DataError(
                f"{path}: no Reddit comment or submission in it ({why or 'the file is empty'})",
                "`extract` reads dumps with one JSON object per line (RC_*, RS_*); conversations go through `import`",
            )


def counts_of(total: Tally) -> dict[str, int]:
    """The counts for a manifest, lines first."""
    always = dict.fromkeys(("comments", "submissions", "posts", "orphans"), 0)
    counts = always | {name: count for name, count in total.counts.items() if name not in ("trigrams", "keys")}
    bad_lines = sum(count for reason, count in total.dropped.items() if reason.startswith("line: "))
    return {"lines": bad_lines + counts["comments"] + counts["submissions"], **counts}


def _why(total: Tally) -> str:
    top = ", ".join(f"{reason} {count:,}" for reason, count in total.dropped.most_common(4))
    missing = total.dropped["comment: no submission"] and not total.counts["submissions"]
    hint = "these rules need submissions, RS_*; " if missing else ""
    kept = f"{total.counts['comments']:,} comments, {total.counts['posts']:,} posts kept"
    return f"{hint}{kept}; dropped: {top or 'nothing'}"
