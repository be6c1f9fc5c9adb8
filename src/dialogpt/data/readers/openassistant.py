"""OpenAssistant's message trees (OASST1, OASST2), `*.trees.jsonl.gz` or `*.messages.jsonl.gz` -> a session per tree.

    {"message_tree_id": "t1", "tree_state": "ready_for_export", "prompt": {"message_id": "t1", "text": "Hi", "role":
        "prompter", "replies": [{"message_id": "m2", "text": "Hello", "role": "assistant", "rank": 0, ...}]}}
    {"message_id": "m2", "parent_id": "t1", "message_tree_id": "t1", "text": "Hello", "role": "assistant", "rank": 0}

The second form, a message per line, is also that of the Parquet files. Of several replies the one with the lowest
rank is chosen, which people liked best; those without a rank come last. Left out and counted: what is deleted or
failed its review, with all below it, and trees that were aborted or halted. From the data sets' cards and LAION's
`oasst_data`.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from dialogpt.data.readers.chatlog import ChatLog, ReadOptions
from dialogpt.data.readers.jsonl import decode_each
from dialogpt.data.readers.text import TextFile
from dialogpt.data.readers.trees import ROOT, branches
from dialogpt.errors import DataError
from dialogpt.session import Session, Turn

COLUMNS = frozenset(("message_id", "parent_id", "message_tree_id", "text", "role"))
BESIDE = ("rank", "deleted", "review_result", "tree_state")
GIVEN_UP = ("aborted_low_grade", "halted_by_moderator")


class _Message(msgspec.Struct):
    message_id: str
    text: str
    role: str
    parent_id: str | None = None
    rank: float | None = None
    deleted: bool | None = None
    review_result: bool | None = None
    tree_state: str | None = None
    replies: list["_Message"] | None = None


class _Tree(msgspec.Struct):
    prompt: _Message
    tree_state: str | None = None


def read(file: TextFile, options: ReadOptions, dropped: Counter[str]) -> Iterator[Session | ChatLog]:
    """Yield the conversations of either form; a line that is neither is a DataError."""
    first = next((line for line in file.head() if line.strip()), "")
    if '"prompt"' in first:
        for _, tree in decode_each(file, _Tree):
            tree.prompt.tree_state = tree.tree_state
            yield from _sessions(tree.prompt, file.source, options, dropped)
    else:
        yield from _linked((message for _, message in decode_each(file, _Message)), file.source, options, dropped)


def from_rows(
    rows: Iterable[dict[str, Any]], file: TextFile, options: ReadOptions, dropped: Counter[str]
) -> Iterator[Session | ChatLog]:
    """Yield the conversations of a table with COLUMNS, a message per row; any other row is a DataError."""
    try:
        messages = [msgspec.convert(row, _Message) for row in rows]
    except msgspec.ValidationError as error:
        raise DataError(f"{file.path}: not messages of OpenAssistant: {error}", "see --from") from error
    yield from _linked(messages, file.source, options, dropped)


def _linked(
    messages: Iterable[_Message], source: str, options: ReadOptions, dropped: Counter[str]
) -> Iterator[Session | ChatLog]:
    """The conversations of messages in any order; one whose parent is missing begins a tree."""
    found = {message.message_id: message for message in messages}
    roots = []
    for message in found.values():
        if (above := found.get(message.parent_id or "")) is None:
            roots.append(message)
        else:
            above.replies = above.replies or []
            above.replies.append(message)
    if circles := len(found) - sum(map(_size, roots)):
        dropped["message that answers itself"] += circles
    for root in roots:
        yield from _sessions(root, source, options, dropped)


def _sessions(root: _Message, source: str, options: ReadOptions, dropped: Counter[str]) -> Iterator[Session | ChatLog]:
    if root.tree_state in GIVEN_UP:
        dropped["tree that was aborted or halted"] += 1
        return
    messages: dict[str, _Message] = {}
    tree: dict[str, list[str]] = {}
    waiting = [(ROOT, root)]
    while waiting:
        above, message = waiting.pop()
        if message.deleted or message.review_result is False:
            dropped["deleted message" if message.deleted else "message that failed its review"] += 1
            if below := _size(message) - 1:
                dropped["message below one that is left out"] += below
            continue
        messages[message.message_id] = message
        tree.setdefault(above, []).append(message.message_id)
        waiting.extend((message.message_id, reply) for reply in reversed(message.replies or ()))
    for answers in tree.values():
        answers.sort(key=lambda name: math.inf if (rank := messages[name].rank) is None else rank)

    def turn_of(name: str) -> Turn:
        return Turn(messages[name].text, messages[name].role)

    session = Session((), root.message_id, source)
    yield from branches(tree, turn_of, session, dropped, replies=options.replies)


def _size(message: _Message) -> int:
    """The messages of a tree."""
    count, waiting = 0, [message]
    while waiting:
        waiting.extend(waiting.pop().replies or ())
        count += 1
    return count
