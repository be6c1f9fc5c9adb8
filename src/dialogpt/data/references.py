"""The `references` command: Reddit dumps -> a multi-reference test set, as the paper's.

Its contexts are posts that people answered several times. Of the replies one is set apart as the human response, to be
judged beside systems; the others are the references, with their votes. The folder holds `references.jsonl` (a line an
`EvalItem`), and line by line with it `references.tsv` and `human.txt`; a line of the TSV:

    first turn EOS second turn<tab>12|a reference<tab>3|another
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

import msgspec

from dialogpt.artifact import Manifest, make_manifest
from dialogpt.data import ExtractConfig, ReferencesConfig
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
from dialogpt.data.reddit import Forest, Post, age, known_author
from dialogpt.data.screen import blocked_subreddits
from dialogpt.data.spill import SPILL_FORMAT
from dialogpt.data.tally import Tally
from dialogpt.data.wordhash import text_hashes
from dialogpt.errors import DataError, UsageError, check_least
from dialogpt.files import input_bytes
from dialogpt.jobs import Job
from dialogpt.session import EvalItem, Turn
from dialogpt.storage import Storage
from dialogpt.workers import Workers

END_OF_TURN = " EOS "


def references(config: ReferencesConfig) -> Manifest:
    """Write the test set of `config.dumps` to `config.out`; errors, and going on after a stop, as `extract`."""
    check_least(config, min_references=1, max_turns=1, limit=0)
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
        tasks = [ItemsTask(partition, config) for partition in plant_tasks(job, posts, reads)]
        tallies += as_tallies(job.run("items", partition_items, tasks, workers))
        total = Tally()
        for tally in tallies:
            total.add(tally)
        items = _chosen(job.folder, [f"items/{task.name}.jsonl" for task in tasks], config.limit, total.dropped)
        if not items:
            job.folder.remove()
            raise DataError(
                f"no context with {config.min_references + 1} responses in these dumps",
                "lower --min-references, or name more dumps",
            )
        _write(job.folder, items)
        counts = counts_of(total) | {"contexts": len(items), "references": sum(len(i.references) for i in items)}
        manifest = make_manifest("references", config=config, inputs=config.dumps, counts=counts, dropped=total.dropped)
        job.finish(manifest)
    return manifest


@dataclass(frozen=True, slots=True)
class ItemsTask:
    """The test items of one partition of the threads."""

    partition: PartitionTask
    config: ReferencesConfig

    @property
    def name(self) -> str:
        return self.partition.name

    @property
    def size(self) -> int:
        return self.partition.size


def partition_items(task: ItemsTask) -> Tally:
    """Write the items of one partition, in the order of their contexts."""
    tally, config = Tally(), task.config
    folder = Storage(task.partition.folder)
    with no_collector(), folder.new_file(f"items/{task.name}.jsonl") as file:
        forest = counted_forest(*read_partition(folder, task.partition), tally)
        found = reference_items(
            forest, tally.dropped, _filters(config), least_score=config.min_score,
            min_references=config.min_references, max_turns=config.max_turns,
        )  # fmt: skip
        write_items(found, file)
    return tally


def _extract_config(config: ReferencesConfig) -> ExtractConfig:
    """The settings of the first pass, which `extract` has in common."""
    if not config.dumps:
        raise UsageError("no dumps given", "name the files: RC_*.zst RS_*.zst")
    names = ("dumps", "out", "min_words", "max_words", "title", "blocklist", "block_subreddits")
    return resolve(ExtractConfig(**{name: getattr(config, name) for name in names}))


def _filters(config: ReferencesConfig) -> dict[str, PostFilter]:
    if config.blocklist is None:
        return {}
    phrases = load_phrases(config.blocklist)
    return {"offensive": lambda text: "offensive" if phrases.find(text) else None}


def _chosen(folder: Storage, names: Sequence[str], limit: int, dropped: Counter[str]) -> list[EvalItem]:
    """All items in order, or the `limit` ones whose ids have the lowest hashes; the others are counted."""
    decoder = msgspec.json.Decoder(EvalItem)
    items = [item for name in names for item in decoder.decode_lines(folder.read(name))]
    if not limit or len(items) <= limit:
        return items
    dropped["context: beyond --limit"] += len(items) - limit
    kept = set(text_hashes([item.id for item in items]).argsort()[:limit].tolist())
    return [item for place, item in enumerate(items) if place in kept]


def _write(folder: Storage, items: Sequence[EvalItem]) -> None:
    with folder.new_file("out/references.jsonl") as file:
        write_items(items, file)
    folder.write("out/references.tsv", "".join(text_line(item) + "\n" for item in items).encode())
    folder.write("out/human.txt", "".join(_one_line(item.human) + "\n" for item in items).encode())


def reference_items(
    forest: Forest,
    dropped: Counter[str],
    filters: Mapping[str, PostFilter],
    *,
    min_references: int = 5,
    max_turns: int = 10,
    least_score: int | None = None,
) -> Iterator[EvalItem]:
    """Yield an item for each post with enough replies, one more than `min_references`, in the order of the posts.

    Its context is the post and those above it, `max_turns` at most. `dropped` counts replies by the filters' reasons,
    replies that repeat another's text, and posts that have replies but too few. A reply may be the context of others.
    """
    replies: dict[str, list[Post]] = {}
    for post in forest.posts.values():
        if (above := forest.above(post)) is not None:
            replies.setdefault(above.id, []).append(post)
    for post in sorted((forest.posts[name] for name in replies), key=age):
        kept = list(_kept(replies[post.id], filters, dropped, least_score))
        if len(kept) > min_references:
            yield _item(forest.path(post, max_turns), kept)
        else:
            dropped["context: too few responses"] += 1


def write_items(items: Iterable[EvalItem], file: IO[bytes]) -> int:
    """Write a JSON object a line; returns the number of items."""
    encoder, written = msgspec.json.Encoder(), 0
    for item in items:
        file.write(encoder.encode(item) + b"\n")
        written += 1
    return written


def text_line(item: EvalItem) -> str:
    """The item in the text form, without a line end; the human response is not in it."""
    context = END_OF_TURN.join(_one_line(turn.text) for turn in item.context)
    references = [_one_line(reference) for reference in item.references]
    if item.scores:
        references = [f"{score}|{text}" for score, text in zip(item.scores, references, strict=True)]
    return "\t".join([context, *references])


def _kept(
    replies: Iterable[Post], filters: Mapping[str, PostFilter], dropped: Counter[str], least_score: int | None
) -> Iterator[Post]:
    """The replies that the filters let pass, the best score first, then by id; of equal texts the first."""
    seen: set[str] = set()
    for post in sorted(replies, key=lambda post: (-post.score, age(post))):
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


def _item(context: Sequence[Post], replies: Sequence[Post]) -> EvalItem:
    # By a hash of the ids: any reply may be the human one, always the same, and it is not the best one as a rule.
    human = int(text_hashes([post.id for post in replies]).argmin())
    references = [post for index, post in enumerate(replies) if index != human]
    return EvalItem(
        context=tuple(Turn(post.text, known_author(post.author)) for post in context),
        id=f"{context[-1].thread}/{context[-1].id}",
        references=tuple(post.text for post in references),
        human=replies[human].text,
        scores=tuple(post.score for post in references),
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())
