"""Slack's exports: names, marks, threads, bots."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from dialogpt.data import ImportConfig
from dialogpt.data.importing import import_files
from dialogpt.data.readers.chatlog import ChatTurn
from dialogpt.data.readers.slack import as_read
from dialogpt.errors import DataError
from dialogpt.session import read_sessions

Read = Any
START_S = 1704441600


def message(second: int, text: str, user: str = "U1", **more: Any) -> dict[str, Any]:
    return {"client_msg_id": "x", "type": "message", "user": user, "text": text, "ts": f"{START_S + second}.000100",
            "team": "T", "blocks": [], **more}  # fmt: skip


ROOT = f"{START_S + 10}.000100"
DAY = [
    message(0, "<@U1> has joined the channel", subtype="channel_join"),
    message(30, "later, in the channel", "U2", user_profile={"display_name": "", "real_name": "Bo B."}),
    message(10, "Lunch, <@U2>? See <https://a.b|this> &amp; that", thread_ts=ROOT, reply_count=2),
    message(9000, "yes", "U2", thread_ts=ROOT, parent_user_id="U1"),
    message(9500, "12:00 then", "U1", thread_ts=ROOT),
    message(40, "beep", "U9", bot_id="B1", subtype="bot_message", username="Botty"),
    message(50, "", files=[{"name": "a.png"}]),
    message(60, "This message was deleted.", "USLACKBOT", subtype="tombstone"),
    message(70, "to an older one", thread_ts="1704000000.000100"),
]
USERS = [
    {"id": "U1", "name": "layla", "profile": {"display_name": "ليلى", "real_name": "Layla L."}},
    {"id": "U3", "name": "cy"},
]


def test_a_day_of_a_channel(tmp_path: Path, read: Read) -> None:
    (channel, lunch, older), dropped = read(json.dumps(DAY, indent=4), file="2024-01-05.json")
    assert (channel.id, channel.source) == (f"{tmp_path.name}/2024-01-05", tmp_path.name)
    assert channel.turns == (
        ChatTurn("Lunch, @U2? See this & that", "U1", time_s=START_S + 10.0001),
        ChatTurn("later, in the channel", "Bo B.", time_s=START_S + 30.0001),
    )
    assert [(turn.text, turn.learn, turn.time_s) for turn in lunch.turns] == [
        ("Lunch, @U2? See this & that", False, None), ("yes", True, None), ("12:00 then", True, None),
    ]  # fmt: skip
    assert [turn.text for turn in older.turns] == ["to an older one"]
    assert dropped == {"service message": 1, "message of a bot": 1, "message without words": 1, "deleted message": 1}


def test_a_bot_that_is_wanted_stays(read: Read) -> None:
    (channel, *_), dropped = read(json.dumps(DAY), "slack", speaker="Botty")
    assert [turn.speaker for turn in channel.turns] == ["U1", "Bo B.", "Botty"]
    assert "message of a bot" not in dropped


def test_names_are_those_beside_the_channel(tmp_path: Path) -> None:
    (tmp_path / "general").mkdir()
    (tmp_path / "general" / "2024-01-05.json").write_text(json.dumps(DAY), encoding="utf-8")
    (tmp_path / "users.json").write_text(json.dumps(USERS), encoding="utf-8")
    import_files(ImportConfig(files=(tmp_path / "general" / "2024-01-05.json",), out=tmp_path / "out"))
    found = list(read_sessions(tmp_path / "out"))
    assert [(session.id, [turn.speaker for turn in session.turns]) for session in found] == [
        ("general/2024-01-05/0", ["ليلى", "Bo B."]),
        (f"general/2024-01-05/{ROOT}/0", ["ليلى", "U2", "ليلى"]),
    ]


@pytest.mark.parametrize("archive", [False, True])
def test_a_talk_and_a_thread_go_on_after_midnight(tmp_path: Path, archive: bool) -> None:
    days = {
        "general/2024-01-05.json": json.dumps([message(0, "who is still up?", thread_ts=f"{START_S}.000100")]),
        "general/2024-01-06.json": json.dumps([message(60, "me", "U2"), message(90, "good", thread_ts=ROOT)]),
        "general/2024-01-07.json": "[]",
        "general/2024-01-08.json": json.dumps([message(120, "me too", "U3", thread_ts=f"{START_S}.000100")]),
        "random/2024-01-05.json": json.dumps([message(9, "ha"), message(10, "ho", "U2")]),
    }
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name, content in days.items():
            file.writestr(name, content)
        if not archive:
            file.extractall(tmp_path)
    files = (path,) if archive else tuple(tmp_path / name for name in days)
    import_files(ImportConfig(files=files, out=tmp_path / "out"))
    found = [(session.id, [turn.text for turn in session.turns]) for session in read_sessions(tmp_path / "out")]
    assert found == [
        ("general/2024-01-05/0", ["who is still up?", "me"]),
        (f"general/2024-01-05/{START_S}.000100/0", ["who is still up?", "me too"]),
        ("random/2024-01-05/0", ["ha", "ho"]),
    ]


def test_files_called_after_days_that_are_not_slacks_are_read_alone(tmp_path: Path) -> None:
    files = tuple(tmp_path / f"2024-01-0{day}.json" for day in (1, 2, 3))
    for file, content in zip(files, ("", json.dumps(DAY), json.dumps([{"turns": ["Hi", "Hello"]}])), strict=True):
        file.write_text(content, encoding="utf-8")
    manifest = import_files(ImportConfig(files=files, out=tmp_path / "out"))
    assert (manifest.counts["sessions"], manifest.dropped["empty file"]) == (3, 1)


@pytest.mark.parametrize(
    "text, shown",
    [
        ("<@U3> <@U7|old> <@U8>", "@cy @old @U8"),
        ("<#C1|general> <#C2>", "#general #C2"),
        ("<!here> <!subteam^S1|@team> <!subteam^S1> <!date^1^{date}|Feb 18>", "@here @team @subteam Feb 18"),
        ("<https://a.b?c=1&amp;d=2> <mailto:a@b.c|a@b.c>", "https://a.b?c=1&d=2 a@b.c"),
        ("1 &lt; 2 &amp;&amp; x -&gt; y &amp;lt;", "1 < 2 && x -> y &lt;"),
    ],
)
def test_marks_are_what_people_read(text: str, shown: str) -> None:
    assert as_read(text, {"U3": "cy"}) == shown


@pytest.mark.parametrize(
    "content, where",
    [
        ("{}", "Expected `array`"),
        ('[{"type": "message"}]', "missing required field `ts`"),
        (json.dumps([{**DAY[0], "ts": "noon"}]), "message noon: its time"),
        (json.dumps(DAY, indent=4)[:500], "truncated"),
    ],
)
def test_a_damaged_export_is_an_error(read: Read, content: str, where: str) -> None:
    with pytest.raises(DataError, match=where):
        read(content, "slack")


def test_damaged_names_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "general").mkdir()
    (tmp_path / "general" / "a.json").write_text(json.dumps(DAY), encoding="utf-8")
    (tmp_path / "users.json").write_text("[{]", encoding="utf-8")
    with pytest.raises(DataError, match=r"users\.json"):
        import_files(ImportConfig(files=(tmp_path / "general" / "a.json",), out=tmp_path / "out"))


def test_a_day_without_messages_is_empty(read: Read) -> None:
    assert read("[]")[0] == []
