"""Conversational files -> sessions and chat logs, with a small reader for each format.

A reader is `read(file, options, dropped)`. Formats of whole conversations give `Session`s; chat logs give `ChatLog`s,
whose conversations `dialogpt.data.shaping` finds. What a reader leaves out it counts in `dropped` under a reason.
`recognise` detects the format from a file's first lines.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from dialogpt.data.readers import (
    chatgpt,
    claude,
    discord,
    dstc7,
    googlechat,
    imessage,
    irc,
    jsonl,
    kakaotalk,
    line,
    matrix,
    messenger,
    openassistant,
    parquet,
    script,
    signal,
    sillytavern,
    skype,
    slack,
    snapchat,
    telegram,
    weighted,
    whatsapp,
)
from dialogpt.data.readers.chatlog import ChatLog, ReadOptions
from dialogpt.data.readers.layout import find_layout
from dialogpt.data.readers.text import TextFile, fold, tidy
from dialogpt.errors import DataError
from dialogpt.session import Session

__all__ = ["FORMATS", "Format", "ReadOptions", "TextFile", "fold", "recognise", "tidy"]


class Format(NamedTuple):
    """A reader and an example of what it reads.

    Also whether it is a chat log, says which message answers which, and whether a speaker's turns are joined.
    """

    read: Callable[[TextFile, ReadOptions, Counter[str]], Iterator[Session | ChatLog]]
    example: str
    chat_log: bool = False
    replies: bool = False
    merge: bool = False


FORMATS = {
    "jsonl": Format(jsonl.read, '{"turns": [["A", "Hi"], ...]} or {"messages": [...]}, one object per line or a list'),
    "script": Format(script.read, "CSV or TSV with columns name,line"),
    "original": Format(weighted.read, "0.0 turn EOS 1.0 turn <tab> 1.0 response"),
    "whatsapp": Format(whatsapp.read, "12/31/20, 9:15 PM - Ann: Hello", chat_log=True, merge=True),
    "line": Format(line.read, "LINE's text export, 10:21 <tab> Ann <tab> Hello", chat_log=True, merge=True),
    "kakaotalk": Format(kakaotalk.read, "KakaoTalk's text or CSV, [Ann] [1:23 PM] Hello", chat_log=True, merge=True),
    "telegram": Format(telegram.read, "Telegram Desktop's result.json", chat_log=True, replies=True, merge=True),
    "discord": Format(discord.read, "DiscordChatExporter's JSON", chat_log=True, replies=True, merge=True),
    "messenger": Format(messenger.read, "message_1.json of Messenger or Instagram", chat_log=True, merge=True),
    "slack": Format(slack.read, "Slack's CHANNEL/2024-01-05.json", chat_log=True, merge=True),
    "googlechat": Format(
        googlechat.read, "messages.json of Google Chat, from Takeout", chat_log=True, replies=True, merge=True
    ),
    "skype": Format(skype.read, "messages.json of Skype", chat_log=True, merge=True),
    "signal": Format(signal.read, "data.json of signal-export", chat_log=True, merge=True),
    "matrix": Format(matrix.read, "Element's export.json of a Matrix room", chat_log=True, replies=True, merge=True),
    "snapchat": Format(snapchat.read, "chat_history.json of Snapchat", chat_log=True, merge=True),
    "imessage": Format(imessage.read, "a text of imessage-exporter, " + imessage.EXAMPLE, chat_log=True, merge=True),
    "irc": Format(irc.read, "a log of IRC, [21:15:07] <ann> hello", chat_log=True, merge=True),
    "chatgpt": Format(chatgpt.read, "ChatGPT's conversations.json", replies=True, merge=True),
    "claude": Format(claude.read, "Claude's conversations.json", replies=True, merge=True),
    "openassistant": Format(openassistant.read, "OpenAssistant's trees or messages", replies=True),
    "sillytavern": Format(sillytavern.read, "SillyTavern's JSONL"),
    "dstc7": Format(dstc7.read, "seven columns, EOS between the turns of the sixth"),
    "parquet": Format(
        parquet.read, "a list column turns or messages, or columns speaker, text, conversation_id", replies=True
    ),
}
_JSON = re.compile(r"\s*(?:\{|\[\s*(?:[\[{\"]|$))")  # not [21:15] <Ann> Hello
_KEY = re.compile(r'"(\w+)"\s*:')
_SNAPCHAT = re.compile(r'"Media Type"\s*:')  # its chats have no keys of their own: they are called as people are
_SLACK = {"ts", "type", "text"}
_LISTED = {"mapping", "current_node", "chat_messages", "role", *_SLACK}  # of conversations that are exported as a list
_TABLES = re.compile(r"\.(?:csv|tsv|tab)(?:\.|$)", re.IGNORECASE)


def recognise(file: TextFile) -> str | None:
    """The format's name by the beginning of the file, None for an empty one; DataError when it is unknown."""
    if file.begins_with(parquet.MAGIC):
        return "parquet"
    head = [line for line in file.head() if line.strip()]
    if not head or "".join("".join(head).split()) == "[]":
        return None
    if head[0].lstrip().casefold().startswith(("<!doctype html", "<html")):
        raise DataError(
            f"{file.path} is a web page",
            "export the chat as JSON: Telegram, Discord and Meta offer that, too; ChatGPT puts it beside this file",
        )
    name = _of_json(head) or _of_lines(file, head)
    if name is None:
        forms = "; ".join(f"{name}: {known.example}" for name, known in FORMATS.items())
        raise DataError(f"{file.path}:1: not a known format: {head[0][:60]!r}", f"name it with --from. {forms}")
    return name


