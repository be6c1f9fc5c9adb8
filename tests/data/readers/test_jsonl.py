"""JSON conversations: documents, lists, ShareGPT's form; the line forms are tested with the command."""

import json
from typing import Any

import pytest

from dialogpt.errors import DataError
from dialogpt.session import Session, Turn

Read = Any
SHARED: Any = {"id": "q1", "conversations": [{"from": "system", "value": "be nice"}, {"from": "human", "value": "Hi"},
                                        {"from": "gpt", "value": "صباح الخير"}]}  # fmt: skip
SESSION = Session((Turn("Hi", "human"), Turn("صباح الخير", "gpt")), id="q1", source="talk")


@pytest.mark.parametrize("indent", [None, 1, 4])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_list_of_conversations_is_read_whole(read: Read, indent: int | None, ascii_only: bool) -> None:
    found, dropped = read(json.dumps([SHARED, {"turns": ["a", "b"]}], indent=indent, ensure_ascii=ascii_only))
    assert found == [SESSION, Session((Turn("a"), Turn("b")), id="talk/2", source="talk")]
    assert dropped == {"system message": 1}


@pytest.mark.parametrize("content", [json.dumps(SHARED), json.dumps(SHARED, indent=2), json.dumps([SHARED])])
def test_a_single_conversation(read: Read, content: str) -> None:
    assert read(content)[0] == read(f"\ufeff{content}")[0] == [SESSION]
    assert read(content.encode("utf-16"))[0] == [SESSION]


@pytest.mark.parametrize(
    "record",
    [
        {"dialog": ["a", "b"]},
        {"utterances": [{"text": "a"}, {"text": "b", "learn": None}]},
        {"turns": [{"role": "system", "content": "x"}, {"role": "", "content": "a"}, {"role": "", "content": "b"}]},
        {"conversation_id": 5, "turns": [[None, "a"], ["", "b"]]},
    ],
)
def test_other_names_of_the_same(read: Read, record: Any) -> None:
    (session,), _ = read(json.dumps(record))
    assert session.turns == (Turn("a"), Turn("b"))
    assert session.id == ("5" if "conversation_id" in record else "talk/1")


@pytest.mark.parametrize(
    "content, message",
    [
        ('[\n {"turns": ["a"]},\n {"turns": 3}\n]', ":2: not a conversation: 'turns' is a int"),
        ('{\n "turns": [\n "a",\n b]\n}', ":4: JSON is malformed"),
        ('{\n "turns": ["a"', ": Input data was truncated"),
        (b'[\n {"turns": ["\xe9"]}\n]', ":2: not UTF-8"),
        ("[" * 100_000, ": "),
        ('[{"conversations": [{"from": "human"}]}]', ":1: not a conversation: 'value' is missing"),
    ],
)
def test_a_broken_document_is_named_with_its_place(read: Read, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=rf"talk\.txt{message}"):
        read(content, "jsonl")
