"""IRC logs of irssi, WeeChat, HexChat, ZNC, mIRC, EnergyMech and the like -> a chat log.

    21:15 <@ann> hello                        irssi; below `--- Log opened` and `--- Day changed Fri Jan 05 2024`
    2024-01-05 21:15:07<tab>@ann<tab>hello    WeeChat
    Jan 05 21:15:07 <ann><tab>hello           HexChat; below `**** BEGIN LOGGING AT Fri Jan  5 21:15:07 2024`
    [21:15:07] <ann> hello                    ZNC, EnergyMech, mIRC; `Session Start: Fri Jan 05 21:15:07 2024`

What somebody does (`* ann waves`) is a turn, *waves*. Joins and other events are left out and counted. Days that no
line tells are counted by the clock.
"""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

from dialogpt.data.readers.chatlog import ChatLog, ChatTurn, ReadOptions
from dialogpt.data.readers.text import TextFile
from dialogpt.errors import DataError

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAY_S = 86_400
EXAMPLE = "[21:15:07] <ann> hello"
_LINE = re.compile(
    r"(?:(?P<date>\d{4}-\d\d-\d\d)[ T]|(?P<month>[A-Za-z]{3}) +(?P<day>\d\d?) )?"
    r"\[?(?:(?P<inner>\d{4}-\d\d-\d\d)[ T])?(?P<hour>[01]?\d|2[0-3]):(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d))?\]?"
    r"(?P<gap>\t| +)(?P<rest>.*)"
)
_SAID = re.compile(r"<[~&@%+ ]?(?P<name>[^\s<>]+)>[\t ](?P<text>.*)")
_DONE = re.compile(r"\* ?(?P<name>[^\s*]+) (?P<text>.*)")
_TABBED = re.compile(r"[~&@%+ ]?(?P<name>[^\t]*)\t(?P<text>.*)")
_EVENT = re.compile(r"(?:is now known as|sets mode|has (?:joined|left|quit)|was kicked|change[sd] (?:the )?topic)\b")
_SERVICE = ("--", "-->", "<--", "=!=", "*", "-!-", "***", "")  # in the place of WeeChat's names
_OPENING = re.compile(r"(?:---|\*\*\*\*|Session (?:Start|Time|Close):) ?.*", re.IGNORECASE)
_DAY = re.compile(r"\b([A-Za-z]{3})[a-z]* +(\d\d?)\b.*?\b(\d{4})$")


def is_export(head: list[str]) -> bool:
    """Whether the file begins like a log: with what somebody says or does, most lines with a time."""
    lines = [line for line in head[:50] if not _OPENING.match(line)]
    found = [_message(line) for line in lines]
    return any(found) and 2 * sum(_LINE.match(line) is not None for line in lines) >= len(lines)


def read(file: TextFile, options: ReadOptions, dropped: Counter[str]) -> Iterator[ChatLog]:
    """Yield the channel; a file without a single message is a DataError."""
    turns = list(_turns(file, dropped))
    if not turns:
        raise DataError(f"{file.path}: no messages: no line looks like an IRC log's", EXAMPLE)
    yield ChatLog(turns, id=file.source, source=file.source)


def _turns(file: TextFile, dropped: Counter[str]) -> Iterator[ChatTurn]:
    clock = _Clock()
    for _, line in file.lines():
        if not line.strip():
            continue
        if (begun := _LINE.match(line)) is None:
            if _OPENING.match(line):
                clock.open(line)
            dropped["service message" if _OPENING.match(line) else "line that is no message"] += 1
            continue
        time_s = clock.read(begun)
        if (said := _message(line)) is None:
            dropped["service message"] += 1
        elif not said[1].strip():
            dropped["message without words"] += 1
        else:
            yield ChatTurn(said[1], said[0], time_s=time_s)


def _message(line: str) -> tuple[str, str] | None:
    """Who says what in a line; None for another line, and for events."""
    if (begun := _LINE.match(line)) is None:
        return None
    rest = begun["rest"]
    if said := _SAID.match(rest):
        return said["name"], said["text"]
    if begun["gap"] == "\t" and begun["date"] and (said := _TABBED.match(rest)):  # WeeChat
        name = said["name"].strip()
        if name not in _SERVICE:
            return name, said["text"]
        rest = f"{name} {said['text']}"
    done = _DONE.match(rest)
    if done is None or done["name"].endswith(":") or _EVENT.match(done["text"]):
        return None
    return done["name"], f"*{done['text'].strip()}*"


class _Clock:
    """The time of each line, in seconds on a clock of its own: days are told, or begin when the time goes back."""

    def __init__(self) -> None:
        self._day, self._last, self._year = 0, 0, 2000

    def open(self, line: str) -> None:
        """A line that may tell the day; else it is another one."""
        told = 0
        if found := _DAY.search(line.strip()):
            told, self._year = _date(found[3], found[1], found[2]), int(found[3])
        self._day, self._last = told or self._day + 1, 0

    def read(self, begun: re.Match[str]) -> float:
        hour, minute, second = (int(begun[name] or 0) for name in ("hour", "minute", "second"))
        now = 3600 * hour + 60 * minute + second
        if date := begun["date"] or begun["inner"]:
            self._day = _date(*date.split("-")) or self._day
        elif begun["month"] and (told := _date(self._year, begun["month"], begun["day"])):
            if told < self._day - 180:  # New Year has passed
                self._year += 1
                told = _date(self._year, begun["month"], begun["day"])
            self._day = told
        elif now < self._last - 3600:  # not by an hour, as clocks are put back
            self._day += 1
        self._last = now
        return float(self._day * DAY_S + now)


def _date(year: int | str, month: str, day: int | str) -> int:
    """The days since 1970; 0 if that is no date."""
    number = int(month) if month.isdecimal() else MONTHS.index(month.lower()) + 1 if month.lower() in MONTHS else 0
    try:
        return int(datetime(int(year), number, int(day), tzinfo=UTC).timestamp()) // DAY_S
    except ValueError:
        return 0
