"""DiscordChatExporter's JSON (one channel per file) -> a chat log.

Messages of a type other than Default and Reply, messages without words, and bots are left out and counted; a bot stays
when it is the wanted speaker. People are known by their nickname, mentions stay text.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from dialogpt.data.readers.chatlog import ChatLog, ChatTurn, ReadOptions
from dialogpt.data.readers.jsonl import decode_document
from dialogpt.data.readers.text import TextFile, tidy
from dialogpt.errors import DataError


class _Author(msgspec.Struct, rename="camel"):
    name: str = ""
    nickname: str | None = None
    is_bot: bool = False


class _Reference(msgspec.Struct, rename="camel"):
    message_id: str | None = None


class _Message(msgspec.Struct):
    id: str
    timestamp: str
    author: _Author
    content: str = ""
    type: str = "Default"
    reference: _Reference | None = None


class _Channel(msgspec.Struct):
    id: str = ""
    name: str = ""


class _Export(msgspec.Struct):
    messages: list[_Message]
    channel: _Channel = msgspec.field(default_factory=_Channel)


def read(file: TextFile, options: ReadOptions, dropped: Counter[str]) -> Iterator[ChatLog]:
    """Yield the channel; any other file is a DataError."""
    export = decode_document(file, _Export)
    turns = list(_turns(export, file, options.speaker, dropped))
    turns.sort(key=lambda turn: turn.time_s or 0.0)  # an export may begin with the newest message
    yield ChatLog(turns, id=f"{file.source}/{export.channel.id}".rstrip("/"), source=file.source)


def _turns(export: _Export, file: TextFile, wanted: str, dropped: Counter[str]) -> Iterator[ChatTurn]:
    for message in export.messages:
        author = message.author
        names = [tidy(name) for name in (author.nickname, author.name) if name]
        if message.type not in ("Default", "Reply"):
            dropped["service message"] += 1
        elif author.is_bot and wanted not in names:
            dropped["message of a bot"] += 1
        elif not message.content.strip():
            dropped["message without words"] += 1
        else:
            yield ChatTurn(
                message.content,
                wanted if wanted in names else "".join(names[:1]),
                time_s=_time_s(message, file),
                id=message.id,
                reply_to=(message.reference and message.reference.message_id) or "",
            )


def _time_s(message: _Message, file: TextFile) -> float:
    try:
        time = datetime.fromisoformat(message.timestamp)
    except ValueError as error:
        raise DataError(
            f"{file.path}: message {message.id}: its date cannot be read: {error}", "2021-12-31T21:15:07+00:00"
        ) from error
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
