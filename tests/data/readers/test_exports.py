"""Telegram Desktop's and DiscordChatExporter's JSON."""

import json
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dialogpt.data.readers import ReadOptions, TextFile
from dialogpt.data.readers.chatlog import ChatTurn
from dialogpt.data.readers.telegram import read as read_telegram
from dialogpt.errors import DataError

Read = Any


def telegram(id: int, text: Any, sender: str | None = "Аня", **more: Any) -> dict[str, Any]:
    return {"id": id, "type": "message", "date": "2021-01-01T10:00:00", "date_unixtime": str(1609495200 + id),
            "from": sender, "from_id": "user7", "text": text, "text_entities": [], **more}  # fmt: skip


CHAT = {
    "name": "Аня",
    "type": "personal_chat",
    "id": 42,
    "messages": [
        {"id": 1, "type": "service", "date": "2021-01-01T10:00:00", "actor": "Аня", "action": "phone_call", "text": ""},
        telegram(2, "Привет!"),
        telegram(3, ["see ", {"type": "link", "text": "https://a.b"}, {"type": "bold", "text": " now"}], "Bo"),
        telegram(4, "", photo="(File not included.)", media_type="sticker", sticker_emoji="😀"),
        telegram(5, "caption", photo="photos/1.jpg", reply_to_message_id=2),
        telegram(6, "not mine", forwarded_from="Somebody"),
        telegram(7, "nor this", forwarded_from=None),
        telegram(8, "gone", None, reply_to_message_id=3, reply_to_peer_id="channel1"),
    ],
}
TURNS = (
    ChatTurn("Привет!", "Аня", time_s=1609495202.0, id="2"),
    ChatTurn("see https://a.b now", "Bo", time_s=1609495203.0, id="3"),
    ChatTurn("caption", "Аня", time_s=1609495205.0, id="5", reply_to="2"),
    ChatTurn("gone", "user7", time_s=1609495208.0, id="8"),
)


def test_a_telegram_chat(read: Read) -> None:
    (chat,), dropped = read(json.dumps(CHAT, ensure_ascii=False, indent=1), file="result.json")
    assert (chat.id, chat.source, chat.turns) == ("result/42", "result", TURNS)
    assert dropped == {"service message": 1, "message without words": 1, "forwarded message": 2}


def test_a_telegram_chat_of_before_2021(read: Read) -> None:
    old = {**telegram(2, "hi", None), "from_id": 4389402929}
    del old["date_unixtime"]
    (chat,), _ = read(json.dumps({**CHAT, "messages": [old]}), file="result.json")
    assert chat.turns == (ChatTurn("hi", "4389402929", time_s=1609495200.0, id="2"),)


def test_a_telegram_account(read: Read) -> None:
    other = {"id": 9, "type": "saved_messages", "messages": [telegram(1, "note", date_unixtime="")]}
    export = {"about": "x", "personal_information": {}, "chats": {"about": "", "list": [CHAT, other]},
              "left_chats": {"list": [{**CHAT, "id": 43}]}}  # fmt: skip
    found, dropped = read(json.dumps(export))
    assert [chat.id for chat in found] == ["talk/42", "talk/9", "talk/43"]
    assert dropped["message of a bot"] == 0
    assert [turn.time_s for turn in found[1].turns] == [1609495200.0]


def test_a_telegram_accounts_chats_with_bots(read: Read) -> None:
    robot = {**CHAT, "name": "Botty", "type": "bot_chat"}
    export = json.dumps({"chats": {"list": [robot, CHAT]}})
    found, dropped = read(export)
    assert (len(found), dropped["message of a bot"]) == (1, len(CHAT["messages"]))
    assert len(read(export, speaker="Аня")[0]) == 1
    assert len(read(export, speaker="Botty")[0]) == 2
    assert len(read(json.dumps(robot))[0]) == 1  # it was exported alone


def test_a_long_chat_is_held_once(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(
        json.dumps({**CHAT, "messages": [telegram(i, "word " * 400) for i in range(2000)]}), encoding="utf-8"
    )
    tracemalloc.start()
    (log,) = read_telegram(TextFile(path), ReadOptions(), Counter())
    assert sum(len(turn.text) for turn in log.turns) == 4_000_000
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 1.6 * path.stat().st_size  # the file, and one message


def discord(id: int, content: str, name: str = "ليلى", kind: str = "Default", **more: Any) -> dict[str, Any]:
    author = {"id": "1", "name": name.lower(), "discriminator": "0000", "nickname": name, "isBot": name == "Botty"}
    return {"id": str(id), "type": kind, "timestamp": f"2021-01-05T18:16:{id:02}.123+00:00", "isPinned": False,
            "content": content, "author": author, "attachments": [], "embeds": [], **more}  # fmt: skip


CHANNEL = {
    "guild": {"id": "1", "name": "g"},
    "channel": {"id": "22", "type": "GuildTextChat", "name": "general"},
    "dateRange": {"after": None, "before": None},
    "messages": [
        discord(1, "hi @Bo"),
        discord(2, "Joined the server.", "Bo", "GuildMemberJoin"),
        discord(3, "beep", "Botty"),
        discord(4, "", attachments=[{"fileName": "a.png"}]),
        discord(5, "yo", "Bo", "Reply", reference={"messageId": "1", "channelId": "22", "guildId": "1"}),
    ],
    "messageCount": 5,
}


@pytest.mark.parametrize("backward", [False, True])
def test_a_discord_channel(read: Read, backward: bool) -> None:
    messages: Any = CHANNEL["messages"]
    (chat,), dropped = read(json.dumps({**CHANNEL, "messages": messages[::-1] if backward else messages}, indent=2))
    assert chat.id == "talk/22"
    assert [(turn.speaker, turn.text, turn.id, turn.reply_to) for turn in chat.turns] == [
        ("ليلى", "hi @Bo", "1", ""),
        ("Bo", "yo", "5", "1"),
    ]
    assert chat.turns[1].time_s - chat.turns[0].time_s == 4
    assert dropped == {"service message": 1, "message of a bot": 1, "message without words": 1}


@pytest.mark.parametrize("speaker", ["Botty", "botty"])
def test_a_bot_stays_when_it_is_the_wanted_speaker(read: Read, speaker: str) -> None:
    (chat,), dropped = read(json.dumps(CHANNEL), speaker=speaker)
    assert [turn.speaker for turn in chat.turns] == ["ليلى", speaker, "Bo"]
    assert "message of a bot" not in dropped


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("telegram", "{}", "no chat in it"),
        (
            "telegram",
            json.dumps({**CHAT, "messages": [{"id": "x"}]}),
            r"message 1 of chat 42: Expected `int`, got `str`.*\.id",
        ),
        ("telegram", json.dumps({"messages": [telegram(3, "x", date_unixtime="soon")]}), "message 3: its date"),
        ("telegram", '{\n"messages": [\n}', ":3: JSON is malformed"),
        ("telegram", json.dumps(CHAT)[:400], "truncated"),
        ("telegram", b'{"messages": [\n{"id": 1, "text": "\xe9"}]}', r":2: not UTF-8 \(byte 0xe9 at column 20\)"),
        ("discord", '{"guild": {}, "channel": {}}', "missing required field `messages`"),
        ("discord", json.dumps({**CHANNEL, "messages": [{**discord(1, "x"), "timestamp": "now"}]}), "1: its date"),
        ("discord", json.dumps(CHAT), r"messages\[0\]"),
    ],
)
def test_a_damaged_export_is_an_error(read: Read, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(content, name)
