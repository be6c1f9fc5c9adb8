"""JSON conversations: documents, lists, ShareGPT's form; the line forms are tested with the command."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dialogpt.data import ImportConfig
from dialogpt.data.importing import import_files
from dialogpt.data.readers import tidy
from dialogpt.errors import DataError
from dialogpt.session import Session, Turn, read_sessions

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
    "record, texts",
    [
        ({"prompt": "Hi", "completion": "Hello"}, ("Hi", "Hello")),
        ({"Question": "Hi", "Answer": "Hello", "source": "web"}, ("Hi", "Hello")),
        ({"instruction": "Say it:", "input": "Hello", "output": "Hello"}, ("Say it: Hello", "Hello")),
        ({"input": "", "instruction": "Greet.", "output": "Hello"}, ("Greet. ", "Hello")),
        ({"instruction": "Who?", "context": "Bo.", "response": "Bo", "category": "qa"}, ("Who? Bo.", "Bo")),
        ({"سؤال": "من؟", "جواب": None}, ("من؟", "")),
    ],
)
def test_a_question_and_its_answer(read: Read, record: Any, texts: tuple[str, str]) -> None:
    (session,), dropped = read(json.dumps(record, ensure_ascii=False))
    assert tuple(turn.text for turn in session.turns) == texts
    assert (session.source, dropped) == (record.get("source", "talk"), {})


def test_a_question_after_others(read: Read) -> None:
    record = {"system": "Be kind.", "instruction": "c", "input": "", "output": "d", "history": [["a", "b"]]}
    (session,), dropped = read(json.dumps(record))
    question, answer = "instruction", "output"
    assert session.turns == (Turn("a", question), Turn("b", answer), Turn("c ", question), Turn("d", answer))
    assert dropped == {"system message": 1}


@pytest.mark.parametrize("history", ["ab", ["ab", "cd"], [["a"]], [["a", "b", "c"]], [["a", 3]]])
def test_a_history_of_another_form_is_an_error(read: Read, history: Any) -> None:
    with pytest.raises(DataError, match=r"talk\.txt:1: not a conversation"):
        read(json.dumps({"prompt": "c", "response": "d", "history": history}))


MESSAGES = [{"role": "system", "content": "x"}, {"role": "A", "content": "a"}, {"role": "B", "content": "b"}]


@pytest.mark.parametrize("content", [MESSAGES, [MESSAGES], {"messages": MESSAGES}])
@pytest.mark.parametrize("indent", [None, 1])
def test_a_list_of_messages_is_a_conversation(read: Read, content: Any, indent: int | None) -> None:
    (session,), dropped = read(json.dumps(content, indent=indent))
    assert (session.turns, dropped) == ((Turn("a", "A"), Turn("b", "B")), {"system message": 1})


@pytest.mark.parametrize(
    "record",
    [
        {"dialog": [{"sender": "A", "text": "a"}, {"sender": "B", "text": "b"}]},
        {"turns": [{"turn_id": 0, "speaker": "A", "utterance": "a"}, {"speaker": "B", "utterance": "b"}]},
        {"turns": [{"role": "system", "text": "x"}, {"role": "A", "text": "a"}, {"role": "B", "text": "b"}]},
        {"conversations": [{"from": "A", "text": "a"}, {"role": "B", "value": "b"}]},
    ],
)
def test_speakers_under_other_names(read: Read, record: Any) -> None:
    assert read(json.dumps(record))[0][0].turns == (Turn("a", "A"), Turn("b", "B"))


def test_a_turn_with_a_role_keeps_that_it_is_not_learned(read: Read) -> None:
    (session,), _ = read('{"turns": [{"role": "A", "text": "a", "learn": false}, {"role": "B", "text": "b"}]}')
    assert session.turns == (Turn("a", "A", learn=False), Turn("b", "B"))


def test_what_openai_writes_beside_the_talk(read: Read) -> None:
    messages = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function"}]},
        {"role": "tool", "tool_call_id": "c", "content": "3"},
        {"role": "assistant", "content": "I can't tell.", "weight": 0},
        {"role": "assistant", "content": "3 degrees.", "weight": 1},
    ]
    (session,), dropped = read(json.dumps({"messages": messages}))
    assert session.turns == (
        Turn("Weather?", "user"),
        Turn("I can't tell.", "assistant", learn=False),
        Turn("3 degrees.", "assistant"),
    )
    assert dropped == {"system message": 1, "message without words": 1, "message of a tool": 1}


def test_sessions_written_as_messages_keep_what_is_learned(tmp_path: Path) -> None:
    turns = (Turn("a", "A"), Turn("b", "B", learn=False), Turn("c", "A"), Turn("d", "B"))
    config = ImportConfig(files=(tmp_path / "a.jsonl",), out=tmp_path / "chats", format="messages")
    config.files[0].write_bytes(msgspec.json.encode(Session(turns)))
    import_files(config)
    import_files(ImportConfig(files=tuple((tmp_path / "chats").glob("*.zst")), out=tmp_path / "back"))
    (session,) = read_sessions(tmp_path / "back")
    assert [(turn.text, turn.learn) for turn in session.turns] == [(turn.text, turn.learn) for turn in turns]


HALVES = r"a\ud83d \\ud83d \ud83d\ude00 \ude00\ude00b\ud83d"  # of emoji, in JSON; and a backslash before a word


@pytest.mark.parametrize(
    "content",
    [
        f'{{"turns": ["{HALVES}", "c"]}}',
        f'[{{"turns": ["{HALVES}", "c"]}}]',
        f'{{"user_name": "A", "character_name": "B"}}\n{{"mes": "{HALVES}"}}\n{{"mes": "c"}}',
        f'{{"id": 1, "messages": [{{"id": 1, "type": "message", "from_id": "u1", "text": "{HALVES}"}}, '
        '{"id": 2, "type": "message", "from_id": "u1", "text": "c"}]}',
    ],
)
def test_half_an_emoji_is_left_out(read: Read, content: str) -> None:
    ((session,), _) = read(content)
    assert [tidy(turn.text) for turn in session.turns] == ["a \\ud83d 😀 b", "c"]


@pytest.mark.parametrize(
    "content, message",
    [
        ('[\n {"turns": ["a"]},\n {"turns": 3}\n]', ":2: not a conversation: 'turns' is a int"),
        ('{\n "turns": [\n "a",\n b]\n}', ":4: JSON is malformed"),
        ('{\n "turns": ["a"', ": Input data was truncated"),
        (b'[\n {"turns": ["\xe9"]}\n]', ":2: not UTF-8"),
        ('[\n {"turns": ["\\ud83d"]},\n {"turns": [x]}\n]', ":3: JSON is malformed"),
        ("[" * 100_000, ": "),
        ('{"text": "a", "label": 3}', r":1: not a conversation: it has neither .*\(its keys: text, label\)"),
        ('{"body": "a", "link_id": "t3_b"}', ":1: not a conversation: it is a record of a Reddit dump"),
        ('[{"conversations": [{"from": "human"}]}]', ":1: not a conversation: 'value' is missing"),
    ],
)
def test_a_broken_document_is_named_with_its_place(read: Read, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=rf"talk\.txt{message}"):
        read(content, "jsonl")
