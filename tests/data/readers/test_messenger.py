"""Messenger's and Instagram's JSON: the two forms, their garbled letters, what is no talk."""

import json
from typing import Any

import pytest

from dialogpt.data.readers.chatlog import ChatTurn
from dialogpt.errors import DataError

Read = Any


def garbled(text: str) -> str:
    return text.encode().decode("latin-1")


def message(second: int, content: str | None = None, sender: str = "ليلى", **more: Any) -> dict[str, Any]:
    said = {} if content is None else {"content": garbled(content)}
    return {"sender_name": garbled(sender), "timestamp_ms": 1_500_000_000_000 + second * 1000, **said,
            "is_geoblocked_for_viewer": False, **more}  # fmt: skip


CHAT = {
    "participants": [{"name": garbled("ليلى")}, {"name": "Bo"}],
    "messages": [  # from the newest to the oldest
        message(10, "You reacted ❤️ to a message"),
        message(9, "Reacted 😂 to your message "),
        message(8, "Liked a message"),
        message(7, "Bo sent an attachment.", "Bo", share={"link": "https://a.b"}),
        message(7, "You sent an attachment."),
        message(4, "Somebody sent an attachment."),
        message(6, "ليلى called you.", call_duration=0, type="Call"),
        message(5, "", is_unsent=True),
        message(4, photos=[{"uri": "a.jpg"}]),
        message(4, "look!", photos=[{"uri": "b.jpg"}], type="Generic"),
        message(3),
        message(2, "café 😀", "Bo", type="Generic", share=None),
        message(2, "أهلًا", reactions=[{"reaction": garbled("👍"), "actor": "Bo"}]),
    ],
    "title": "Bo",
    "thread_path": "inbox/bo_1",
    "magic_words": [],
}
TURNS = (
    ChatTurn("أهلًا", "ليلى", time_s=1500000002.0),
    ChatTurn("café 😀", "Bo", time_s=1500000002.0),
    ChatTurn("look!", "ليلى", time_s=1500000004.0),
    ChatTurn("Somebody sent an attachment.", "ليلى", time_s=1500000004.0),
)
DROPPED = {"service message": 4, "media": 3, "deleted message": 1, "message without words": 1}


@pytest.mark.parametrize(
    "said, reason",
    [
        ("A aimé un message", "service message"),
        ("A réagi ❤️ à votre message ", "service message"),
        ("Le gustó un mensaje", "service message"),
        ("Reaccionó con 😂 a tu mensaje", "service message"),
        ("Curtiu uma mensagem", "service message"),
        ("Reagiu com 👍 à sua mensagem", "service message"),
        ("Bir mesajı beğendi", "service message"),
        ("Bo hat einen Anhang gesendet.", "media"),
    ],
)
def test_what_other_languages_have_for_likes_and_media(read: Read, said: str, reason: str) -> None:
    ours, theirs = message(1, said, "Bo"), message(2, f"{said} - why?", "Bo")
    (chat,), dropped = read(json.dumps({**CHAT, "messages": [ours, theirs]}))
    assert ([turn.text for turn in chat.turns], dropped) == ([f"{said} - why?"], {reason: 1})


@pytest.mark.parametrize("indent", [None, 2])
def test_a_chat_is_put_right(read: Read, indent: int | None) -> None:
    (chat,), dropped = read(json.dumps(CHAT, indent=indent), file="message_1.json")
    assert (chat.id, chat.source, chat.turns) == ("inbox/bo_1/message_1", "message_1", TURNS)
    assert dropped == DROPPED


def test_text_that_is_right_stays(read: Read) -> None:
    told = {**CHAT, "messages": [{**message(1), "content": text} for text in ("naïve", "ليلى", "Ã", "a\u0080b")]}
    (chat,), _ = read(json.dumps(told, ensure_ascii=False))
    assert [turn.text for turn in chat.turns] == ["naïve", "ليلى", "Ã", "a\u0080b"]


@pytest.mark.parametrize("backward", [False, True])
def test_an_encrypted_chat(read: Read, backward: bool) -> None:
    def said(second: int, text: str, kind: str = "text", **more: Any) -> dict[str, Any]:
        return {"isUnsent": False, "media": [], "reactions": [], "senderName": "Søs", "text": text,
                "timestamp": 1_500_000_000_000 + second * 1000, "type": kind, **more}  # fmt: skip

    messages = [said(1, "hej é"), said(1, "du"), said(2, "gone", isUnsent=True), said(3, "x", "placeholder"),
                said(4, "", "media", media=[{"uri": "a.jpg"}])]  # fmt: skip
    export = {"participants": ["Søs"], "threadName": "Søs_7", "messages": messages[::-1] if backward else messages}
    (chat,), dropped = read(json.dumps(export, ensure_ascii=False), file="Søs_7.json")
    assert chat.turns == (ChatTurn("hej é", "Søs", time_s=1500000001.0), ChatTurn("du", "Søs", time_s=1500000001.0))
    assert (chat.id, dropped) == ("Søs_7/Søs_7", {"deleted message": 1, "service message": 1, "media": 1})


@pytest.mark.parametrize(
    "messages, error",
    [
        ('[{"sender_name": "A", "content": "x"}]', "message 1 has neither timestamp_ms"),
        ('{"a": 1}', "Expected `array`"),
    ],
)
def test_a_damaged_export_is_named(read: Read, messages: str, error: str) -> None:
    with pytest.raises(DataError, match=rf"talk\.txt.*{error}"):
        read(f'{{"messages": {messages}}}', "messenger")
