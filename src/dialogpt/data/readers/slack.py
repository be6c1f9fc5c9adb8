"""Slack's exports, a folder per channel, a JSON file per day (`general/2024-01-05.json`) -> chat logs.

    [{"type": "message", "user": "U1", "ts": "1704441600.000100", "text": "Hi <@U2>", "thread_ts": "1704441500.0001"}]

The days of a channel that are read together are a log, and so is each thread, which is not cut at silences and begins
with the message that it answers, as context. Names are those of `users.json` beside the channel's folder, else of
the message itself; mentions and links are as people read them. Left out and counted: service messages, messages without
words, and bots, except the wanted speaker. From Slack's help pages on exports and its API's types of messages.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from operator import itemgetter
from pathlib import Path

import msgspec

from dialogpt.data.readers.chatlog import ChatLog, ChatTurn, ReadOptions
from dialogpt.data.readers.jsonl import decode_document
from dialogpt.data.readers.text import TextFile, tidy
from dialogpt.errors import DataError
from dialogpt.files import is_input

KINDS = (None, "thread_broadcast", "me_message", "file_share", "bot_message")  # of messages that somebody writes
_MARK = re.compile(r"<([@#!]?)([^<>|]+)(?:\|([^<>]*))?>")


class _Profile(msgspec.Struct):
    display_name: str | None = None
    real_name: str | None = None


class _User(msgspec.Struct):
    id: str
    name: str | None = None
    profile: _Profile = msgspec.field(default_factory=_Profile)


class _Message(msgspec.Struct):
    ts: str
    type: str = "message"
    subtype: str | None = None
    user: str | None = None
    username: str | None = None
    bot_id: str | None = None
    text: str | None = None
    thread_ts: str | None = None
    user_profile: _Profile | None = None


def read(file: TextFile, options: ReadOptions, dropped: Counter[str]) -> Iterator[ChatLog]:
    """Yield the channel and the threads in it; any other file is a DataError."""
    names = _names(file.path.absolute().parent.parent / "users.json")
    found = [
        (_time_s(message, part), message) for part in file.parts() for message in decode_document(part, list[_Message])
    ]
    channel: list[ChatTurn] = []
    threads: dict[str, list[ChatTurn]] = {}
    for time_s, message in sorted(found, key=itemgetter(0)):
        for turn in _turn(message, time_s, names, options.speaker, dropped):
            if message.thread_ts in (None, message.ts):
                channel.append(turn)
                if message.thread_ts:  # its replies come later
                    threads[message.ts] = [ChatTurn(turn.text, turn.speaker, learn=False)]
            else:
                threads.setdefault(message.thread_ts or "", []).append(ChatTurn(turn.text, turn.speaker))
    source = file.path.absolute().parent.name
    id = f"{source}/{file.source}"  # of its first day
    yield ChatLog(channel, id=id, source=source)
    for begun, thread in threads.items():
        if any(turn.learn for turn in thread):
            yield ChatLog(thread, id=f"{id}/{begun}", source=source)


@lru_cache(4)
def _names(path: Path) -> Mapping[str, str]:
    """People's names by their ids; empty without such a file."""
    if not is_input(path):
        return {}
    users = decode_document(TextFile(path), list[_User])
    return {user.id: _called(user.profile) or user.name or user.id for user in users}


def _called(profile: _Profile | None) -> str:
    return (profile and (profile.display_name or profile.real_name)) or ""


def _turn(
    message: _Message, time_s: float, names: Mapping[str, str], wanted: str, dropped: Counter[str]
) -> Iterator[ChatTurn]:
    """The turn in a message, or nothing and a count."""
    name = names.get(message.user or "") or _called(message.user_profile) or message.username or message.user or ""
    words = as_read(message.text or "", names)
    if message.type != "message" or message.subtype not in KINDS:
        dropped["deleted message" if message.subtype == "tombstone" else "service message"] += 1
    elif (message.bot_id or message.subtype == "bot_message") and tidy(name) != wanted:
        dropped["message of a bot"] += 1
    elif not words.strip():
        dropped["message without words"] += 1
    else:
        yield ChatTurn(words, name, time_s=time_s)


def as_read(text: str, names: Mapping[str, str]) -> str:
    """A text of Slack's without its markup: <@U1> is @Ann, <https://a.b|there> is there, &lt; is <."""

    def shown(mark: re.Match[str]) -> str:
        kind, target, label = mark[1], mark[2], mark[3]
        if kind == "@":
            return f"@{names.get(target) or label or target}"
        if kind == "#":
            return f"#{label or target}"
        return label or (f"@{target.partition('^')[0]}" if kind else target)

    return _MARK.sub(shown, text).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _time_s(message: _Message, file: TextFile) -> float:
    try:
        return float(message.ts)
    except ValueError as error:
        raise DataError(
            f"{file.path}: message {message.ts}: its time cannot be read: {error}", '"ts": "1704441600.000100"'
        ) from error
