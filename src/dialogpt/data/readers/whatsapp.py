"""WhatsApp's text exports, from Android and iOS, in any language -> a chat log.

    12/31/20, 9:15 PM - Ann: Hello           Android; lines without a stamp belong to the message above them
    [31.12.20, 21:15:07] Ann: Hello          iOS; U+200E, or in languages from right to left U+200F, opens what WhatsApp
                                             itself has written
    [9:15 PM, 12/31/2020] Ann: Hello         copied out of WhatsApp Web
    ‏٣١‏/١٢‏/٢٠٢٠، ٩:١٥ م - ليلى: أهلا          any digits, with direction marks anywhere

Left out and counted: the service's own lines, deleted messages, placeholders of media (captions stay), and what stands
above the first message. The order of day and month is decided over the whole file. Years may be those of the Islamic
or the Persian calendar (1445, 1402), as iPhones write them.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from dialogpt.data.readers import whatsapp_phrases as phrases
from dialogpt.data.readers.chatlog import ChatLog, ChatTurn, ReadOptions, entries
from dialogpt.data.readers.clock import hour_of_day
from dialogpt.data.readers.text import TextFile, tidy
from dialogpt.errors import DataError

log = logging.getLogger(__name__)
_M = "[\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]*+"  # direction marks
_STAMP = re.compile(
    rf"""{_M}(?P<open>\[?){_M}
    (\d{{1,4}}){_M}([./-]){_M}\s?(\d{{1,2}}){_M}\3{_M}\s?(\d{{1,4}}){_M}\.?   # the date
    (?:[,،]{_M}\s*|\s+){_M}
    (?:([^\W\d_][^\d:\]\[]{{0,8}}?)\s*)?                                    # klo, às, 下午
    {_M}(\d{{1,2}})(?:[:.]|\s?h\s?)(\d{{2}})(?:[:.](\d{{2}}))?{_M}             # 21 h 15 in Canada
    (?:\s?([^\W\d_][^\d:\]\[]{{0,10}}?))?{_M}                               # PM, p. m., ص
    (?P<close>\]|\s[-–—]|:)\s""",
    re.VERBOSE,
)
_COPIED = re.compile(r"\[(\d{1,2}[:.]\d{2}[^,،\]\[]{0,12})([,،]\s)([\d./\u200e\u200f-]{6,20})\] ")
FEW = 20  # of so many dates or stamps one of another form may stand in a message that quotes a chat
OWN = "\u200e\u200f"  # iOS opens with one of them what WhatsApp itself has written, by the direction of its language
OTHER_CALENDARS = range(1300, 1600)
_VOWELS = re.compile("[\u064b-\u0652]")  # of Arabic, which some versions write
_TAG = re.compile(r"<[^<>\n]+ [^<>\n]+>$")
_ATTACHED_TAG = re.compile(f"[{OWN}]?<[^<>:：\n]{{2,30}}\\s?[:：][^<>\n]+\\.\\w{{2,5}}>\\s*$")
_ATTACHED_FILE = re.compile(r"([^(]*\.\w{2,5}) \(([^()]{2,40})\)\s*$")
_DOCUMENT = re.compile(f"[^\n]+\\.\\w{{2,5}} • [{OWN}][^\n]+[{OWN}][^\n]+$")  # report.pdf • 3 pages document omitted
_PLACE = re.compile(r"[^\W\d_]{3,20}: https://maps\.google\.com/\?q=[-\d.,]+$")  # location: ...
_POLL = re.compile(r"[^\n]{3,20}:\n[^\n]+\n([^:\n]{3,20}): [^\n]+\)(?:\n\1: [^\n]+\))+$")  # POLL:, a question, options
_OWN_FILE = re.compile(r"(?:IMG|VID|AUD|PTT|STK|DOC)-\d{8}-WA\d+")
_EDITED = re.compile(
    f"\\s*(?:[{OWN}]<[^<>:\n]+>|<(?:This message was edited|Se editó este mensaje|Mensaje editado|Mensagem editada"
    "|Diese Nachricht wurde bearbeitet|Ce message a été modifié|Questo messaggio è stato modificato"
    "|Сообщение изменено|Данное сообщение изменено|تم تعديل هذه الرسالة|تم تعديل الرسالة|ההודעה נערכה)\\.?>)\\s*$"
)


class Layout(NamedTuple):
    """How the stamps of a file are to be read: what may close them, and dmy, mdy or ymd."""

    closes: frozenset[str]
    order: str


class Stamps:
    """Reads stamps at the beginnings of lines; the last date is remembered, since most lines have the same."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._fields: tuple[str, ...] = ()
        self._day_s = 0

    def read(self, line: str) -> tuple[float, str] | None:
        """Time in seconds and what follows the stamp, or None when the line has no stamp of this file's form."""
        stamp = _stamp(line)
        if stamp is None or stamp[0] not in self.layout.closes:
            return None
        found = stamp[1]
        if (fields := found.group(2, 4, 5)) != self._fields:
            day = as_day(fields, self.layout.order)
            if day is None:
                return None
            self._fields, self._day_s = fields, day * 86400
        minute, second = int(found[8]), int(found[9] or 0)
        hour = hour_of_day(int(found[7]), found[10] or found[6] or "")
        return self._day_s + hour * 3600 + minute * 60 + second, line[found.end() :]


