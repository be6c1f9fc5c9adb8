"""Google Chat's `messages.json`, a file per chat, as Google Takeout gives it -> a chat log.

    {"messages": [{"creator": {"name": "Ann", "user_type": "Human"}, "text": "Hi", "topic_id": "t1", "message_id":
        "t1/m1", "created_date": "Thursday, November 3, 2016 at 11:59:50 AM UTC"}, ...]}

A message answers the one before it in the same topic. Left out and counted: media (captions stay), messages without
words, and bots, except the wanted speaker. Dates in other languages than English are not read: then silences are
unknown. Google does not document this: it is what several public readers of such files agree on.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from dialogpt.data.readers.chatlog import ChatLog, ChatTurn, ReadOptions
from dialogpt.data.readers.jsonl import decode_document
from dialogpt.data.readers.text import TextFile, tidy

log = logging.getLogger(__name__)
_BLANKS = re.compile(r"\s+")  # one of them is narrow


class _Creator(msgspec.Struct):
    name: str = ""
    email: str = ""
    user_type: str = "Human"


class _Message(msgspec.Struct):
    creator: _Creator = msgspec.field(default_factory=_Creator)
    created_date: str = ""
    text: str = ""
    topic_id: str = ""
    message_id: str = ""
    attached_files: list[Any] = []


class _Export(msgspec.Struct):
    messages: list[_Message]


def read(file: TextFile, options: ReadOptions, dropped: Counter[str]) -> Iterator[ChatLog]:
    """Yield the chat; any other file is a DataError."""
    turns, newest, undated = [], dict[str, str](), ""
    for number, message in enumerate(decode_document(file, _Export).messages):
        name = tidy(message.creator.name or message.creator.email)
        if message.creator.user_type != "Human" and name != options.speaker:
            dropped["message of a bot"] += 1
        elif not message.text.strip():
            dropped["media" if message.attached_files else "message without words"] += 1
        else:
            time_s = _time_s(message.created_date)
            undated = undated or (message.created_date if time_s is None else "")
            id, topic = message.message_id or f"#{number}", message.topic_id or f"#{number}"
            turns.append(ChatTurn(message.text, name, time_s=time_s, id=id, reply_to=newest.get(topic, "")))
            newest[topic] = id
    if undated:
        log.warning("import %s: dates cannot be read, so conversations are not cut at silences: %s", file.path, undated)
    yield ChatLog(turns, id=f"{file.path.absolute().parent.name}/{file.source}", source=file.source)


def _time_s(written: str) -> float | None:
    """The time of `Thursday, November 3, 2016 at 11:59:50 AM UTC`, or None if it is written differently."""
    try:
        time = datetime.strptime(_BLANKS.sub(" ", written), "%A, %B %d, %Y at %I:%M:%S %p UTC")
    except ValueError:
        return None
    return time.replace(tzinfo=UTC).timestamp()
