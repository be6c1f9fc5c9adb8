"""The `references` command: Reddit dumps -> a multi-reference test set, as the paper's.

Its contexts are posts that people answered several times. Of the replies one is set apart as the human response, to be
judged beside systems; the others are the references, with their votes. The folder holds `references.jsonl` (a line an
`EvalItem`), and line by line with it `references.tsv` and `human.txt`; a line of the TSV:

    first turn EOS second turn<tab>12|a reference<tab>3|another
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import compress

import msgspec

from dialogpt.artifact import Manifest
from dialogpt.data import ReferencesConfig
from dialogpt.data.answers import (
    AnswersTask,
    Filters,
    answered,
    answers_job,
    kept_replies,
    limited,
    write_items,
    write_partition,
)
from dialogpt.data.reddit import Forest, Post, as_turns
from dialogpt.data.tally import Tally
from dialogpt.data.wordhash import text_hashes
from dialogpt.errors import DataError, check_least
from dialogpt.session import EvalItem
from dialogpt.storage import Storage

END_OF_TURN = " EOS "


def references(config: ReferencesConfig) -> Manifest:
    """Write the test set of `config.dumps` to `config.out`; errors, and going on after a stop, as `extract`."""
    check_least(config, min_references=1, max_turns=1, limit=0)
    return answers_job(config, "references", partition_items, _finish)


def partition_items(task: AnswersTask) -> Tally:
    """Write the items of one partition, in the order of their contexts."""

    def found(forest: Forest, dropped: Counter[str], filters: Filters) -> Iterator[EvalItem]:
        return reference_items(
            forest, dropped, filters, least_score=task.config.min_score,
            min_references=task.config.min_references, max_turns=task.config.max_turns,
        )  # fmt: skip

    return write_partition(task, found)


def _finish(folder: Storage, parts: Sequence[str], config: ReferencesConfig, dropped: Counter[str]) -> dict[str, int]:
    decoder = msgspec.json.Decoder(EvalItem)
    files = [decoder.decode_lines(folder.read(part)) for part in parts]
    kept = limited([[item.id for item in file] for file in files], config.limit)
    items = [item for file, chosen in zip(files, kept, strict=True) for item in compress(file, chosen)]
    if beyond := sum(map(len, files)) - len(items):
        dropped["context: beyond --limit"] += beyond
    if not items:
        raise DataError(
            f"no context with {config.min_references + 1} responses in these dumps",
            "lower --min-references, or name more dumps",
        )
    _write(folder, items)
    return {"contexts": len(items), "references": sum(len(item.references) for item in items)}


def _write(folder: Storage, items: Sequence[EvalItem]) -> None:
    with folder.new_file("out/references.jsonl") as file:
        write_items(items, file)
    folder.write("out/references.tsv", "".join(text_line(item) + "\n" for item in items).encode())
    folder.write("out/human.txt", "".join(_one_line(item.human) + "\n" for item in items).encode())


def reference_items(
    forest: Forest,
    dropped: Counter[str],
    filters: Filters,
    *,
    min_references: int = 5,
    max_turns: int = 10,
    least_score: int | None = None,
) -> Iterator[EvalItem]:
    """Yield an item for each post with enough replies, one more than `min_references`, in the order of the posts.

    Its context is the post and those above it, `max_turns` at most. `dropped` counts replies by the filters' reasons,
    replies that repeat another's text, and posts that have replies but too few. A reply may be the context of others.
    """
    for post, replies in answered(forest):
        best_first = sorted(replies, key=lambda reply: -reply.score)
        kept = list(kept_replies(best_first, filters, dropped, least_score))
        if len(kept) > min_references:
            yield _item(forest.path(post, max_turns), kept)
        else:
            dropped["context: too few responses"] += 1


def text_line(item: EvalItem) -> str:
    """The item in the text form, without a line end; the human response is not in it."""
    context = END_OF_TURN.join(_one_line(turn.text) for turn in item.context)
    references = [_one_line(reference) for reference in item.references]
    if item.scores:
        references = [f"{score}|{text}" for score, text in zip(item.scores, references, strict=True)]
    return "\t".join([context, *references])


def _item(context: Sequence[Post], replies: Sequence[Post]) -> EvalItem:
    # By a hash of the ids: any reply may be the human one, always the same, and it is not the best one as a rule.
    human = int(text_hashes([post.id for post in replies]).argmin())
    references = [post for index, post in enumerate(replies) if index != human]
    return EvalItem(
        context=as_turns(context),
        id=f"{context[-1].thread}/{context[-1].id}",
        references=tuple(post.text for post in references),
        human=replies[human].text,
        scores=tuple(post.score for post in references),
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())
