"""A thread's forest -> multi-reference test items, as the paper's: contexts that people answered several times.

Of the replies to a post one is set apart as the human response, to be judged beside systems; the others are the
references, with their votes. Two forms are written: JSONL of `EvalItem`, and lines of text:

    first turn EOS second turn<tab>12|a reference<tab>3|another
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO

import msgspec

from dialogpt.data.filters import PostFilter, first_reason
from dialogpt.data.reddit import Forest, Post, age
from dialogpt.data.wordhash import text_hashes
from dialogpt.session import EvalItem, Turn

END_OF_TURN = " EOS "


def reference_items(
    forest: Forest,
    dropped: Counter[str],
    filters: Mapping[str, PostFilter],
    *,
    min_references: int = 5,
    max_turns: int = 10,
) -> Iterator[EvalItem]:
    """Yield an item for each post with enough replies, one more than `min_references`, in the order of the posts.

    Its context is the post and those above it, `max_turns` at most. `dropped` counts replies by the filters' reasons,
    replies that repeat another's text, and posts that have replies but too few. A reply may be the context of others.
    """
    replies: dict[str, list[Post]] = {}
    for post in forest.posts.values():
        if post.parent in forest.posts:
            replies.setdefault(post.parent, []).append(post)
    for post in forest.posts.values():
        if found := replies.get(post.id):
            kept = list(_kept(found, filters, dropped))
            if len(kept) > min_references:
                yield _item(forest.path(post, max_turns), kept)
            else:
                dropped["context: too few responses"] += 1


def write_items(items: Iterable[EvalItem], file: BinaryIO) -> int:
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


def _kept(replies: Iterable[Post], filters: Mapping[str, PostFilter], dropped: Counter[str]) -> Iterator[Post]:
    """The replies that the filters let pass, the best score first, then by id; of equal texts the first."""
    seen: set[str] = set()
    for post in sorted(replies, key=lambda post: (-post.score, age(post))):
        folded = post.text.casefold()
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
        context=tuple(Turn(post.text, post.author) for post in context),
        id=f"{context[-1].thread}/{context[-1].id}",
        references=tuple(post.text for post in references),
        human=replies[human].text,
        scores=tuple(post.score for post in references),
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())
