"""A Matrix room as Element exports it in JSON -> a chat log.

    {"room_name": "Tea", "exported_by": "Ann", "messages": [{"type": "m.room.message", "sender": "@ann:example.org",
     "content": {"msgtype": "m.text", "body": "Hi"}, "origin_server_ts": 1704489307000, "event_id": "$1"}, ...]}

People are called as they call themselves in the room, else by their id without its server. What a reply quotes
(`> <@bo:example.org> ...`) is not repeated; an edit takes the place of its message. Left out and counted: media,
deleted messages, what could not be decrypted, joins and other events, and bots (`m.notice`), except the wanted speaker.
From Matrix's specification and Element's exporter.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from dialogpt.data.readers.chatlog import ChatLog, ChatTurn, ReadOptions
from dialogpt.data.readers.jsonl import decode_document
from dialogpt.data.readers.text import TextFile, tidy

WORDS = ("m.text", "m.emote", "m.notice")
MEDIA = ("m.image", "m.file", "m.audio", "m.video", "m.location")
SECRET = "m.bad.encrypted"
_QUOTE = re.compile(r"(?:> ?[^\n]*\n)+\n?")


class _InReplyTo(msgspec.Struct):
    event_id: str = ""


class _Relation(msgspec.Struct, rename={"in_reply_to": "m.in_reply_to"}):
    in_reply_to: _InReplyTo | None = None
    rel_type: str = ""
    event_id: str = ""


class _Content(msgspec.Struct, rename={"relates_to": "m.relates_to", "new": "m.new_content"}):
    msgtype: Any = None
    body: Any = None
    displayname: Any = None
    relates_to: _Relation | None = None
    new: Any = None


class _Event(msgspec.Struct):
    type: str
    sender: str
    origin_server_ts: int
    content: _Content
    event_id: str = ""
    state_key: str | None = None


class _Export(msgspec.Struct):
    messages: list[_Event]
    room_name: str = ""


def read(file: TextFile, options: ReadOptions, dropped: Counter[str]) -> Iterator[ChatLog]:
    """Yield the room; any other file is a DataError."""
    export = decode_document(file, _Export)
    events = sorted(export.messages, key=lambda event: event.origin_server_ts)
    names = {
        event.state_key: event.content.displayname
        for event in events
        if event.state_key and isinstance(event.content.displayname, str)
    }
    turns: dict[str, ChatTurn] = {}
    for number, event in enumerate(events):
        name = tidy(names.get(event.sender) or event.sender.removeprefix("@").partition(":")[0])
        for turn in _turn(event, name, options.speaker, dropped):
            edited = _replaced(event)
            if edited in turns:
                turns[edited] = msgspec.structs.replace(turns[edited], text=turn.text)
            else:
                turns[event.event_id or str(number)] = turn
    yield ChatLog(turns.values(), id=f"{file.source}/{export.room_name}".rstrip("/"), source=file.source)


def _replaced(event: _Event) -> str:
    """The id of the message that this one is an edit of, or ""."""
    relation = event.content.relates_to
    return relation.event_id if relation and relation.rel_type == "m.replace" else ""


def _turn(event: _Event, name: str, wanted: str, dropped: Counter[str]) -> Iterator[ChatTurn]:
    """The turn in an event, or nothing and a count."""
    content = event.content
    if event.type in ("m.room.encrypted", SECRET) or content.msgtype == SECRET:
        dropped["message that could not be decrypted"] += 1
    elif content.msgtype in MEDIA or event.type == "m.sticker":
        dropped["media"] += 1
    elif event.type != "m.room.message" or (content.msgtype is not None and content.msgtype not in WORDS):
        dropped["service message"] += 1
    elif content.msgtype is None:
        dropped["deleted message"] += 1
    elif content.msgtype == "m.notice" and name != wanted:
        dropped["message of a bot"] += 1
    elif not (words := _words(content)):
        dropped["message without words"] += 1
    else:
        answered = content.relates_to and content.relates_to.in_reply_to
        yield ChatTurn(
            words, name, time_s=event.origin_server_ts / 1000, id=event.event_id,
            reply_to=answered.event_id if answered else "",
        )  # fmt: skip


def _words(content: _Content) -> str:
    body = content.body
    if isinstance(content.new, dict) and _is_text(content.new.get("body")):
        body = content.new["body"]
    if not _is_text(body):
        return ""
    if content.relates_to and content.relates_to.in_reply_to:
        body = _QUOTE.sub("", body, count=1) if body.startswith("> ") else body
    return f"*{body.strip()}*" if content.msgtype == "m.emote" else body.strip()


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
