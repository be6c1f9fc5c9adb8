"""Google Chat's and Skype's JSON."""

import json
from typing import Any

import pytest

from dialogpt.data.readers.chatlog import ChatTurn
from dialogpt.data.readers.skype import as_read
from dialogpt.errors import DataError

Read = Any


def google(number: int, text: str | None = None, name: str = "ليلى", topic: str = "", **more: Any) -> dict[str, Any]:
    said = {} if text is None else {"text": text}
    creator = {"name": name, "email": "a@b.c", "user_type": "Bot" if name == "Botty" else "Human"}
    return {"creator": creator, "created_date": f"Thursday, November 3, 2016 at 11:59:{number:02}\u202fAM UTC", **said,
            "topic_id": topic or f"t{number}", "message_id": f"m{number}", **more}  # fmt: skip


GOOGLE = {
    "messages": [
        google(1, "Hi"), google(2, "Lunch?", "Bo", "t2"), google(3, "no"), google(4, "yes", topic="t2"),
        google(5, attached_files=[{"export_name": "File-a.png"}]), google(6), google(7, "beep", "Botty"),
    ]
}  # fmt: skip


@pytest.mark.parametrize("indent", [None, 2])
def test_google_chat(read: Read, indent: int | None) -> None:
    (chat,), dropped = read(json.dumps(GOOGLE, indent=indent), file="messages.json")
    assert chat.id.endswith("/messages")
    assert chat.turns[0] == ChatTurn("Hi", "ليلى", time_s=1478174341.0, id="m1")
    assert [(turn.text, turn.speaker, turn.reply_to) for turn in chat.turns[1:]] == [
        ("Lunch?", "Bo", ""), ("no", "ليلى", ""), ("yes", "ليلى", "m2"),
    ]  # fmt: skip
    assert dropped == {"media": 1, "message without words": 1, "message of a bot": 1}
    assert len(read(json.dumps(GOOGLE), speaker="Botty")[0][0].turns) == 5


def test_google_chats_dates_in_another_language(read: Read, caplog: pytest.LogCaptureFixture) -> None:
    (chat,), _ = read(json.dumps({"messages": [google(1, "Hola", created_date="jueves, 3 de noviembre de 2016")]}))
    assert chat.turns[0].time_s is None
    assert "dates cannot be read, so conversations are not cut at silences: jueves, 3 de noviembre" in caplog.text


def skype(second: int, content: str, sender: str = "8:live:bo", kind: str = "RichText", **more: Any) -> dict[str, Any]:
    return {"id": "1", "displayName": None, "originalarrivaltime": f"2020-01-01T10:00:{second:02}.1230000Z",
            "messagetype": kind, "version": 1, "content": content, "conversationid": "8:x", "from": sender,
            "properties": None, "amsreferences": None, **more}  # fmt: skip


def only(message: dict[str, Any]) -> str:
    return json.dumps({"conversations": [{"id": "8:x", "MessageList": [message]}]})


SKYPE = {
    "userId": "8:ann",
    "exportDate": "2025-01-01T10:00",
    "conversations": [
        {"id": "8:live:bo", "displayName": "Bo", "MessageList": [
            skype(9, "<URIObject uri=\"x\">a.png</URIObject>", kind="RichText/UriObject"),
            skype(8, "<partlist/>", kind="Event/Call"),
            skype(7, "<topicupdate/>", kind="ThreadActivity/TopicUpdate"),
            skype(6, "", "8:ann"),
            skype(5, "beep", "28:concierge"),
            skype(3, "\u200fأهلا", "8:ann"),
            skype(2, "see <a href=\"https://a.b\">this</a> &lt;3", displayName="Bo B."),
        ]},
        {"id": "8:cy", "displayName": "Cy", "MessageList": []},
    ],
}  # fmt: skip


@pytest.mark.parametrize("indent", [None, 2])
def test_skype(read: Read, indent: int | None) -> None:
    (chat, empty), dropped = read(json.dumps(SKYPE, indent=indent), file="messages.json")
    assert (chat.id, empty.id, empty.turns) == ("messages/8:live:bo", "messages/8:cy", ())
    assert chat.turns == (
        ChatTurn("see this <3", "Bo B.", time_s=1577872802.123),
        ChatTurn("\u200fأهلا", "ann", time_s=1577872803.123),
    )
    assert dropped == {"media": 1, "service message": 2, "message without words": 1, "message of a bot": 1}


@pytest.mark.parametrize(
    "content, shown",
    [
        ('<ss type="smile">:)</ss> <at id="8:bo">Bo</at> <b raw_pre="*">so</b>', ":) Bo so"),
        ('<quote author="bo" messageid="1"><legacyquote>[1] Bo: </legacyquote>Hi<legacyquote>\n\n&lt;&lt;&lt; '
         "</legacyquote></quote>yes", " yes"),
        ('better<e_m ts="1" a="ann" t="61"></e_m>', "better"),
        ("1 &lt; 2 &amp; a &gt; b, I&apos;m", "1 < 2 & a > b, I'm"),
    ],
)  # fmt: skip
def test_skypes_marks_are_what_people_read(content: str, shown: str) -> None:
    assert as_read(content) == shown


@pytest.mark.parametrize(
    "name, content, where",
    [
        ("googlechat", "{}", "missing required field `messages`"),
        ("googlechat", json.dumps(GOOGLE)[:300], "truncated"),
        ("skype", '{"conversations": [{"id": "8:x"}]}', "missing required field `MessageList`"),
        ("skype", only(skype(1, "a", originalarrivaltime="")), "message 1 of 8:x: its date"),
        ("skype", only({"from": 3}), "message 1 of 8:x: .*from"),
    ],
)  # fmt: skip
def test_a_damaged_export_is_an_error(read: Read, name: str, content: str, where: str) -> None:
    with pytest.raises(DataError, match=where):
        read(content, name)
