"""Posts and the replies to them, out of Reddit dumps: what `references` and `preferences` have in common.

The dumps are read as `extract` reads them, in a job that can be stopped; of each partition of the threads a file of
items is written, and out of these files the result.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from dialogpt.artifact import Manifest, make_manifest
from dialogpt.data import ExtractConfig, PreferencesConfig, ReferencesConfig
from dialogpt.data.blocklist import load_phrases
from dialogpt.data.extract import (
    PartitionTask,
    as_tallies,
    counted_forest,
    counts_of,
    job_settings,
    no_collector,
    plant_tasks,
    read_dumps,
    read_partition,
)
from dialogpt.data.filters import PostFilter, first_reason
from dialogpt.data.presets import resolve
from dialogpt.data.reddit import Forest, Post, age
from dialogpt.data.screen import blocked_subreddits
from dialogpt.data.spill import SPILL_FORMAT
from dialogpt.data.tally import Tally
from dialogpt.data.wordhash import text_hashes
from dialogpt.errors import DataError, UsageError
from dialogpt.files import input_bytes
from dialogpt.jobs import Job
from dialogpt.session import EvalItem, Preference
from dialogpt.storage import Storage
from dialogpt.workers import Workers

Filters = Mapping[str, PostFilter]


@dataclass(frozen=True, slots=True)
class AnswersTask:
    """The items of one partition of the threads."""

    partition: PartitionTask
    config: Any  # ReferencesConfig or PreferencesConfig

    @property
    def name(self) -> str:
        return self.partition.name

    @property
    def size(self) -> int:
        return self.partition.size


def answers_job(
    config: ReferencesConfig | PreferencesConfig,
    kind: str,
    partition: Callable[[AnswersTask], Tally],
    finish: Callable[[Storage, Sequence[str], Any, Counter[str]], dict[str, int]],
) -> Manifest:
    """Make `config.out` of the dumps: `partition` writes the items of some threads, `finish` the result of all files.

    `finish` returns its counts; a DataError of it leaves nothing behind.
    """
    posts = _extract_config(config)
    workers = Workers(config.workers, config.engine, config.address)
    config = dataclasses.replace(config, blocklist=posts.blocklist)  # its absolute path
    sizes = [input_bytes(path) for path in config.dumps]
    _ = _filters(config), blocked_subreddits(posts)  # lists are read now, not hours later
    job = Job(str(config.out), job_settings(config), overwrite=config.overwrite, work_format=SPILL_FORMAT)
    if job.finished:
        return job.finished
    with job.kept(), workers:
        reads, tallies = read_dumps(job, posts, sizes, workers)
        tasks = [AnswersTask(part, config) for part in plant_tasks(job, posts, reads)]
        tallies += as_tallies(job.run("items", partition, tasks, workers))
        total = Tally()
        for tally in tallies:
            total.add(tally)
        try:
            counts = finish(job.folder, [f"items/{task.name}.jsonl" for task in tasks], config, total.dropped)
        except DataError:
            job.folder.remove()
            raise
        manifest = make_manifest(
            kind, config=config, inputs=config.dumps, counts=counts_of(total) | counts, dropped=total.dropped
        )
        job.finish(manifest)
    return manifest


def write_partition(
    task: AnswersTask, found: Callable[[Forest, Counter[str], Filters], Iterable[EvalItem | Preference]]
) -> Tally:
    """Write what is `found` in the forest of one partition to the file of its items."""
    tally = Tally()
    folder = Storage(task.partition.folder)
    with no_collector(), folder.new_file(f"items/{task.name}.jsonl") as file:
        forest = counted_forest(*read_partition(folder, task.partition), tally)
        write_items(found(forest, tally.dropped, _filters(task.config)), file)
    return tally


def _extract_config(config: ReferencesConfig | PreferencesConfig) -> ExtractConfig:
    """The settings of the first pass, which `extract` has in common."""
    if not config.dumps:
        raise UsageError("no dumps given", "name the files: RC_*.zst RS_*.zst")
    names = ("dumps", "out", "min_words", "max_words", "title", "blocklist", "block_subreddits")
    return resolve(ExtractConfig(**{name: getattr(config, name) for name in names}))


def _filters(config: ReferencesConfig | PreferencesConfig) -> dict[str, PostFilter]:
    if config.blocklist is None:
        return {}
    phrases = load_phrases(config.blocklist)
    return {"offensive": lambda text: "offensive" if phrases.find(text) else None}


def limited(ids: Sequence[Sequence[str]], limit: int) -> list[NDArray[np.bool_]]:
    """Which items are kept, by the ids of each file's: all, or the `limit` ones whose ids have the lowest hashes."""
    hashes = [text_hashes(some) if some else np.zeros(0, np.uint64) for some in ids]
    kept = np.ones(sum(map(len, hashes)), np.bool_)
    if 0 < limit < len(kept):
        kept[np.concatenate(hashes).argsort()[limit:]] = False
    return np.split(kept, np.cumsum([len(some) for some in hashes])[:-1])


def answered(forest: Forest) -> Iterator[tuple[Post, list[Post]]]:
    """Yield each post that has replies, with them, both in the order of writing."""
    replies: dict[str, list[Post]] = {}
    for post in sorted(forest.posts.values(), key=age):
        if (above := forest.above(post)) is not None:
            replies.setdefault(above.id, []).append(post)
    for post in sorted((forest.posts[name] for name in replies), key=age):
        yield post, replies[post.id]


def kept_replies(
    replies: Iterable[Post], filters: Filters, dropped: Counter[str], least_score: int | None = None
) -> Iterator[Post]:
    """The replies that the filters let pass, in their order; of equal texts the first."""
    seen: set[str] = set()
    for post in replies:
        folded = post.text.casefold()
        if least_score is not None and post.score < least_score:
            reason: str | None = "low score"
        else:
            reason = first_reason(post.text, filters) or ("repeated" if folded in seen else None)
        if reason:
            dropped[f"response: {reason}"] += 1
        else:
            seen.add(folded)
            yield post


def write_items(items: Iterable[EvalItem | Preference], file: IO[bytes]) -> int:
    """Write a JSON object a line; returns the number of items."""
    encoder, written = msgspec.json.Encoder(), 0
    for item in items:
        file.write(encoder.encode(item) + b"\n")
        written += 1
    return written
