"""Apple's Messages as the tool imessage-exporter writes them with `-f txt`, a file per chat -> a chat log.

    May 17, 2022  5:29:42 PM (Read by you after 1 hour, 49 seconds)
    Ann
    Hello!                               further lines, until an empty one and the next date
    Tapbacks: Loved by Me                left out, as the indented replies that are repeated below a message

Left out and counted: events (a text behind the date), attachments (their paths) without words. From the exporter's
documents and tests.
"""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

from dialogpt.data.readers.chatlog import ChatLog, ChatTurn, ReadOptions, entries
from dialogpt.data.readers.text import TextFile
from dialogpt.errors import DataError

EXAMPLE = "May 17, 2022  5:29:42 PM, and below it a name and a text"
_DATE = re.compile(r"([A-Z][a-z]{2}) +(\d{1,2}), (\d{4}) +(\d{1,2}:\d\d:\d\d [AP]M)(?: \(Read by [^)]*\))?(.*)")
_NOTE = "This message responded to an earlier message."
_ATTACHMENT = re.compile(r"\S*\bAttachments/.*\.\w+", re.IGNORECASE)


def is_export(head: list[str]) -> bool:
    """Whether the file begins with a date in this form."""
    return _DATE.fullmatch(head[0].strip()) is not None


def read(file: TextFile, options: ReadOptions, dropped: Counter[str]) -> Iterator[ChatLog]:
    """Yield the chat; a file without a single message is a DataError."""
    found = entries((line for _, line in file.lines()), _begin, dropped)
    turns = [turn for (time_s, event), text in found for turn in _turn(time_s, event, text, dropped)]
    if not turns:
        raise DataError(f"{file.path}: no messages: no line begins with a date as in the example", EXAMPLE)
    turns.sort(key=lambda turn: turn.time_s or 0.0)
    yield ChatLog(turns, id=file.source, source=file.source)


def _begin(line: str) -> tuple[tuple[float, str], str] | None:
    if (found := _DATE.fullmatch(line.rstrip())) is None:
        return None
    try:
        time = datetime.strptime(" ".join(found.groups()[:4]), "%b %d %Y %I:%M:%S %p").replace(tzinfo=UTC)
    except ValueError:
        return None
    return (time.timestamp(), found[5].strip()), ""


def _turn(time_s: float, event: str, text: str, dropped: Counter[str]) -> Iterator[ChatTurn]:
    """The turn in a message, or nothing and a count."""
    _, _, below = text.partition("\n")
    name, _, rest = below.partition("\n")
    lines, media, repeated = [], False, False
    for line in rest.split("\n"):
        repeated = line.startswith("Tapbacks:") or (
            line.startswith("    ") and (repeated or _DATE.fullmatch(line.strip()) is not None)
        )
        is_attachment = _ATTACHMENT.fullmatch(line.strip()) is not None
        media = media or is_attachment
        if not (repeated or is_attachment or line.strip() == _NOTE):
            lines.append(line)
    words = "\n".join(lines).strip()
    if event:
        dropped["service message"] += 1
    elif not words:
        dropped["media" if media else "message without words"] += 1
    else:
        yield ChatTurn(words, name.strip(), time_s=time_s)
