"""LINE's text exports, made on a phone, in any language -> a chat log.

    [LINE] Chat history with Ann      a head of two lines
    2024/01/15(月)                    a day, or 2024/01/15（一）, 2026/1/30周五, Mon, 1/15/2024, 2024.01.15 Monday
    10:21<tab>Ann<tab>Hello           or 午後3:21, 3:21 PM; further lines follow below, the message then in quotes
    10:25<tab>Ann joined the group.   or with a second tab: a line of LINE itself

Left out and counted: those lines, messages that were unsent, calls (☎), and placeholders of media ([Sticker], [写真]).
A day is the line above a message; elsewhere it is text. Computers put a blank between names and words: that is an
error. LINE does not document this: it is what several public readers of such files agree on, and the examples in their
tests.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date
from itertools import chain, pairwise

from dialogpt.data.readers.chatlog import ChatLog, ChatTurn, ReadOptions, entries
from dialogpt.data.readers.clock import hour_of_day
from dialogpt.data.readers.text import TextFile, tidy
from dialogpt.errors import DataError

_YEAR_FIRST = re.compile(r"(\d{4})([/.])(\d{1,2})\2(\d{1,2})\s?(?:[(（][^()（）\d]{1,12}[)）]|[^\W\d_]{2,12})?")
_WEEKDAY_FIRST = re.compile(r"[^\W\d_][^\d/\t]{1,14}[\s,](\d{1,2})/(\d{1,2})/(\d{4})")
_STAMP = re.compile(r"(?:([^\W\d_][^\d:\t]{0,9}?)\s?)?(\d{1,2}):(\d{2})(?:[^\S\t]?([^\W\d_][^\d:\t]{0,9}))?\t")
_BY_BLANKS = re.compile(r"\d{1,2}:\d{2} \S+ \S")
# [Sticker], [スタンプ]; with one letter, as [笑], a person typed it
_PLACEHOLDER = re.compile(r"\[[^\[\]\n]{2,30}\]")
_PLACE = re.compile(
    r"\[(?:位置情報|アルバム|ノート|投票|ファイル|連絡先|イベント|Location|Albums?|Notes?|Polls?|File|Contact|位置|位置資訊"
    r"|相簿|记事本|記事本|文件|檔案|null)\] ?\S.*",
    re.DOTALL,
)
_UNSENT = re.compile(
    "(?:.* )?(?:unsent a message|[Mm]essage unsent)[.]?|(?:.+が)?メッセージの送信を取り消しました。?"
    "|.*(?:已收回訊息|收回了訊息|撤回了一条消息)。?"
)
_EMOJI = "(emoji)"  # stands for a line of LINE's own


def read(file: TextFile, options: ReadOptions, dropped: Counter[str]) -> Iterator[ChatLog]:
    """Yield the chat; a file without messages, or one written on a computer, is a DataError."""
    order = _order(file) if options.date_order == "auto" else options.date_order
    yield ChatLog(_turns(file, order, dropped), id=file.source, source=file.source)


def is_export(head: Iterable[str]) -> bool:
    """Whether a day with a message below it is among the first lines; names may also be followed by blanks."""
    return any(
        _is_day(line) and (_STAMP.match(after) or (line[4:5] == "." and _BY_BLANKS.match(after)))
        for _, (line, after) in zip(range(50), pairwise(head), strict=False)
    )


def _is_day(line: str) -> bool:
    return bool(_YEAR_FIRST.fullmatch(tidy(line)) or _WEEKDAY_FIRST.fullmatch(tidy(line)))


def _order(file: TextFile) -> str:
    """The order of month and day where a weekday is first, dmy or mdy; DataError for a file that cannot be read."""
    order, stamps, by_blanks = "mdy", 0, 0
    for _, line in file.lines(on_read=lambda _: None):
        if _STAMP.match(line):
            stamps += 1
        elif _BY_BLANKS.match(line):
            by_blanks += 1
        elif (found := _WEEKDAY_FIRST.fullmatch(tidy(line))) and int(found[1]) > 12:
            order = "dmy"
    if not stamps and by_blanks:
        raise DataError(
            f"{file.path}: LINE's export from a computer, which does not say where a name ends and the words begin",
            "export the chat on a phone: its file has tabs between them",
        )
    if not stamps:
        raise DataError(f"{file.path}: no messages: no line begins with a time and a tab", "10:21<tab>Ann<tab>Hello")
    return order


def _day_s(line: str, order: str) -> float | None:
    """The day that a line is alone, in seconds, or None."""
    line = tidy(line)
    if found := _YEAR_FIRST.fullmatch(line):
        year, month, day = int(found[1]), int(found[3]), int(found[4])
    elif found := _WEEKDAY_FIRST.fullmatch(line):
        first, second, year = map(int, found.groups())
        month, day = (second, first) if order == "dmy" else (first, second)
    else:
        return None
    try:
        return date(year, month, day).toordinal() * 86400.0
    except ValueError:
        return None


def _turns(file: TextFile, order: str, dropped: Counter[str]) -> Iterator[ChatTurn]:
    day_s = 0.0

    def without_days() -> Iterator[str]:
        nonlocal day_s
        for line, after in pairwise(chain((line for _, line in file.lines()), [""])):
            is_day = not _STAMP.match(line) and _STAMP.match(after)
            if is_day and (found := _day_s(line, order)) is not None:
                day_s = found
            else:
                yield line

    def begin(line: str) -> tuple[float, str] | None:
        if not (stamp := _STAMP.match(line)):
            return None
        hour = hour_of_day(int(stamp[2]), stamp[1] or stamp[4] or "")
        return day_s + hour * 3600 + int(stamp[3]) * 60, line[stamp.end() :]

    for time_s, body in entries(without_days(), begin, dropped):
        yield from _message(body, time_s, dropped)


def _message(body: str, time_s: float, dropped: Counter[str]) -> Iterator[ChatTurn]:
    """The turn in a message (`Name<tab>text`, without its time), or nothing and a count."""
    name, tab, text = body.partition("\t")
    text = text.strip()
    if text.startswith('"') and ("\n" in body or text.count('"') % 2):  # of a message of several lines, perhaps cut off
        text = text.removeprefix('"').removesuffix('"').strip()
    unsent = _UNSENT.fullmatch(text if tab else tidy(body))
    if unsent or not tab or not tidy(name):
        dropped["deleted message" if unsent else "service message"] += 1
    elif text.startswith(("☎", "ⓘ")):
        dropped["service message"] += 1
    elif _PLACEHOLDER.fullmatch(text) or _PLACE.fullmatch(text):
        dropped["media"] += 1
    elif not (words := text.replace(_EMOJI, " ")).strip():
        dropped["message without words"] += 1
    else:
        yield ChatTurn(words, name, time_s=time_s)