def _of_json(head: list[str]) -> str | None:
    if not _JSON.match(head[0]):
        return None
    if whatsapp.is_export(head):  # [31.12.20, 21:15:07] Ann: Hello
        return None
    try:
        keys = _key_names(json.loads(head[0]))
    except (ValueError, RecursionError):  # one document over many lines, or a line longer than the head
        keys = set(_KEY.findall("\n".join(head)))
        keys |= {"messages"} if "chats" in keys else set()
    if "mapping" in keys and keys & {"current_node", "children", "content_type"}:
        return "chatgpt"
    if "message_tree_id" in keys and ("prompt" in keys or keys >= openassistant.COLUMNS):
        return "openassistant"
    if keys >= _SLACK and "role" not in keys and head[0].lstrip().startswith("["):
        return "slack"
    if "chat_messages" in keys:
        return "claude"
    if {"guild", "channel"} <= keys:
        return "discord"
    if "messages" in keys and (keys & {"personal_information", "chats", "date_unixtime", "from_id"}):
        return "telegram"
    if {"messages", "creator", "created_date"} <= keys:
        return "googlechat"
    if {"conversations", "exportDate"} <= keys:
        return "skype"
    if {"sender_name", "timestamp_ms"} <= keys or {"senderName", "timestamp"} <= keys:
        return "messenger"
    if {"messages", "room_name", "exported_by"} <= keys:
        return "matrix"
    if keys >= signal.KEYS:
        return "signal"
    if _SNAPCHAT.search("\n".join(head)):
        return "snapchat"
    if "chat_metadata" in keys or {"user_name", "character_name"} <= keys or {"mes", "is_user"} <= keys:
        return "sillytavern"
    return "jsonl"


def _key_names(record: Any) -> set[str]:
    """The keys of an object and of its first messages; of a list, those of its first object that _LISTED knows."""
    if isinstance(record, list):
        return _LISTED & {key for first in record[:1] if isinstance(first, dict) for key in first}
    if not isinstance(record, dict):
        return set()
    messages = record.get("messages")
    first = [message for message in messages[:10] if isinstance(message, dict)] if isinstance(messages, list) else []
    return set(record) | {key for message in first for key in message} | ({"messages"} if "chats" in record else set())


def _of_lines(file: TextFile, head: list[str]) -> str | None:
    if kakaotalk.is_export(head):
        return "kakaotalk"
    if line.is_export(head):
        return "line"
    if whatsapp.is_export(head):
        return "whatsapp"
    if imessage.is_export(head):
        return "imessage"
    if irc.is_export(head):
        return "irc"
    if weighted.parse(head[0], "", ""):
        return "original"
    if dstc7.parse(head[0], 1) or dstc7.is_evaluation(head[0]):
        return "dstc7"
    layout = find_layout(file.head())
    if layout and (layout.header or _TABLES.search(file.path.name) or layout.delimiter == "\t"):
        return "script"
    if _TABLES.search(file.path.name):
        raise script.unknown_columns(file)
    return None
