"""ChatGPT's data export, `conversations.json` -> a session per conversation: the branch that was shown last.

    {"mapping": {"n1": {"parent": "n0", "message": {"author": {"role": "user"}, "content":
        {"content_type": "text", "parts": ["Hi"]}, "weight": 1.0, "recipient": "all"}}, ...}, "current_node": "n2"}

The branch goes from `current_node` up to the root, as in the export's own chat.html. Left out and counted: system
messages (custom instructions, too), what is not shown (`is_visually_hidden_from_conversation`, weight 0), tools, calls
of them and thoughts, pictures. Speech is its transcript; citation marks are removed from texts, and marks around
names leave the name. OpenAI does not document this: it is what several public readers of such files agree on.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from dialogpt.data.readers.chatlog import ChatLog, ReadOptions
from dialogpt.data.readers.jsonl import SYSTEM, TOOLS, decode_each
from dialogpt.data.readers.text import TextFile
from dialogpt.data.readers.trees import branches, plant
from dialogpt.session import Session, Turn

WORDS = ("text", "multimodal_text")
INSTRUCTIONS = ("user_editable_context", "model_editable_context")
_NAMED = re.compile(
    '\ue200entity\ue202\\["[^"\ue200]*", *"([^"\ue200]*)"[^\ue200\ue201]*\ue201'
)  # a person, a place: type, name, ...
_SOURCES = re.compile("\ue200[^\ue200\ue201]*\ue201|【\\d+(?::\\d+)?†[^【】\n]*】")


class _Author(msgspec.Struct):
    role: str = ""


class _Content(msgspec.Struct):
    content_type: str = "text"
    parts: list[Any] | None = None


class _Metadata(msgspec.Struct, rename={"hidden": "is_visually_hidden_from_conversation"}):
    hidden: bool | None = None


class _Message(msgspec.Struct):
    author: _Author
    content: _Content | None = None
    weight: float | None = None
    recipient: str | None = None
    metadata: _Metadata | None = None


class _Node(msgspec.Struct):
    parent: str | None = None
    message: _Message | None = None


class _Conversation(msgspec.Struct):
    mapping: dict[str, _Node]
    current_node: str | None = None
    conversation_id: str | None = None
    id: str | None = None


def read(file: TextFile, options: ReadOptions, dropped: Counter[str]) -> Iterator[Session | ChatLog]:
    """Yield the conversations; any other file is a DataError."""
    for number, conversation in decode_each(file, _Conversation):
        nodes = conversation.mapping
        tree = plant({name: node.parent or "" for name, node in nodes.items()}, conversation.current_node or "")
        id = conversation.conversation_id or conversation.id or f"{file.source}/{number}"

        def turn_of(name: str, nodes: dict[str, _Node] = nodes) -> Turn | None:
            return _turn(nodes[name].message, dropped)

        yield from branches(tree, turn_of, Session((), id, file.source), dropped, replies=options.replies)


def _turn(message: _Message | None, dropped: Counter[str]) -> Turn | None:
    """The turn in a message, or None and a count; a node without a message, as the root is, counts nothing.

    What a user says without words is a turn without text.
    """
    if message is None:
        return None
    role, content = message.author.role, message.content or _Content()
    text = _SOURCES.sub("", _NAMED.sub(r"\1", "\n".join(map(_words, content.parts or ()))))
    if role in SYSTEM or content.content_type in INSTRUCTIONS:
        dropped["system message"] += 1
    elif (message.metadata and message.metadata.hidden) or message.weight == 0:
        dropped["hidden message"] += 1
    elif role in TOOLS or message.recipient not in (None, "all") or content.content_type not in WORDS:
        dropped["message of a tool"] += 1
    elif not text.strip():
        pictured = any(isinstance(part, dict) for part in content.parts or ())
        dropped["media" if pictured else "message without words"] += 1
        return Turn("", role) if role == "user" else None
    else:
        return Turn(text, role)
    return None


def _words(part: Any) -> str:
    """The words in a part of a content: text, or the transcript of speech; pictures and sounds have none."""
    if isinstance(part, dict) and part.get("content_type") == "audio_transcription":
        part = part.get("text")
    return part if isinstance(part, str) else ""
