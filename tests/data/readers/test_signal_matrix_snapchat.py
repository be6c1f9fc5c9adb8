"""Chats of Signal, Matrix and Snapchat."""

import json
from typing import Any

import pytest

from dialogpt.errors import DataError
from dialogpt.session import Session

Read = Any


def said(session: Session) -> list[tuple[str, str]]:
    return [(turn.speaker, turn.text) for turn in session.turns]


def signal(body: str, sender: str = "Me", minute: int = 15, **fields: Any) -> dict[str, Any]:
    return {"date": f"2024-01-05T21:{minute}:07", "sender": sender, "body": f"{body}  ", "quote": "", "sticker": None,
            "reactions": [], "attachments": [], **fields}  # fmt: skip


def test_signal(read: Read) -> None:
    messages = [
        signal("hi", minute=10), signal("صباح الخير", "Bo", 11, quote="\n\n> hi\n\n"),
        signal("", attachments=[{"name": "a.jpg", "path": "media/a.jpg"}]), signal("", sticker={"emoji": "x"}),
        signal("gone", deleted=True), signal("Outgoing voice call (accepted, 3m 2s)"), signal("x", call=True),
        signal(""),
        signal("look", "Bo", 12, attachments=[{"name": "a.jpg", "path": "media/a.jpg"}]),
    ]  # fmt: skip
    (session,), dropped = read("\n".join(map(json.dumps, messages)), file="data.json")
    assert said(session) == [("Me", "hi"), ("Bo", "صباح الخير"), ("Bo", "look")]
    assert session.turns[1].time_s - session.turns[0].time_s == 60
    assert dropped == {"media": 2, "deleted message": 1, "service message": 2, "message without words": 1}
    with pytest.raises(DataError, match=r"talk\.txt:1: its date cannot be read"):
        read(json.dumps(signal("hi", date="yesterday")))


def event(body: str | None, sender: str = "ann", id: str = "", **content: Any) -> dict[str, Any]:
    event.time = getattr(event, "time", 0) + 60_000  # type: ignore[attr-defined]
    content = {"body": body, "msgtype": "m.text", **content} if body is not None else content
    return {"type": "m.room.message", "sender": f"@{sender}:example.org", "origin_server_ts": event.time,  # type: ignore[attr-defined]
            "event_id": id, "content": content}  # fmt: skip


def room(*events: dict[str, Any]) -> str:
    return json.dumps({"room_name": "Tea", "exported_by": "Ann", "messages": events}, indent=2)


def test_matrix(read: Read) -> None:
    member = {**event(None, membership="join", displayname="Ann A."), "type": "m.room.member",
              "state_key": "@ann:example.org"}  # fmt: skip
    answer = {"m.relates_to": {"m.in_reply_to": {"event_id": "$1"}}}
    edit = {"m.relates_to": {"rel_type": "m.replace", "event_id": "$2"}, "m.new_content": {"body": "well", "x": 1}}
    events = [
        member, event("hi", id="$1"), event("> <@ann:example.org> hi\n> there\n\nwel", "bo", "$2", **answer),
        event("waves", msgtype="m.emote", id="$3"), event("a.jpg", msgtype="m.image"), event(None),
        event("beep", "bot", msgtype="m.notice"), {**event(None), "type": "m.room.encrypted"},
        {**event(None, topic="x"), "type": "m.room.topic"}, event(" "), event("* well", "bo", "$4", **edit),
        event("> not a reply\n\nyes", "bo", "$5"),
    ]  # fmt: skip
    (session,), dropped = read(room(*events))
    assert said(session) == [("Ann A.", "hi"), ("bo", "well"), ("Ann A.", "*waves*"), ("bo", "> not a reply\n\nyes")]
    assert [(turn.id, turn.reply_to) for turn in session.turns[:2]] == [("$1", ""), ("$2", "$1")]
    assert session.id == "talk/Tea"
    assert dropped == {
        "service message": 2, "media": 1, "deleted message": 1, "message of a bot": 1, "message without words": 1,
        "message that could not be decrypted": 1,
    }  # fmt: skip
    (session,), _ = read(room(event("hi"), event("beep", "bot", msgtype="m.notice")), speaker="bot")
    assert said(session) == [("ann", "hi"), ("bot", "beep")]


def snap(text: str | None, sender: str = "bo", minute: int = 0, kind: str = "TEXT", **fields: Any) -> dict[str, Any]:
    time_ms = {"Created(microseconds)": 1_704_489_300_000 + 60_000 * minute}
    return {"From": sender, "Media Type": kind, "Created": f"2024-01-05 21:{15 + minute}:00 UTC", "Content": text,
            "Conversation Title": None, "IsSender": sender == "ann", "IsSaved": True, **time_ms, **fields}  # fmt: skip


@pytest.mark.parametrize("time", [{}, {"Created(microseconds)": 0}])
def test_snapchat(read: Read, time: Any) -> None:
    chats = {
        "bo": [snap("you &amp; me", minute=3, **time), snap(None, minute=2), snap(None, "ann", 1, "MEDIA"),
               snap("صباح الخير", "ann", 1, **time), snap("hi", **time)],
        "group-1": [snap("x", kind="STATUSPARTICIPANTREMOVED")],
    }  # fmt: skip
    (session, empty), dropped = read(json.dumps(chats), file="chat_history.json")
    assert said(session) == [("bo", "hi"), ("ann", "صباح الخير"), ("bo", "you & me")]
    assert [turn.time_s for turn in session.turns] == [1_704_489_300 + 60 * minute for minute in (0, 1, 3)]
    assert (session.id, empty.turns) == ("chat_history/bo", ())
    assert dropped == {"media": 1, "service message": 1, "message that was not saved": 1}