def read(file: TextFile, options: ReadOptions, dropped: Counter[str]) -> Iterator[ChatLog]:
    """Yield the chat; a file without stamps, or with both orders of day and month, is a DataError."""
    layout = find_layout(file, options.date_order)
    yield ChatLog(_turns(file, Stamps(layout), dropped), id=file.source, source=file.source)


def is_export(head: Iterable[str]) -> bool:
    """Whether a stamp is among the first lines."""
    return any(_stamp(line) for _, line in zip(range(10), head, strict=False))


def _stamp(line: str) -> tuple[str, re.Match[str]] | None:
    """What closes the stamp that a line begins with, and the stamp; one with the time first is turned round in it."""
    copied = _COPIED.match(line)  # a form of its own, since people paste such lines into their messages
    found = _STAMP.match(f"[{copied[3]}{copied[2]}{copied[1]}] " if copied else line)
    return found and ("web" if copied else found["close"].strip(), found)


def find_layout(file: TextFile, date_order: str) -> Layout:
    """Read all stamps and say what form they have; `date_order` is dmy, mdy, ymd or auto.

    Another telephone, or another version, may have written a part of the file, with stamps that close in another way; a
    few of such are of a chat that a message quotes.
    """
    forms: dict[str, _Form] = {}
    for number, line in file.lines(on_read=lambda _: None):
        if stamp := _stamp(line):
            close, found = stamp
            if close not in forms:
                forms[close] = _Form(tidy(found[0]).rstrip(" -–—"))
            forms[close].add(found, number)
    if not forms:
        raise DataError(
            f"{file.path}: no line begins with a date and a time", "such as `12/31/20, 9:15 PM - Ann: Hello`"
        )
    most = max(form.stamps for form in forms.values())
    used = {close: form for close, form in forms.items() if form.stamps * FEW > most}
    if len(used) > 1:
        log.warning(
            "import %s: time stamps in several formats: %s", file.path, ", ".join(f.example for f in used.values())
        )
    dates = {fields: number for form in used.values() for fields, number in form.dates.items()}
    order = _order(file, dates) if date_order == "auto" else date_order
    if order is None:
        form = next(iter(used.values()))
        order = "mdy" if any(form.halves for form in used.values()) and "/" in form.example else "dmy"
        log.warning(
            "import %s: dates such as %s may be day or month first; they are read as %s (--date-order changes it)",
            file.path, form.example, order,
        )  # fmt: skip
    if wrong := [fields for fields in dates if as_day(fields, order) is None]:
        log.warning(
            "import %s: %d dates do not exist when read as %s, such as %s in line %d; lines that begin with them are "
            "read as text of the message above", file.path, len(wrong), order, "/".join(wrong[0]), dates[wrong[0]],
        )  # fmt: skip
    return Layout(frozenset(used), order)


@dataclass(slots=True)
class _Form:
    """The stamps that close in one way: the first of them, their dates with their first lines, their number."""

    example: str
    dates: dict[tuple[str, ...], int] = field(default_factory=dict)
    halves: bool = False  # AM and PM; who writes others has the day first
    stamps: int = 0

    def add(self, found: re.Match[str], number: int) -> None:
        self.dates.setdefault(found.group(2, 4, 5), number)
        self.halves = self.halves or bool(found[10] and found[10].isascii())
        self.stamps += 1


def as_day(fields: tuple[str, ...], order: str) -> int | None:
    """The number of the day with these three numbers, or None when there is none such; a year may come first anyhow.

    Days of the Islamic and the Persian calendar are numbered as if each month had 31.
    """
    numbers = dict(zip("ymd" if _year_first(fields) else order, map(int, fields), strict=True))
    year, month, day = numbers["y"] + (2000 if numbers["y"] < 100 else 0), numbers["m"], numbers["d"]
    if year in OTHER_CALENDARS and 1 <= month <= 12 and 1 <= day <= 31:
        return (year * 12 + month) * 31 + day
    try:
        return date(year, month, day).toordinal()
    except ValueError:
        return None


