"""WhatsApp's exports: stamps of every phone, day or month first, what is not text."""

import itertools
import logging
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dialogpt.data.readers import tidy
from dialogpt.errors import DataError

Read = Any
LRM, RLM, NNBSP = "\u200e", "\u200f", "\u202f"


def said(chat: Any) -> list[tuple[str, str]]:
    return [(turn.speaker, turn.text) for turn in chat.turns]


def times(chat: Any) -> list[str]:
    """The turns' times as text; the log's clock is days since year 1, not since 1970."""
    first_s = datetime(1970, 1, 1, tzinfo=UTC).toordinal() * 86400
    return [datetime.fromtimestamp(turn.time_s - first_s, UTC).isoformat(" ")[:19] for turn in chat.turns]


ANDROID = f"""\
12/31/20, 9:15{NNBSP}PM - Messages and calls are end-to-end encrypted. No one outside of this chat can read them.
12/31/20, 9:15{NNBSP}PM - Ann created group "Party: the chat"
12/31/20, 9:15{NNBSP}PM - Ann: Hello: everybody

second paragraph
12/31/20, 9:16{NNBSP}PM - Bo: <Media omitted>
12/31/20, 9:17{NNBSP}PM - Bo: IMG-20201231-WA0003.jpg (file attached)
look at this
12/31/20, 9:18{NNBSP}PM - Bo: DOC-20201231-WA0004.pdf (file attached)
1/1/21, 12:00{NNBSP}AM - \u202a+44 7700 900123\u202c: hi <This message was edited>
1/1/21, 12:01{NNBSP}AM - Bo: This message was deleted
1/1/21, 12:02{NNBSP}AM - Bo: null
1/1/21, 12:03{NNBSP}AM - Bo: you 💔 <3
"""
IOS = f"""\
{LRM}[31.12.20, 21:15:07] Party: {LRM}Messages and calls are end-to-end encrypted.
[31.12.20, 21:15:08] Ann: Hello
[31.12.20, 21:15:09] Ann{LRM}: there
{LRM}[31.12.20, 21:15:10] Bo: {LRM}image omitted
{LRM}[31.12.20, 21:15:11] Bo: {LRM}<attached: 00000012-PHOTO-2020-12-31-21-15-11.jpg>
{LRM}[31.12.20, 21:15:12] Bo: what a view {LRM}<attached: 00000013-PHOTO-2020-12-31-21-15-12.jpg>
[31.12.20, 21:15:13] Bo: fixed {LRM}<This message was edited>
{LRM}[31.12.20, 21:15:14] Bo: {LRM}This message was deleted.
{LRM}[31.12.20, 21:15:15] Party: {LRM}Ann added Cy
[01.01.21, 00:00:00] Cy: [12/31/20, 9:15:07 PM] was then
"""


def test_an_android_export(read: Read) -> None:
    (chat,), dropped = read(ANDROID, file="WhatsApp Chat with Bo.txt")
    assert chat.id == chat.source == "WhatsApp Chat with Bo"
    assert said(chat) == [
        ("Ann", "Hello: everybody\n\nsecond paragraph"),
        ("Bo", "look at this"),
        ("+44 7700 900123", "hi"),
        ("Bo", "you 💔 <3"),
    ]
    assert times(chat)[::2] == ["2020-12-31 21:15:00", "2021-01-01 00:00:00"]
    assert dropped == {"service message": 2, "media": 3, "deleted message": 1}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_an_ios_export(read: Read, end: str) -> None:
    (chat,), dropped = read(IOS.replace("\n", end))
    assert said(chat) == [
        ("Ann", "Hello"),
        ("Ann", "there"),
        ("Bo", "what a view "),
        ("Bo", "fixed"),
        ("Cy", "[12/31/20, 9:15:07 PM] was then"),
    ]
    assert times(chat)[-1] == "2021-01-01 00:00:00"
    assert dropped == {"service message": 2, "media": 2, "deleted message": 1}


