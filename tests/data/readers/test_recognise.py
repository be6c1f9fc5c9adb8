"""Which format a file is, by its first lines."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from dialogpt.data import SourceFormat
from dialogpt.data.readers import FORMATS, TextFile, recognise
from dialogpt.errors import DataError

TELEGRAM: Any = {"name": "A", "type": "personal_chat", "id": 1,
                 "messages": [{"id": 1, "type": "message", "from": "A", "from_id": "user1", "text": "hi"}]}  # fmt: skip
DISCORD: Any = {"guild": {"id": "1"}, "channel": {"id": "2"}, "messages": [{"id": "1", "author": {}}]}
MESSENGER: Any = {"participants": [], "messages": [{"sender_name": "Bo", "timestamp_ms": 1, "content": "hi"}]}
SIGNAL = {"date": "2024-01-05T21:15:07", "sender": "Me", "body": "Hi", "quote": "", "sticker": None, "reactions": [],
          "attachments": []}  # fmt: skip
MATRIX: Any = {"room_name": "Tea", "topic": "", "exported_by": "Ann", "messages": [{"type": "m.room.message"}]}
SNAPCHAT = {"bo": [{"From": "bo", "Media Type": "TEXT", "Created": "x", "Content": "Hi", "IsSender": False}]}

EXAMPLES = [
    ("a", '{"turns": ["a", "b"]}\n{"turns": []}\n', "jsonl"),
    ("a.txt", '{"messages": [{"role": "user", "content": "\\"guild\\": hello"}]}', "jsonl"),
    ("a.json", '[\n {"conversations": [{"from": "human", "value": "x"}]}\n]', "jsonl"),
    ("a.json", '[{"turns": ["a", "b"]}]', "jsonl"),
    ("a", '{"text": "no conversation, but JSON"}', "jsonl"),
    ("result.json", json.dumps(TELEGRAM), "telegram"),
    ("result.json", json.dumps(TELEGRAM, indent=1), "telegram"),
    ("result.json", json.dumps({"about": "x", "chats": {"list": [TELEGRAM]}}, indent=1), "telegram"),
    ("result.json", json.dumps({"about": "x", "chats": {"list": []}}), "telegram"),
    ("chat.json", json.dumps(DISCORD), "discord"),
    ("chat.json", json.dumps(DISCORD, indent=2), "discord"),
    ("chat.json", json.dumps({**DISCORD, "messages": DISCORD["messages"] * 9000}), "discord"),
    ("a.txt", "12/31/20, 9:15 PM - Ann: hi\n", "whatsapp"),
    ("a.txt", "\ufeff\u200e[31.12.20, 21:15:07] Ann: hi\n", "whatsapp"),
    ("a", "t3_1,t1_2\t1.0 a EOS 1.0 b\t1.0 c\n", "original"),
    ("conversations.json", json.dumps([{"title": "x", "mapping": {}, "current_node": None}]), "chatgpt"),
    ("conversations.json", '[\n {\n  "title": "x",\n  "mapping": {\n   "n": {\n    "children": [', "chatgpt"),
    ("conversations.json", '[{"title": "x", "mapping": {"n": {"message": {"content": {"content_type": "text", "parts": '
     f'["{"y" * 2_000_000}', "chatgpt"),  # a long text before all that tells more
    ("conversations.json", json.dumps([{"uuid": "c", "chat_messages": []}]), "claude"),
    ("conversations.json", '[\n {\n  "uuid": "c",\n  "chat_messages": [\n', "claude"),
    ("a.jsonl", '{"message_tree_id": "t", "tree_state": "growing", "prompt": {}}\n', "openassistant"),
    ("a.jsonl", '{"message_id": "m", "parent_id": null, "text": "a", "role": "prompter", "message_tree_id": "m"}\n',
     "openassistant"),
    ("a.jsonl", '{"prompt": "Hi", "completion": "Hello", "message_tree": 3}\n', "jsonl"),
    ("messages.json", json.dumps({"messages": [{"creator": {}, "created_date": "x", "text": "a"}]}), "googlechat"),
    ("messages.json", '{\n "messages": [\n  {\n   "creator": {},\n   "created_date": "x"', "googlechat"),
    ("messages.json", json.dumps({"userId": "8:a", "exportDate": "x", "conversations": []}), "skype"),
    ("messages.json", '{\n "userId": "8:a",\n "exportDate": "x",\n "conversations": [', "skype"),
    ("2024-01-05.json", '[{"type": "message", "ts": "1.0", "user": "U1", "text": "hi"}]', "slack"),
    ("2024-01-05.json", '[\n    {\n        "type": "message",\n        "text": "a",\n        "ts": "1.0"', "slack"),
    ("a.json", '[\n {"ts": 1, "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]}]', "jsonl"),
    ("a.json", '[{"turns": ["a", "b"], "type": "chat", "ts": 1}]', "jsonl"),
    ("a.txt", "[LINE] Chat history with Ann\nSaved on: x\n\nFri, 1/30/2026\n09:15\tAnn\tHi\n", "line"),
    ("a.tsv", "2026/01/30(金)\n09:15\tAnn\tHi\n09:16\tBo\tHi\n", "line"),
    ("a.txt", "2023. 1. 2. 오후 1:23: 김철수님이 들어왔습니다.\n2023. 1. 2. 오후 1:23, Bo : Hi\n", "kakaotalk"),
    ("a.txt", "2023. 1. 2. 오후 1:23 - Bo: Hi : there\n", "whatsapp"),
    ("a.txt", "[2023. 1. 2. 오후 1:23:45] Bo: Hi\n", "whatsapp"),
    ("a.txt", "--------------- 2023년 1월 2일 월요일 ---------------\nBo님이 들어왔습니다.\n", "kakaotalk"),
    ("a.csv", "Date,User,Message\n2023-01-02 13:23:45,Bo,Hi\n", "kakaotalk"),
    ("a.csv", "Date,User,Message\n1,Bo,Hi\n", "script"),
    ("a.tsv", "09:15\tHi\n09:16\tHello\n09:15\tBye\n", "script"),
    ("a", "0.0 a\t1.0 c\n", "original"),
    ("a", "h\ttodayilearned\tf2ruz\t145\t2\tSTART EOS til a b\tthe page\n", "dstc7"),
    ("a", "InstanceID\tDepth\tContext\n", "dstc7"),
    ("a", "Name,Line\nAnn,Hi\n", "script"),
    ("a.txt", "character;dialogue\nAnn;Hi\n", "script"),
    ("a", "Ann\tHi\nBo\tHello\n", "script"),
    ("a.csv.gz", "Ann,Hi\nBo,Hello\n", "script"),
    ("a.parquet", "PAR1....", "parquet"),
    ("message_1.json", json.dumps(MESSENGER), "messenger"),
    ("message_1.json", json.dumps(MESSENGER, indent=2), "messenger"),
    ("Bo_15.json", json.dumps({"messages": [{"senderName": "Bo", "timestamp": 1, "text": "hi"}]}), "messenger"),
    ("a.jsonl", '{"user_name":"You","character_name":"Mara","create_date":1}\n', "sillytavern"),
    ("a.jsonl", '{"chat_metadata":{"a":"' + "b" * 70_000 + '"},"user_name":"unused"}\n', "sillytavern"),
    ("a.jsonl", '{"name":"Mara","is_user":false,"mes":"Hello."}\n', "sillytavern"),
    ("a.jsonl", '{"instruction":"Hi","input":"","output":"Hello"}\n', "jsonl"),
    ("Ann.txt", "May 17, 2022  5:29:42 PM (Read by you after 2 seconds)\nAnn\nHello\n\n", "imessage"),
    ("data.json", json.dumps(SIGNAL) + "\n", "signal"),
    ("export.json", json.dumps(MATRIX, indent=2), "matrix"),
    ("export.json", json.dumps(MATRIX), "matrix"),
    ("chat_history.json", json.dumps(SNAPCHAT), "snapchat"),
    ("chat_history.json", json.dumps(SNAPCHAT, indent=2), "snapchat"),
    ("c.log", "--- Log opened Fri Jan 05 21:15:00 2024\n21:15 -!- ann [a@b] has joined #c\n21:15 <@ann> hi\n", "irc"),
    ("c.log", "[21:15] <Ann> hi\n", "irc"),
    ("c.weechatlog", "2024-01-05 21:15:07\t-->\tann has joined\n2024-01-05 21:15:08\t@ann\thi\n", "irc"),
    ("a", "", None),
    ("a", " \n\n", None),
    ("a", "\ufeff", None),
    ("a.json", "[\n]\n", None),
    ("a.json", "[]", None),
]  # fmt: skip


@pytest.mark.parametrize("file, content, name", EXAMPLES)
def test_a_format_is_told_by_its_content(tmp_path: Path, file: str, content: str, name: str | None) -> None:
    (tmp_path / file).write_text(content, encoding="utf-8")
    assert recognise(TextFile(tmp_path / file)) == name


def test_every_format_has_an_example() -> None:
    assert {name for _, _, name in EXAMPLES} == {*FORMATS, None}


@pytest.mark.parametrize(
    "content",
    ["Just some text\nand more\n", "Ann, who was there\nsaid nothing\n", "%PDF-1.7 ..."],
)
def test_an_unknown_format_is_an_error_that_shows_the_known_ones(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.txt").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.txt:1: not a known format") as caught:
        recognise(TextFile(tmp_path / "a.txt"))
    assert all(name in caught.value.hint for name in FORMATS)


@pytest.mark.parametrize("content", ["<!DOCTYPE html>\n<html>", "\ufeff\n<html>"])
def test_a_page_is_to_be_exported_as_json(tmp_path: Path, content: str) -> None:
    (tmp_path / "messages.html").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match="is a web page"):
        recognise(TextFile(tmp_path / "messages.html"))


def test_every_format_can_be_named() -> None:
    assert set(get_args(SourceFormat)) == {"auto", *FORMATS}
