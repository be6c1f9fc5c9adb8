"""Facebook Messenger's and Instagram's JSON, a file per chat (`message_1.json`) -> a chat log, oldest message first.

    {"sender_name": "Bo", "timestamp_ms": 1500000000000, "content": "caf\\u00c3\\u00a9", ...}    Meta's archives
    {"senderName": "Bo", "timestamp": 1500000000000, "text": "café", "type": "text", ...}       encrypted chats

In the first form each byte of UTF-8 is a character of its own; they are put together. Left out and counted: calls and
other events, reactions sent as messages, unsent messages, and media, whose captions stay.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from dialogpt.data.readers.chatlog import ChatLog, ChatTurn, ReadOptions
from dialogpt.data.readers.jsonl import decode_document
from dialogpt.data.readers.text import TextFile
from dialogpt.errors import DataError

KINDS = ("Generic", "Share", "text", "link", "media")  # of messages that people write
MEDIA = ("photos", "videos", "audio_files", "gifs", "files", "sticker", "share", "media")
# Only what is known from archives or Instagram's own pages: English, French, Spanish, Portuguese, Turkish, German.
_EVENT = re.compile(
    r"(?:Liked a message|A aimé un message|Le gustó un mensaje|Curtiu uma mensagem|Bir mesajı beğendi"
    r"|(?:You r|R)eacted \S+ to (?:your|a) message|A réagi (?:avec )?\S+ à votre message"
    r"|Reaccionó (?:con )?\S+ a tu mensaje|Reagiu (?:com )?\S+ à sua mensagem) ?"
)
_SENT = ("You sent an attachment.", "{} sent an attachment.", "{} hat einen Anhang gesendet.")


class _Message(msgspec.Struct, rename={"encrypted_sender": "senderName", "encrypted_unsent": "isUnsent"}):
    sender_name: str | None = None
    encrypted_sender: str | None = None
    timestamp_ms: int | None = None
    timestamp: int | None = None
    content: str | None = None
    text: str | None = None
    type: str = "Generic"
    is_unsent: bool = False
    encrypted_unsent: bool = False
    call_duration: int | None = None
    photos: Any = None
    videos: Any = None
    audio_files: Any = None
    gifs: Any = None
    files: Any = None
    sticker: Any = None
    share: Any = None
    media: Any = None


class _Export(msgspec.Struct, rename={"thread_name": "threadName"}):
    messages: list[_Message]
    thread_path: str = ""
    thread_name: str = ""


def read(file: TextFile, options: ReadOptions, dropped: Counter[str]) -> Iterator[ChatLog]:
    """Yield the chat; any other file is a DataError."""
    export = decode_document(file, _Export)
    messages = [(_time_ms(message, number, file), message) for number, message in enumerate(export.messages, 1)]
    if messages and messages[0][0] > messages[-1][0]:
        messages.reverse()  # so that messages of the same moment stay in order
    messages.sort(key=lambda timed: timed[0])
    turns = [turn for time_ms, message in messages for turn in _turn(message, time_ms, dropped)]
    thread = export.thread_path or export.thread_name
    yield ChatLog(turns, id=f"{thread}/{file.source}".lstrip("/"), source=file.source)


def _time_ms(message: _Message, number: int, file: TextFile) -> int:
    time_ms = message.timestamp if message.timestamp_ms is None else message.timestamp_ms
    if time_ms is None:
        raise DataError(f"{file.path}: message {number} has neither timestamp_ms nor timestamp", "the file is damaged")
    return time_ms


def _turn(message: _Message, time_ms: int, dropped: Counter[str]) -> Iterator[ChatTurn]:
    """The turn in a message, or nothing and a count."""
    sender = message.encrypted_sender if message.sender_name is None else as_written(message.sender_name)
    words = (message.text if message.content is None else as_written(message.content)) or ""
    has_media = any(getattr(message, name) for name in MEDIA)
    if message.is_unsent or message.encrypted_unsent:
        dropped["deleted message"] += 1
    elif message.type not in KINDS or message.call_duration is not None or _EVENT.fullmatch(words):
        dropped["service message"] += 1
    elif words in [form.format(sender) for form in _SENT] or (has_media and not words.strip()):
        dropped["media"] += 1
    elif not words.strip():
        dropped["message without words"] += 1
    else:
        yield ChatTurn(words, sender or "", time_s=time_ms / 1000)


def as_written(text: str) -> str:
    """The text decoded from UTF-8 if its characters are bytes of that; any other as it is."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text
