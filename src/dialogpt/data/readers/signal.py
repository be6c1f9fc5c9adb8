"""Signal's chats as the tool signal-export (sigexport) writes them, `NAME/data.json`, a message per line -> a chat log.

    {"date": "2024-01-05T21:15:07", "sender": "Me", "body": "Hi  ", "quote": "", "sticker": null, "reactions": [],
     "attachments": [{"name": "a.jpg", "path": "media/a.jpg"}], "deleted": false, "call": false}

Left out and counted: attachments and stickers without words, deleted messages, calls. The text of a quoted message is
not repeated. The last three fields are of newer versions; calls of older ones are known by their words.
"""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from dialogpt.data.readers.chatlog import ChatLog, ChatTurn, ReadOptions
from dialogpt.data.readers.jsonl import decode_each
from dialogpt.data.readers.text import TextFile
from dialogpt.errors import DataError

KEYS = {"date", "sender", "body", "reactions", "attachments"}  # by which a file is known
_CALL = re.compile(r"(?:Incoming|Outgoing|Missed)(?: voice| video)? call(?: \([^)]*\))?")


class _Message(msgspec.Struct):
    date: str
    sender: str
    body: str
    sticker: Any = None
    attachments: list[Any] = []
    deleted: bool = False
    call: bool = False


def read(file: TextFile, options: ReadOptions, dropped: Counter[str]) -> Iterator[ChatLog]:
    """Yield the chat; any other file is a DataError."""
    turns = [turn for number, message in decode_each(file, _Message) for turn in _turn(message, file, number, dropped)]
    turns.sort(key=lambda turn: turn.time_s or 0.0)
    yield ChatLog(turns, id=f"{file.path.absolute().parent.name}/{file.source}", source=file.source)


def _turn(message: _Message, file: TextFile, number: int, dropped: Counter[str]) -> Iterator[ChatTurn]:
    """The turn in a message, or nothing and a count."""
    words = message.body.strip()
    if message.deleted:
        dropped["deleted message"] += 1
    elif message.call or _CALL.fullmatch(words):
        dropped["service message"] += 1
    elif not words:
        dropped["media" if message.attachments or message.sticker else "message without words"] += 1
    else:
        yield ChatTurn(words, message.sender, time_s=_time_s(message, file, number))


def _time_s(message: _Message, file: TextFile, number: int) -> float:
    try:
        time = datetime.fromisoformat(message.date)
    except ValueError as error:
        place = f"{file.path}:{number}"
        raise DataError(f"{place}: its date cannot be read: {error}", "2021-12-31T21:15:07") from error
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
