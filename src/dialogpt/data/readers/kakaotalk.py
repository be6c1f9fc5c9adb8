"""KakaoTalk's exports, in Korean and English -> a chat log.

    2023년 1월 2일 오후 1:23, 홍길동 : 안녕     Android; above some messages is a line of the time alone
    2023. 1. 2. 오후 1:23, 홍길동 : 안녕        iOS, with a line for each day
    Jan 2, 2023 at 1:23 PM, Ann : Hi           in English, or January 2, 2023, 1:23 PM, Ann : Hi
    [홍길동] [오후 1:23] 안녕                   Windows, below ------- 2023년 1월 2일 월요일 -------
    2023-01-02 13:23:45,"홍길동","안녕"         macOS, below Date,User,Message

Lines without a time belong to the message above them, except KakaoTalk's own (people join, leave). Left out
and counted: those, deleted messages, calls, payments, and placeholders of media (사진, 이모티콘, Photo). Kakao
does not document this: it is what several public readers of such files agree on, and the examples in their tests.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from typing import NamedTuple

from dialogpt.data.readers.chatlog import ChatLog, ChatTurn, ReadOptions, entries
from dialogpt.data.readers.clock import hour_of_day
from dialogpt.data.readers.text import TextFile, tidy
from dialogpt.errors import DataError

HEADER = "Date,User,Message"
_DATE = r"(?:(\d{4})[년.]\s?(\d{1,2})[월.]\s?(\d{1,2})[일.]|([A-Z][a-z]{2,8})\.?\s(\d{1,2}),\s(\d{4}))"
_CLOCK = r"(?:(오전|오후|AM|PM)\s)?(\d{1,2}):(\d{2})(?:\s?([AaPp]\.?[Mm]\.?))?"
_STAMP = re.compile(rf"{_DATE}(?:,|\sat)?\s{_CLOCK}(?:, ?|: |\s*$)")
_DAY = re.compile(rf"(-{{5,}} )?(?:[A-Z][a-z]+day, )?{_DATE}(?:\s[월화수목금토일]요일)?(?: -{{5,}})?\s*")
_WEEKDAY = re.compile("[A-Z][a-z]+day, |요일")
_WINDOWS = re.compile(rf"\[([^\n]+?)\] \[{_CLOCK}\] ?")
_ROW = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d(?::\d\d)?,")
_NOTICE = re.compile(
    r".+님[이을] ?.*(?:들어왔습니다|나갔습니다|초대했습니다|내보냈습니다)\.?(?:운영정책.*)?"
    r"|운영정책을 위반한 메시지로 .*|채팅방 관리자가 메시지를 가렸습니다\.?|메시지가 삭제되었습니다\.?"
)
_DELETED = re.compile(
    r"(?:삭제된 메시지입니다|(?:이 )?메시지[가는] 삭제되었습니다|채팅방 관리자가 메시지를 가렸습니다)\.?"
)
NOTICE_LENGTH = 500  # the pattern takes time quadratic in a line's length
_MEDIA = re.compile(
    r"사진(?: \d+장)?|동영상(?: \d+개)?|\(?이모티콘\)?|음성 ?메시지|파일: .+\.\w{1,5}|Photos?(?: \d+)?|Videos?"
    r"|\(?Emoticons?\)?|Voice (?:Note|Message)|File: .+\.\w{1,5}|\S+\.(?:jpe?g|png|gif|webp|mp4|mov|m4a)"
)
_SERVICE = re.compile(  # calls, and money that is sent
    r"(?:보이스톡|페이스톡|그룹콜) (?:해요|취소|부재중|종료|\d{1,2}:\d\d(?::\d\d)?)\.?"
    r"|(?:라이브톡|보이스룸) ?(?:시작|종료).*|\d[\d,]*원(?:을 받으세요\.?| 받기 완료!.*)",
    re.DOTALL,
)
_EMOTICON = re.compile(r"\((?:이모티콘|Emoticon)\)\s*")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def read(file: TextFile, options: ReadOptions, dropped: Counter[str]) -> Iterator[ChatLog]:
    """Yield the chat; a file without messages, or an invalid row of a CSV, is a DataError."""
    table = tidy(next((line for line in file.head() if line.strip()), "")) == HEADER
    turns = _rows(file, dropped) if table else _turns(file, dropped)
    yield ChatLog(turns, id=file.source, source=file.source)


def is_export(head: Sequence[str]) -> bool:
    """Whether a message, or a day in dashes, is among the first lines."""
    if tidy(head[0]) == HEADER:
        return any(map(_ROW.match, head[1:2]))
    return any(
        ((found := _WINDOWS.match(line)) and (found[2] or found[5]))
        or ((day := _DAY.fullmatch(line)) and day[1])
        or ((stamp := _STAMP.match(line)) and " : " in line[stamp.end() :])
        for line in head[:30]
    )


def _day_s(fields: Sequence[str | None]) -> float | None:
    """The day in seconds of the six fields of a date, or None if there is no such day."""
    year, month, day = fields[:3]
    if year is None:
        name, day, year = fields[3:]
        month = str(_MONTHS.index(name[:3].lower()) + 1) if name and name[:3].lower() in _MONTHS else "0"
    try:
        return date(int(year or 0), int(month or 0), int(day or 0)).toordinal() * 86400.0
    except ValueError:
        return None


def _clock_s(fields: Sequence[str | None]) -> float:
    """The time of a day in seconds: what is before the hour, hour, minute, what is after it."""
    before, hour, minute, after = fields
    return hour_of_day(int(hour or 0), before or after or "") * 3600.0 + int(minute or 0) * 60


def _turns(file: TextFile, dropped: Counter[str]) -> Iterator[ChatTurn]:
    """The turns of a text export; DataError when it has no message."""
    messages = 0
    for begun, text in entries((line for _, line in file.lines()), _Lines().begin, dropped):
        messages += bool(begun.name)
        yield from _message(begun.name, text, begun.time_s, dropped)
    if not messages:
        raise DataError(f"{file.path}: no messages: no line looks like KakaoTalk's", "[홍길동] [오후 1:23] 안녕")


class _Begun(NamedTuple):
    """What a line begins: a message, or, without a name, a line of KakaoTalk itself or (without words) a day."""

    time_s: float
    name: str = ""


class _Lines:
    """Reads lines one after the other; the first message decides whether phones' or Windows' lines begin messages."""

    def __init__(self) -> None:
        self._form: re.Pattern[str] | None = None
        self._day_s = 0.0
        self._last_s: float | None = None

    def begin(self, line: str) -> tuple[_Begun, str] | None:
        """What the line begins and the words in it, or None if it continues the message above."""
        if found := self._read(line, self._last_s):
            self._last_s = found[0].time_s
        return found

    def _read(self, line: str, last_s: float | None) -> tuple[_Begun, str] | None:
        if self._form is not _WINDOWS and (stamp := _STAMP.match(line)):
            if (day_s := _day_s(stamp.group(1, 2, 3, 4, 5, 6))) is None:
                return None
            self._form = _STAMP
            before, colon, words = line[stamp.end() :].partition(" : ")
            time_s = day_s + _clock_s(stamp.group(7, 8, 9, 10))
            return (_Begun(time_s, before), words) if colon else (_Begun(time_s), before)
        if self._form is not _STAMP and (stamp := _WINDOWS.match(line)):
            self._form = _WINDOWS
            return _Begun(self._day_s + _clock_s(stamp.group(2, 3, 4, 5)), stamp[1]), line[stamp.end() :]
        if (day := _DAY.fullmatch(line)) and (day[1] or _WEEKDAY.search(line)):
            day_s = _day_s(day.group(2, 3, 4, 5, 6, 7))
            if day_s is not None and (last_s is None or day_s > last_s):  # else a message names it
                self._day_s = day_s
                return _Begun(day_s), ""
        notice = last_s is not None and len(line) <= NOTICE_LENGTH and _NOTICE.fullmatch(line)
        return (_Begun(last_s or 0.0), line) if notice else None


def _rows(file: TextFile, dropped: Counter[str]) -> Iterator[ChatTurn]:
    """The turns of a CSV."""
    rows = csv.reader(line + "\n" for _, line in file.lines())
    for row in rows:
        if not any(row) or ",".join(row) == HEADER:
            continue
        try:
            when, name, text = row
            time_s = datetime.fromisoformat(when.strip()).replace(tzinfo=UTC).timestamp()
        except ValueError as error:
            raise DataError(f"{file.path}:{rows.line_num}: not a row of Date,User,Message: {error}", HEADER) from error
        of_kakao = text.startswith(f"{name}님") and len(text) <= NOTICE_LENGTH and _NOTICE.fullmatch(text.strip())
        yield from _message("" if of_kakao else name, text, time_s, dropped)


def _message(name: str, text: str, time_s: float, dropped: Counter[str]) -> Iterator[ChatTurn]:
    """The turn in a message, or nothing and a count; nothing at all if a day begins."""
    text = text.strip()
    if _DELETED.fullmatch(text):
        dropped["deleted message"] += 1
    elif not tidy(name) or _SERVICE.fullmatch(text):
        if text:
            dropped["service message"] += 1
    elif _MEDIA.fullmatch(text):
        dropped["media"] += 1
    elif not (words := _EMOTICON.sub("", text)):
        dropped["message without words"] += 1
    else:
        yield ChatTurn(words, name, time_s=time_s)