@pytest.mark.parametrize(
    "stamp, time",
    [
        ("31/12/2020, 21:15 - ", "2020-12-31 21:15:00"),
        ("31/12/2020 21:15 - ", "2020-12-31 21:15:00"),
        ("31.12.20, 21:15 - ", "2020-12-31 21:15:00"),
        ("31-12-2020, 9.15 pm – ", "2020-12-31 21:15:00"),
        ("12/31/20, 12:05 AM - ", "2020-12-31 00:05:00"),
        ("12/31/20, 12:05 PM - ", "2020-12-31 12:05:00"),
        ("31/12/20 9:15 p.\u00a0m. - ", "2020-12-31 21:15:00"),
        ("31/12/20, 2:14 a.m. - ", "2020-12-31 02:14:00"),
        ("2020-12-31, 21:15 - ", "2020-12-31 21:15:00"),
        ("2020/12/31 下午9:15 - ", "2020-12-31 21:15:00"),
        ("2020. 12. 31. 오후 9:15 - ", "2020-12-31 21:15:00"),
        ("31.12.2020 klo 21.15 - ", "2020-12-31 21:15:00"),
        ("[31/12/20, 21:15:07] ", "2020-12-31 21:15:07"),
        ("[12/31/20, 9:15:07\u202fPM] ", "2020-12-31 21:15:07"),
        ("[2020/12/31 21:15:07] ", "2020-12-31 21:15:07"),
        (f"{RLM}[٣١{RLM}/١٢{RLM}/٢٠٢٠، ٩:١٥:٠٧ م] ", "2020-12-31 21:15:07"),
        (f"{RLM}٣١{RLM}/١٢{RLM}/٢٠٢٠, ٩:١٥ ص - ", "2020-12-31 09:15:00"),
        ("31/12/20, 9:15 אחה״צ - ", "2020-12-31 21:15:00"),
        ("31/12/16 21:15:07: ", "2016-12-31 21:15:07"),
        ("2020-12-31 21 h 15 - ", "2020-12-31 21:15:00"),
        (f"[۲۰۲۰/۱۲/۳۱،{RLM} ۲۱:۱۵:۰۷] ", "2020-12-31 21:15:07"),
        ("31/12/20, 9:15 अपराह्न - ", "2020-12-31 21:15:00"),
        ("31/12/20, 9:15 பிற்பகல் - ", "2020-12-31 21:15:00"),
        ("31/12/20، 9:15 د.ن - ", "2020-12-31 21:15:00"),
        ("[21:15, 31/12/2020] ", "2020-12-31 21:15:00"),
        ("[9:15 PM, 12/31/2020] ", "2020-12-31 21:15:00"),
        (f"[٩:١٥ م، ٣١{RLM}/١٢{RLM}/٢٠٢٠] ", "2020-12-31 21:15:00"),
    ],
)
def test_stamps_of_every_phone(read: Read, stamp: str, time: str) -> None:
    (chat,), dropped = read(f"{stamp}ليلى: أهلا\n{stamp}{RLM}سامي: 😀 да\n")
    assert said(chat) == [("ليلى", "أهلا"), ("سامي", "😀 да")]
    assert times(chat) == [time, time]
    assert not dropped


def test_one_person_is_one_speaker_with_and_without_marks(read: Read) -> None:
    names = ["Ann", "Ann\u200e", "\u200eAnn", "\u202aAnn\u202c", "\u2068Ann\u2069", "\u200f Ann \u200f"]
    (chat,), _ = read("".join(f"12/31/20, 9:15 PM - {name}: hi\n" for name in names))
    assert {turn.speaker for turn in chat.turns} == {"Ann"}


