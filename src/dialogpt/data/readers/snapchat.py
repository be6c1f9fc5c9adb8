"""Snapchat's `chat_history.json` (My Data, with JSON files), all chats of an account -> chat logs.

    {"bo": [{"From": "bo", "Media Type": "TEXT", "Created": "2024-01-05 21:15:07 UTC", "Content": "Hi",
             "IsSender": false, "Conversation Title": null, "Created(microseconds)": 1704489307000}, ...]}

Messages run from the newest to the oldest; the number is of milliseconds, whatever it is called. Left out and counted:
media, events, and messages that were not saved, whose words are not there. Snap does not document this: it is what
several public readers of such files agree on.
"""

import html
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from dialogpt.data.readers.chatlog import ChatLog, ChatTurn, ReadOptions
from dialogpt.data.readers.jsonl import decode_document
from dialogpt.data.readers.text import TextFile
from dialogpt.errors import DataError

LATEST_MS = 10**14  # larger numbers are of microseconds


class _Message(
    msgspec.Struct,
    rename={"sender": "From", "kind": "Media Type", "created": "Created", "text": "Content",
            "time_ms": "Created(microseconds)"},
):  # fmt: skip
    sender: str
    kind: str = "TEXT"
    created: str | None = None
    text: str | None = None
    time_ms: int = 0


def read(file: TextFile, options: ReadOptions, dropped: Counter[str]) -> Iterator[ChatLog]:
    """Yield the chats; any other file is a DataError."""
    for name, messages in decode_document(file, dict[str, list[_Message]]).items():
        timed = [(_time_s(message, f"{file.path}: a message of {name}"), message) for message in reversed(messages)]
        timed.sort(key=lambda each: each[0])
        turns = [turn for time_s, message in timed for turn in _turn(message, time_s, dropped)]
        yield ChatLog(turns, id=f"{file.source}/{name}", source=file.source)


def _turn(message: _Message, time_s: float, dropped: Counter[str]) -> Iterator[ChatTurn]:
    """The turn in a message, or nothing and a count."""
    words, kind = html.unescape(message.text or ""), message.kind.upper()
    if kind.startswith("STATUS"):
        dropped["service message"] += 1
    elif kind != "TEXT":
        dropped["media"] += 1
    elif not words.strip():
        dropped["message that was not saved"] += 1
    else:
        yield ChatTurn(words, message.sender, time_s=time_s)


def _time_s(message: _Message, place: str) -> float:
    if message.time_ms > 0:
        return message.time_ms / (10**6 if message.time_ms > LATEST_MS else 10**3)
    try:
        return datetime.fromisoformat((message.created or "").removesuffix(" UTC")).replace(tzinfo=UTC).timestamp()
    except ValueError as error:
        raise DataError(f"{place}: its date cannot be read: {error}", "2021-12-31 21:15:07 UTC") from error
