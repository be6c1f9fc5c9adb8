"""Telegram Desktop's JSON exports -> chat logs: one chat (`result.json`), or all of an account (`chats.list`).

A text is a string or a list of strings and entities such as {"type": "bold", "text": "so"}. Left out and counted:
service messages, messages without words, forwarded ones (somebody else's words), and an account's chats with bots,
except the wanted speaker's.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from dialogpt.data.readers.chatlog import ChatLog, ChatTurn, ReadOptions
from dialogpt.data.readers.jsonl import decode_document, decode_part
from dialogpt.data.readers.text import TextFile, tidy
from dialogpt.errors import DataError


class _Entity(msgspec.Struct):
    text: str = ""


class _Message(msgspec.Struct, rename={"sender": "from"}):
    id: int
    type: str = "message"
    date: str = ""
    date_unixtime: str = ""
    sender: str | None = None
    from_id: str | int | None = None  # a number before 2021
    text: str | list[str | _Entity] = ""
    reply_to_message_id: int | None = None
    reply_to_peer_id: str | None = None
    forwarded_from: str | None = ""


class _Chat(msgspec.Struct):
    messages: list[msgspec.Raw]  # decoded one by one: a whole chat would take many times its file's size
    name: str | None = None
    id: int | str = ""
    type: str = ""


class _Chats(msgspec.Struct, rename={"chats": "list"}):
    chats: list[_Chat] = []


class _Export(msgspec.Struct):
    messages: list[msgspec.Raw] | None = None
    name: str | None = None
    id: int | str = ""
    chats: _Chats | None = None
    left_chats: _Chats | None = None


def read(file: TextFile, options: ReadOptions, dropped: Counter[str]) -> Iterator[ChatLog]:
    """Yield the chats; any other file is a DataError."""
    export = decode_document(file, _Export)
    chats = [chat for part in (export.chats, export.left_chats) if part for chat in part.chats]
    if export.messages is not None:
        chats.append(_Chat(export.messages, export.name, export.id))
    elif not chats:
        raise DataError(
            f"{file.path}: no chat in it, neither `messages` nor `chats`",
            "export with Telegram Desktop, format: machine-readable JSON",
        )
    for chat in chats:
        if chat.type == "bot_chat" and tidy(chat.name or "") != options.speaker:
            dropped["message of a bot"] += len(chat.messages)
            continue
        yield ChatLog(_turns(chat, file, dropped), id=f"{file.source}/{chat.id}", source=file.source)


def _turns(chat: _Chat, file: TextFile, dropped: Counter[str]) -> Iterator[ChatTurn]:
    decoder = msgspec.json.Decoder(_Message)
    for number, part in enumerate(chat.messages, 1):
        message = decode_part(file, decoder, part, f"{file.path}: message {number} of chat {chat.id}")
        text = message.text if isinstance(message.text, str) else "".join(map(_words, message.text))
        if message.type != "message":
            dropped["service message"] += 1
        elif message.forwarded_from != "":  # null: forwarded from an account that is deleted
            dropped["forwarded message"] += 1
        elif not text.strip():
            dropped["message without words"] += 1
        else:
            link = None if message.reply_to_peer_id else message.reply_to_message_id  # else it is in another chat
            yield ChatTurn(
                text,
                message.sender or str(message.from_id or ""),
                time_s=_time_s(message, file),
                id=str(message.id),
                reply_to="" if link is None else str(link),
            )


def _words(part: str | _Entity) -> str:
    return part if isinstance(part, str) else part.text


def _time_s(message: _Message, file: TextFile) -> float | None:
    try:
        if message.date_unixtime:
            return float(message.date_unixtime)
        return datetime.fromisoformat(message.date).replace(tzinfo=UTC).timestamp() if message.date else None
    except ValueError as error:
        raise DataError(
            f"{file.path}: message {message.id}: its date cannot be read: {error}", "2021-12-31T21:15:07"
        ) from error