@pytest.mark.parametrize(
    "text, reason",
    [
        ("<Multimedia omitido>", "media"),
        ("<Medien ausgeschlossen>", "media"),
        ("<Без медиафайлов>", "media"),
        (f"{RLM}<تم استبعاد الوسائط>", "media"),
        ("<媒体省略>", "media"),
        ("image omitted", "media"),
        (f"{LRM}imagen omitida", "media"),
        (f"{LRM}Bild weggelassen", "media"),
        (f"{LRM}изображение отсутствует", "media"),
        (f"{LRM}画像は省略されました", "media"),
        (f"{LRM}presupuesto.pdf • {LRM}3 pages {LRM}document omitted", "media"),
        (f"presupuesto.pdf • {LRM}3 páginas {LRM}documento omitido", "media"),
        (f"تقرير.pdf • {LRM}٣ صفحات {LRM}تم استبعاد المستند", "media"),
        (f"{LRM}تم استبعاد المقطع الصوتي", "media"),
        (f"{RLM}لم يتم إدراج المقاطع الصوتية", "media"),
        (f"{RLM}تم حذف الملصقات", "media"),
        (f"تقرير.pdf • {RLM}٣ صفحات {RLM}لم يتم إدراج المستند", "media"),
        (f"{RLM}תמונה הושמטה", "media"),
        (f"{RLM}סרטון הווידאו הושמט", "media"),
        (f"{RLM}استیکر حذف شد", "media"),
        (f"{RLM}اسٹیکر نظرانداز", "media"),
        ("تمت مشاركة الموقع المباشر", "media"),
        ("تقرير.pdf (الملف مرفق)\nتقرير.pdf", "media"),
        ("location: https://maps.google.com/?q=24.7136,46.6753", "media"),
        ("الموقع: https://maps.google.com/?q=24.7136,46.6753", "media"),
        (f"{LRM}<adjunto: 00000001-AUDIO-2020-01-01.opus>", "media"),
        (f"{LRM}<المُرفق: 00000001-STICKER-2020-01-01.webp>", "media"),
        ("صورة.jpg (ملف مرفق)", "media"),
        ("PTT-20200101-WA0001.opus (qualcosa di nuovo)", "media"),
        ("Eliminaste este mensaje.", "deleted message"),
        ("Diese Nachricht wurde gelöscht.", "deleted message"),
        ("تم حذف هذه الرسالة", "deleted message"),
        ("Данное сообщение удалено", "deleted message"),
        (f"{LRM}POLL:\nWhere?\nOPTION: here (1 vote)", "service message"),
        ("POLL:\nWhere?\nOPTION: here (1 vote)\nOPTION: there (0 votes)", "service message"),
        ("استطلاع:\nوين نطلع؟\nالخيار: البحر (صوت واحد)\nالخيار: البر (٣ أصوات)", "service message"),
        ("لقد حذفت أنت هذه الرسالة", "deleted message"),
        ("מחקת את ההודעה הזו", "deleted message"),
        ("این پیام حذف شده است", "deleted message"),
        ("یہ میسج حذف کر دیا گیا ہے۔", "deleted message"),
        ("بانتظار هذه الرسالة", "service message"),
        ("Missed voice call", "service message"),
        ("", "message without words"),
        ("  ", "message without words"),
    ],
)
def test_what_is_not_text_is_counted(read: Read, text: str, reason: str) -> None:
    (chat,), dropped = read(
        f"12/31/20, 9:15 PM - Ann: hi\n12/31/20, 9:16 PM - Bo: {text}\n12/31/20, 9:17 PM - Ann: so\n"
    )
    assert said(chat) == [("Ann", "hi"), ("Ann", "so")]
    assert dropped == {reason: 1}


@pytest.mark.parametrize(
    "text",
    ["<3", "<sigh>", "the image was omitted", "I like file.txt (really)", "deleted", "a > b and c <d>", "12/31/20",
     "null and void", "https://a.b/c?d=1", "note: this: that", "x" * 500, "report.pdf • mine", "see: https://maps.google.com/",
     "well:\nthis\nand: that\nor: the other", "the price:\n50\nnote: with cake (and tea)"],
)  # fmt: skip
def test_what_people_write_stays(read: Read, text: str) -> None:
    (chat,), dropped = read(f"12/31/20, 9:15 PM - Ann: {text}\n")
    assert said(chat) == [("Ann", text)]
    assert not dropped


