"""SillyTavern's chats: headers, system messages, lines that are none."""

import json
from typing import Any

import pytest

from dialogpt.errors import DataError
from dialogpt.session import Session, Turn

Read = Any
HEADER = {"user_name": "You", "character_name": "مارا", "create_date": "2026-10-05 @09h 30m 00s", "chat_metadata": {}}
CHAT = [
    {"name": "مارا", "is_user": False, "is_system": False, "send_date": "October 5, 2025 9:30am", "mes": "*waves* Hi.",
     "swipe_id": 1, "swipes": ["Go away.", "*waves* Hi."], "extra": {"token_count": 3}},
    {"name": "SillyTavern System", "is_user": False, "is_system": True, "send_date": 1, "mes": "Checkpoint."},
    {"name": "You", "is_user": True, "send_date": 1790725127298, "mes": "Hello!\nWho are you?"},
    {"is_user": False, "mes": "Mara."},
    {"is_user": True, "mes": None},
]  # fmt: skip
TURNS = (
    Turn("*waves* Hi.", "مارا"), Turn("Hello!\nWho are you?", "You"), Turn("Mara.", "مارا"), Turn("", "You")
)  # fmt: skip


def lines(*records: Any, end: str = "\n") -> str:
    return end.join(json.dumps(record, ensure_ascii=False) for record in records)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_a_chat(read: Read, end: str) -> None:
    found, dropped = read(lines(HEADER, *CHAT, end=end), file="Mara - 2026.jsonl")
    assert found == [Session(TURNS, id="Mara - 2026/0", source="Mara - 2026")]
    assert dropped == {"system message": 1}


def test_chats_one_after_the_other(read: Read) -> None:
    found, _ = read(lines(HEADER, HEADER, *CHAT[:1], {"chat_metadata": {"integrity": "x"}}, *CHAT[2:3]))
    assert found == [Session(TURNS[:1], id="talk/0", source="talk"), Session(TURNS[1:2], id="talk/1", source="talk")]


@pytest.mark.parametrize(
    "line, error",
    [('{"name": "You"}', "'mes' is missing"), ("[]", "Expected `object`"), ('{"mes": 3}', "Expected `str")],
)
def test_another_line_is_named(read: Read, line: str, error: str) -> None:
    with pytest.raises(DataError, match=rf"talk\.txt:3: not a line of a chat: {error}"):
        read(lines(HEADER, CHAT[0]) + "\n" + line, "sillytavern")
