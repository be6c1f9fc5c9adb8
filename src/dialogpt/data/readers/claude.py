"""Claude's data export, `conversations.json` -> a session per conversation: the branch of the last message.

    {"uuid": "c1", "name": "Greetings", "chat_messages": [{"uuid": "m1", "sender": "human", "text": "Hi", "content":
        [{"type": "text", "text": "Hi"}], "parent_message_uuid": "00000000-0000-4000-8000-000000000000"}, ...]}

Messages of older exports name no parent: each answers the one above it. Of `content` only texts are read; thoughts,
calls of tools and their results are not, nor are attachments. Anthropic does not document this: it is what several
public readers of such files agree on.
"""

from collections import Counter
from collections.abc import Iterator

import msgspec

from dialogpt.data.readers.chatlog import ChatLog, ReadOptions
from dialogpt.data.readers.jsonl import decode_each
from dialogpt.data.readers.text import TextFile
from dialogpt.data.readers.trees import branches, plant
from dialogpt.session import Session, Turn


class _Block(msgspec.Struct):
    type: str = ""
    text: str | None = None


class _Message(msgspec.Struct):
    sender: str
    uuid: str = ""
    text: str | None = None
    content: list[_Block] | None = None
    parent_message_uuid: str | None = None


class _Conversation(msgspec.Struct):
    chat_messages: list[_Message]
    uuid: str = ""
    current_leaf_message_uuid: str | None = None  # only in saved pages of claude.ai


def read(file: TextFile, options: ReadOptions, dropped: Counter[str]) -> Iterator[Session | ChatLog]:
    """Yield the conversations; any other file is a DataError."""
    for number, conversation in decode_each(file, _Conversation):
        messages: dict[str, _Message] = {}
        parents: dict[str, str] = {}
        above = ""
        for place, message in enumerate(conversation.chat_messages):
            name = message.uuid or f"#{place}"
            parents[name] = above if message.parent_message_uuid is None else message.parent_message_uuid
            messages[name] = message
            above = name
        tree = plant(parents, conversation.current_leaf_message_uuid or above)
        id = conversation.uuid or f"{file.source}/{number}"

        def turn_of(name: str, messages: dict[str, _Message] = messages) -> Turn | None:
            return _turn(messages[name], dropped)

        yield from branches(tree, turn_of, Session((), id, file.source), dropped, replies=options.replies)


def _turn(message: _Message, dropped: Counter[str]) -> Turn | None:
    """The turn in a message, or None and a count; what a human says without words is a turn without text."""
    blocks = message.content or [_Block("text", message.text)]  # `text` has a line in place of a tool call
    text = "\n".join(block.text for block in blocks if block.type == "text" and block.text)
    if text.strip():
        return Turn(text, message.sender)
    dropped["message without words"] += 1
    return Turn("", "human") if message.sender == "human" else None