@pytest.mark.parametrize(
    "line",
    [
        'Ann changed the subject from "Trip" to "Trip: day 2"',
        "أنشأ أحمد المجموعة «السفر: صيف ٢٠٢٤»",
        "الرسائل والمكالمات مشفّرة بالكامل: لا أحد خارج هذه الدردشة يستطيع قراءتها.",
        "Ann left",
        "You changed the group description of a group with a very long name, and said: nothing more",
    ],
)
def test_the_services_own_lines_have_no_speaker(read: Read, line: str) -> None:
    (chat,), dropped = read(f"above\n12/31/20, 9:15 PM - {line}\nmore of it\n12/31/20, 9:15 PM - Ann: hi\n", "whatsapp")
    assert said(chat) == [("Ann", "hi")]
    assert dropped == {"line above the first message": 1, "service message": 1}


def chat(*dates: str, stamp: str = "{}, 21:15 - Ann: hi\n") -> str:
    return "".join(stamp.format(date) for date in dates)


@pytest.mark.parametrize(
    "dates, first, last",
    [
        (["1/2/20", "13/2/20"], "2020-02-01", "2020-02-13"),
        (["1/2/20", "1/13/20"], "2020-01-02", "2020-01-13"),
        (["1/12/20", "2/12/20", "1/1/21"], "2020-12-01", "2021-01-01"),  # no month first: the third goes back
        (["11/12/20", "12/1/20"], "2020-11-12", "2020-12-01"),
        (["01.02.20", "02.02.20"], "2020-02-01", "2020-02-02"),
        (["2020-02-01", "2020-02-13"], "2020-02-01", "2020-02-13"),
        (["29/2/20", "31/4/20", "1/3/20"], "2020-02-29", "2020-03-01"),  # a day that does not exist is no stamp
    ],
)
def test_the_order_of_day_and_month_is_decided_over_the_file(
    read: Read, dates: list[str], first: str, last: str
) -> None:
    (found,), _ = read(chat(*dates))
    assert (times(found)[0][:10], times(found)[-1][:10]) == (first, last)


@pytest.mark.parametrize(
    "stamp, days",
    [
        ("[{}" + RLM + "/٢" + RLM + "/١٤٤٥ هـ، ٩:١٥:٠٧ ص] ", ["٢٨", "٢٩", "٣٠"]),  # Safar, of the Islamic calendar
        ("[۱۴۰۲/۲/{}, ۲۱:۱۵:۰۷] ", ["۲۹", "۳۰", "۳۱"]),  # Ordibehesht, of the Persian one
    ],
)
def test_days_of_other_calendars_begin_messages(read: Read, stamp: str, days: list[str]) -> None:
    (found,), dropped = read("".join(f"{stamp.format(day)}ليلى: رسالة {day}\n" for day in days))
    assert said(found) == [("ليلى", f"رسالة {day}") for day in days]
    seconds = [turn.time_s for turn in found.turns]
    assert [after - before for before, after in itertools.pairwise(seconds)] == [86400, 86400]
    assert not dropped


