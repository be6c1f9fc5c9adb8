"""Skype's export, `messages.json`, all conversations of an account -> chat logs.

    {"userId": "8:ann", "exportDate": "...", "conversations": [{"id": "8:bo", "displayName": "Bo", "MessageList": [
        {"from": "8:bo", "displayName": "Bo", "messagetype": "RichText", "content": "see <a href=\\"..\\">this</a>",
         "originalarrivaltime": "2020-01-01T10:00:00.123Z"}, ...]}]}

Messages run from the newest to the oldest. Markup and quotes are removed from their texts. Left out and counted: media,
calls and other events, messages without words (the deleted ones), and bots, except the wanted speaker. Microsoft does
not document this: it is what several public readers of such files agree on.
"""

import html
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from dialogpt.data.readers.chatlog import ChatLog, ChatTurn, ReadOptions
from dialogpt.data.readers.jsonl import decode_document, decode_part
from dialogpt.data.readers.text import TextFile, tidy
from dialogpt.errors import DataError

WORDS = ("RichText", "Text")
MEDIA = ("RichText/UriObject", "RichText/Media", "RichText/Location", "RichText/Contacts")
BOT = "28:"  # prefix of bots' ids; people's have 8:
_QUOTE = re.compile(r"<quote\b(?:(?!<quote\b).)*?</quote>", re.DOTALL)
_TAG = re.compile(r"</?[A-Za-z]\w*(?:\s[^<>]*)?/?>")


class _Message(msgspec.Struct, rename={"sender": "from", "name": "displayName"}):
    sender: str = ""
    name: str | None = None
    messagetype: str = "RichText"
    content: str | None = None
    originalarrivaltime: str = ""


class _Conversation(msgspec.Struct, rename={"messages": "MessageList"}):
    messages: list[msgspec.Raw]
    id: str = ""


class _Export(msgspec.Struct):
    conversations: list[_Conversation]


def read(file: TextFile, options: ReadOptions, dropped: Counter[str]) -> Iterator[ChatLog]:
    """Yield the conversations; any other file is a DataError."""
    for chat in decode_document(file, _Export).conversations:
        yield ChatLog(_turns(chat, file, options.speaker, dropped), id=f"{file.source}/{chat.id}", source=file.source)


def _turns(chat: _Conversation, file: TextFile, wanted: str, dropped: Counter[str]) -> Iterator[ChatTurn]:
    decoder = msgspec.json.Decoder(_Message)
    for number in range(len(chat.messages), 0, -1):
        place = f"{file.path}: message {number} of {chat.id}"
        message = decode_part(file, decoder, chat.messages[number - 1], place)
        name, words = tidy(message.name or message.sender.partition(":")[2]), as_read(message.content or "")
        if message.messagetype.startswith(MEDIA):
            dropped["media"] += 1
        elif message.messagetype not in WORDS:
            dropped["service message"] += 1
        elif message.sender.startswith(BOT) and name != wanted:
            dropped["message of a bot"] += 1
        elif not words.strip():
            dropped["message without words"] += 1
        else:
            yield ChatTurn(words, name, time_s=_time_s(message, place))


def as_read(content: str) -> str:
    """A text of Skype's without markup and quotes: <ss type="smile">:)</ss> is :), &lt; is <."""
    return html.unescape(_TAG.sub("", _QUOTE.sub(" ", content)))


def _time_s(message: _Message, place: str) -> float:
    try:
        time = datetime.fromisoformat(message.originalarrivaltime)
    except ValueError as error:
        raise DataError(f"{place}: its date cannot be read: {error}", "2021-12-31T21:15:07.123Z") from error
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