def _year_first(fields: tuple[str, ...]) -> bool:
    return int(fields[0]) > 31


def _order(file: TextFile, dates: dict[tuple[str, ...], int]) -> str | None:
    """The order of day, month and year that the dates (with their first lines) prove, or None."""
    dates = {fields: number for fields, number in dates.items() if not _year_first(fields)}
    if not dates:
        return "ymd"
    proofs = {"dmy": [d for d in dates if 12 < int(d[0]) <= 31], "mdy": [d for d in dates if 12 < int(d[1]) <= 31]}
    more, less = sorted(proofs, key=lambda order: -len(proofs[order]))
    if len(proofs[less]) * FEW > len(proofs[more]):  # a few may stand in messages that quote a chat
        places = " and ".join(f"{'/'.join(found[0])} in line {dates[found[0]]}" for found in proofs.values())
        raise DataError(
            f"{file.path}: dates in both orders of day and month: {places}",
            "split the file, or choose with --date-order",
        )
    if proofs[more]:
        return more
    backward = {order: _backward(dates, order) for order in ("dmy", "mdy")}
    if backward["dmy"] == backward["mdy"]:
        return None
    return min(backward, key=lambda order: backward[order])


def _backward(dates: Iterable[tuple[str, ...]], order: str) -> int:
    """How often a date is before the one above it: hardly ever, when they are read in the right order."""
    days = [day for fields in dates if (day := as_day(fields, order))]
    return sum(after < before for before, after in pairwise(days))


def _turns(file: TextFile, stamps: Stamps, dropped: Counter[str]) -> Iterator[ChatTurn]:
    own = OWN if "]" in stamps.layout.closes else OWN[0]  # U+200F may open what a person has pasted
    for time_s, body in entries((line for _, line in file.lines()), stamps.read, dropped):
        yield from _message(body, time_s, own, dropped)


def _message(body: str, time_s: float, own: str, dropped: Counter[str]) -> Iterator[ChatTurn]:
    """The turn in a message (`Name: text`, without its stamp), or nothing and a count."""
    before, colon, text = body.partition(": ")
    name = _name(before) if colon else ""
    if not name:
        dropped["service message"] += 1
        return
    words, what = _words(text, own)
    if words and not words.isspace():
        yield ChatTurn(words, name, time_s=time_s)
    else:
        dropped[what] += 1


@lru_cache(1024)
def _name(before: str) -> str:
    """The name that stands before a colon, or "" when that is the beginning of one of the service's sentences."""
    name = tidy(before)
    quoted = name.count('"') % 2 or name.count("“") != name.count("”") or name.count("«") != name.count("»")
    return "" if len(name) > 60 or quoted or "\n" in before or _is_notice(name.casefold()) else name


def _is_notice(folded: str) -> bool:
    return folded.startswith(phrases.NOTICES)


def _words(text: str, own: str) -> tuple[str, str]:
    """What the person has written, and if that is nothing, what the message was instead.

    A message that one of the characters `own` opens is not the person's.
    """
    if text.rstrip().endswith(">"):
        text = _EDITED.sub("", text) or text
        if attached := _ATTACHED_TAG.search(text):
            return text[: attached.start()], "media"
    if _DOCUMENT.match(text) or _PLACE.match(text):
        return "", "media"
    if _POLL.match(text):
        return "", "service message"
    mark = max(map(text.rfind, OWN))
    if mark >= 0 and ((placeholder := _plain(text[mark:])) in phrases.MEDIA or placeholder.endswith("omitted")):
        return text[:mark], "media"
    first, _, rest = text.partition("\n")
    if (file := _ATTACHED_FILE.match(first)) and (_OWN_FILE.search(first) or file[2].casefold() in phrases.ATTACHED):
        return "" if tidy(rest) == tidy(file[1]) else rest, "media"  # below a document its name stands again
    if len(first) > 80 and first[0] not in OWN:  # no placeholder is that long
        return text, ""
    plain = _plain(first)
    if _TAG.match(plain) or plain in phrases.MEDIA_TAGS:  # Android has left media out; a caption is on the next lines
        return rest, "media"
    if not rest and plain in phrases.DELETED:
        return "", "deleted message"
    if not rest and plain in phrases.MEDIA:
        return "", "media"
    if text.startswith(tuple(own)) or _is_notice(plain):
        return "", "service message"
    return text, "message without words"


def _plain(line: str) -> str:
    return _VOWELS.sub("", tidy(line)).casefold().rstrip(".۔。")