def test_dates_that_are_no_days_are_named(read: Read, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        (found,), _ = read(chat("1/2/20", "13/2/20", "14/2/20"), date_order="mdy")
    assert len(found.turns) == 1
    assert "2 dates do not exist when read as mdy, such as 13/2/20 in line 2; lines that begin with them" in caplog.text


def test_an_order_that_stays_open_is_a_choice_that_is_logged(read: Read, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        (found,), _ = read(chat("1/2/20", "3/4/20"))
    assert times(found)[0][:10] == "2020-02-01"
    assert "read as dmy (--date-order changes it)" in caplog.text
    caplog.clear()
    (found,), _ = read(chat("1/2/20", "3/4/20", stamp="{}, 9:15 PM - Ann: hi\n"))
    assert times(found)[0][:10] == "2020-01-02"
    (found,), _ = read(chat("1/2/20", "3/4/20", stamp="{}، 9:15 م - Ann: hi\n"))
    assert times(found)[0] == "2020-02-01 21:15:00"  # who writes so has the day first
    caplog.clear()
    (found,), _ = read(chat("1/2/20", "3/4/20"), date_order="mdy")
    assert times(found)[0][:10] == "2020-01-02"
    (found,), _ = read(chat("1/2/20", "3/4/20"), date_order="ymd")
    assert times(found)[0][:10] == "2001-02-20"
    assert not caplog.text


def test_both_orders_in_one_file_are_an_error_with_both_lines(read: Read) -> None:
    with pytest.raises(DataError, match=r"both orders of day and month: 13/1/20 in line 1 and 1/13/20 in line 2"):
        read(chat("13/1/20", "1/13/20"))
    (found,), _ = read(chat("13/1/20", "1/13/20"), date_order="dmy")
    assert said(found) == [("Ann", "hi\n1/13/20, 21:15 - Ann: hi")]


@pytest.mark.parametrize(
    "later, day",
    [
        ("[14/4/20, 21:15:00] Bo: later\n", "2020-04-14"),  # another telephone
        ("2020-04-14 21:15 - Bo: later\n", "2020-04-14"),  # another version of the app
        ("[2020/04/14, 9:15:00 PM] Bo: later\n", "2020-04-14"),
    ],
)
def test_two_forms_of_stamps_in_one_file_both_begin_messages(
    read: Read, caplog: pytest.LogCaptureFixture, later: str, day: str
) -> None:
    with caplog.at_level(logging.WARNING):
        (found,), _ = read(chat("13/3/20") * 10 + later * 10)
    assert said(found) == [("Ann", "hi")] * 10 + [("Bo", "later")] * 10
    assert {time[:10] for time in times(found)} == {"2020-03-13", day}
    assert ("time stamps in several formats: 13/3/20, 21:15, [" in caplog.text) == later.startswith("[")


def test_deleted_messages_are_known_with_arabic_vowels(read: Read) -> None:
    (found,), dropped = read(chat("13/3/20") + "13/3/20, 21:15 - Ann: حذفتَ هذه الرسالة\n")
    assert said(found) == [("Ann", "hi")]
    assert dropped == {"deleted message": 1}


@pytest.mark.parametrize(
    "form, stamp",
    [("{}, 21:15 - Ann: hi\n", "14/4/20, 21:15:00"), ("[{}, 21:15:00] Ann: hi\n", "21:15, 14/4/2020")],
    ids=["of another telephone", "of WhatsApp Web"],
)
def test_a_chat_that_a_message_quotes_stays_in_it(read: Read, form: str, stamp: str) -> None:
    quote = f"[{stamp}] Bo: later\n"
    (found,), _ = read(chat("13/3/20", stamp=form) * 30 + quote)
    assert said(found)[-1] == ("Ann", f"hi\n{quote}".strip())
    assert len(found.turns) == 30


def test_a_line_of_direction_marks_is_read_once(read: Read) -> None:
    """Their number squared would take minutes."""
    ((chat,), _) = read(f"31/12/2020, 21:15 - Ann: a\n{LRM * 200_000}\n31/12/2020, 21:16 - Bo: b\n", "whatsapp")
    assert [(name, tidy(text)) for name, text in said(chat)] == [("Ann", "a"), ("Bo", "b")]


def test_a_file_without_stamps_is_an_error(read: Read) -> None:
    with pytest.raises(DataError, match="no line begins with a date and a time"):
        read("hello\n", "whatsapp")


WORDS = st.text(st.characters(codec="utf-8", categories=("L", "N", "So")), min_size=1, max_size=20)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(WORDS, st.lists(WORDS, min_size=1, max_size=3)), min_size=1, max_size=20), st.booleans())
def test_messages_of_any_words_come_back(read: Read, messages: list[tuple[str, list[str]]], ios: bool) -> None:
    stamp = "[13/05/21, 10:00:00] {}: {}\n" if ios else "13/05/21, 10:00 - {}: {}\n"
    export = "".join(stamp.format(f"N{name}", "w" + "\n".join(lines)) for name, lines in messages)
    (found,), dropped = read(export, "whatsapp")
    assert said(found) == [(tidy(f"N{name}"), "w" + "\n".join(lines)) for name, lines in messages]
    assert not dropped
