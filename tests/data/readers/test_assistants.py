"""Exports of ChatGPT and Claude: the branch that was chosen, all of them, and what is no talk."""

import json
from pathlib import Path
from typing import Any

import pytest

from dialogpt.data import ImportConfig
from dialogpt.data.importing import import_files
from dialogpt.errors import DataError
from dialogpt.session import Session, Turn, read_sessions

Read = Any


def node(parent: str | None, role: str, *parts: Any, kind: str = "text", **more: Any) -> dict[str, Any]:
    """A node of ChatGPT's tree."""
    content = {"content_type": kind, "parts": list(parts)} if kind.endswith("text") else {"content_type": kind}
    message = {"id": "m", "author": {"role": role, "name": None, "metadata": {}}, "create_time": 1.5, "status": "x",
               "content": content, "weight": 1.0, "recipient": "all", "metadata": {}, "end_turn": None}  # fmt: skip
    return {"id": "n", "message": message | more, "parent": parent, "children": []}


PICTURE = {"content_type": "image_asset_pointer", "asset_pointer": "file-service://x"}
SPEECH = {"content_type": "audio_transcription", "text": "كيف حالك؟", "direction": "in"}
CHATGPT = {
    "title": "سلام",
    "create_time": 1712345678.5,
    "mapping": {
        "root": {"id": "root", "message": None, "parent": None, "children": []},
        "sys": node("root", "system", "", metadata={"is_visually_hidden_from_conversation": True}),
        "ctx": node("sys", "user", kind="user_editable_context", user_profile="I like tea"),
        "u1": node("ctx", "user", PICTURE, "Who is this?", kind="multimodal_text"),
        "hid": node("u1", "assistant", "not shown", metadata={"is_visually_hidden_from_conversation": True}),
        "w0": node("hid", "assistant", "nor this", weight=0.0),
        "call": node("w0", "assistant", "search('face')", recipient="browser"),
        "code": node("call", "assistant", kind="code"),
        "tool": node("code", "tool", "a page"),
        "think": node("tool", "assistant", kind="thoughts"),
        "a0": node("think", "assistant", "Let me see."),
        "a1": node("a0", "assistant", 'It is \ue200entity\ue202["people","Marie Curie","chemist"]\ue201.'
                   "\ue200cite\ue202turn0search0\ue202turn0search3\ue201 See【12†source】."),
        "u2": node("a1", "user", SPEECH, {"content_type": "audio_asset_pointer"}, kind="multimodal_text"),
        "pic": node("u2", "user", PICTURE, kind="multimodal_text"),
        "a2": node("pic", "assistant", "بخير", "شكرًا"),
        "e1": node("ctx", "user", "An edited question"),
        "e2": node("e1", "assistant", "Another answer"),
        "a1b": node("w0", "assistant", "I do not know."),
    },
    "moderation_results": [],
    "current_node": "a2",
    "conversation_id": "c1",
}  # fmt: skip
CHATGPT_TURNS = (
    Turn("Who is this?", "user"),
    Turn("Let me see.", "assistant"),
    Turn("It is Marie Curie. See.", "assistant"),
    Turn("كيف حالك؟", "user"),
    Turn("بخير\nشكرًا", "assistant"),
)


def clean(session: Session) -> tuple[Turn, ...]:
    return tuple(Turn(turn.text.strip(), turn.speaker) for turn in session.turns)


@pytest.mark.parametrize("indent", [None, 1])
def test_the_shown_branch_of_a_chat_with_chatgpt(read: Read, indent: int | None) -> None:
    (found,), dropped = read(json.dumps([CHATGPT], ensure_ascii=False, indent=indent), file="conversations.json")
    assert (found.id, found.source, clean(found)) == ("c1", "conversations", CHATGPT_TURNS)
    assert dropped == {"system message": 2, "hidden message": 2, "message of a tool": 4, "media": 1,
                       "message of another branch": 3}  # fmt: skip


def test_what_answers_a_picture_alone_begins_anew(read: Read) -> None:
    """Else it would be one turn with the answer before; what is a source alone says nothing and changes nothing."""
    mapping = {"q": node(None, "user", "Hi"), "a": node("q", "assistant", "Hello"), "p": node("a", "user", PICTURE),
               "b": node("p", "assistant", "A cat"), "s": node("b", "assistant", "【1†source】"),
               "r": node("s", "user", "Sure?"), "c": node("r", "assistant", "Yes")}  # fmt: skip
    for replies in (False, True):
        found, dropped = read(json.dumps([{"mapping": mapping, "current_node": "c"}]), "chatgpt", replies=replies)
        assert [[turn.text for turn in some.turns] for some in found] == [["Hi", "Hello"], ["A cat", "Sure?", "Yes"]]
        assert dropped == {"media": 1, "message without words": 1}


def test_a_chat_without_its_current_node_ends_at_the_last_message(read: Read) -> None:
    mapping = {"r": {"parent": None, "message": None}, "q": node("r", "user", "Hi"), "a": node("q", "assistant", "A"),
               "b": node("q", "assistant", "B")}  # fmt: skip
    for current in ({}, {"current_node": None}, {"current_node": "gone"}):
        (found,), dropped = read(json.dumps({"mapping": mapping, **current}), "chatgpt")
        assert [turn.text for turn in found.turns] == ["Hi", "B"]
        assert dropped == {"message of another branch": 1}


def test_a_circle_is_counted(read: Read) -> None:
    mapping = {"q": node(None, "user", "Hi"), "a": node("q", "assistant", "A"), "x": node("y", "user", "X"),
               "y": node("x", "user", "Y"), "z": node("z", "user", "Z")}  # fmt: skip
    lost = {"message of another branch": 3}, {"message that answers itself": 2}  # z, which does alone, begins a branch
    for replies, expected in zip((False, True), lost, strict=True):
        found, dropped = read(json.dumps([{"mapping": mapping, "current_node": "a"}]), "chatgpt", replies=replies)
        assert [turn.text for turn in found[0].turns] == ["Hi", "A"]
        assert dropped == expected


@pytest.mark.parametrize("mark", ["【1†", "\ue200", '\ue200entity\ue202["a","'])
def test_marks_without_an_end_are_text(read: Read, mark: str) -> None:
    mapping = {"q": node(None, "user", mark * 50_000)}
    (found,), _ = read(json.dumps([{"mapping": mapping, "current_node": "q"}]), "chatgpt")
    assert found.turns[0].text == mark * 50_000


def message(name: str, sender: str, *texts: str, parent: str | None = None, **more: Any) -> dict[str, Any]:
    blocks = [{"type": "text", "text": text, "citations": []} for text in texts]
    return {"uuid": name, "text": " ".join(texts), "content": blocks, "sender": sender, "attachments": [], "files": [],
            **({"parent_message_uuid": parent} if parent else {}), **more}  # fmt: skip


NOBODY = "00000000-0000-4000-8000-000000000000"
TOOL = {"type": "tool_use", "name": "web_search", "input": {}}
CLAUDE = {
    "uuid": "c2",
    "name": "Greetings",
    "account": {"uuid": "u"},
    "chat_messages": [
        message("m1", "human", "مرحبا", parent=NOBODY),
        message("m2", "assistant", "No.", parent="m1"),
        message("m3", "assistant", "Hello,", "friend", parent="m1",
                content=[{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hello,"}, TOOL,
                         {"type": "tool_result", "content": []}, {"type": "text", "text": "friend"}]),
        message("m4", "human", parent="m3", files=[{"file_name": "a.png"}]),
        message("m5", "assistant", "This block is not supported on your device yet.", parent="m4", content=[TOOL]),
        message("m6", "assistant", "Nice.", parent="m5", content=[]),
    ],
}  # fmt: skip


@pytest.mark.parametrize("indent", [None, 1])
def test_the_last_branch_of_a_chat_with_claude(read: Read, indent: int | None) -> None:
    found, dropped = read(json.dumps([CLAUDE], indent=indent), file="conversations.json")
    assert [(session.id, session.source) for session in found] == [("c2/0", "conversations"), ("c2/1", "conversations")]
    assert [[(turn.speaker, turn.text) for turn in session.turns] for session in found] == [
        [("human", "مرحبا"), ("assistant", "Hello,\nfriend")], [("assistant", "Nice.")]
    ], "the last one answers a picture"  # fmt: skip
    assert dropped == {"message without words": 2, "message of another branch": 1}


def test_a_chat_with_claude_of_before_branches(read: Read) -> None:
    old = [{"uuid": name, "sender": "human", "text": name} for name in ("a", "b", "c")]
    (found,), dropped = read(json.dumps([{"uuid": "c", "chat_messages": old}]), file="conversations.json")
    assert [turn.text for turn in found.turns] == ["a", "b", "c"]
    assert not dropped


def test_a_saved_chat_with_claude_says_what_was_shown(read: Read) -> None:
    (found,), _ = read(json.dumps({**CLAUDE, "current_leaf_message_uuid": "m2"}, indent=2))
    assert [turn.text for turn in found.turns] == ["مرحبا", "No."]


def imported(tmp_path: Path, *documents: Any, **options: Any) -> tuple[list[Session], dict[str, int]]:
    files = []
    for number, document in enumerate(documents):
        files.append(tmp_path / f"conversations-{number}.json")
        files[-1].write_text(json.dumps(document), encoding="utf-8")
    manifest = import_files(ImportConfig(files=tuple(files), out=tmp_path / "out", overwrite=True, **options))
    return list(read_sessions(tmp_path / "out")), manifest.dropped


def test_what_one_says_in_several_messages_is_a_turn(tmp_path: Path) -> None:
    found, _ = imported(tmp_path, [CHATGPT], [CLAUDE])
    assert [[turn.text for turn in session.turns] for session in found] == [
        ["Who is this?", "Let me see. It is Marie Curie. See.", "كيف حالك؟", "بخير شكرًا"],
        ["مرحبا", "Hello, friend"],
    ]
    assert len(imported(tmp_path, [CHATGPT], merge=False)[0][0].turns) == 5


def test_all_branches_are_read_where_replies_are_followed(tmp_path: Path) -> None:
    found, dropped = imported(tmp_path, [CHATGPT], [CLAUDE], replies=True)
    assert [(s.id, " | ".join(t.text if t.learn else f"({t.text})" for t in s.turns)) for s in found] == [
        ("c1/0#4", "Who is this? | Let me see. It is Marie Curie. See. | كيف حالك؟ | بخير شكرًا"),
        ("c1/0#5", "(Who is this?) | I do not know."),
        ("c1/6#7", "An edited question | Another answer"),
        ("c2/0#1", "مرحبا | Hello, friend"),
        ("c2/0#3", "(مرحبا) | No."),
    ]
    assert "message of another branch" not in dropped


@pytest.mark.parametrize(
    "name, content, where",
    [
        ("chatgpt", json.dumps([CHATGPT, {"title": "x"}]), r"talk\.txt:2: .*missing required field `mapping`"),
        ("chatgpt", json.dumps([{"mapping": {"a": {"message": {"author": 3}}}}]), r":1: .*author"),
        ("chatgpt", '[{"mapping": {}},\n{"mapping"', "truncated"),
        ("claude", json.dumps(CLAUDE)[:300], r"talk\.txt:1: "),
        ("claude", "[3]", r":1: Expected `object`"),
        ("claude", "[" * 100_000, "talk"),
    ],
)
def test_a_damaged_export_is_an_error(read: Read, name: str, content: str, where: str) -> None:
    with pytest.raises(DataError, match=where):
        read(content, name)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_any_encoding_and_a_conversation_a_line(read: Read, encoding: str, line_end: str) -> None:
    for document, name in ((CHATGPT, "chatgpt"), (CLAUDE, "claude")):
        whole = json.dumps([document], ensure_ascii=False, indent=1).replace("\n", line_end)
        lines = f"{json.dumps(document, ensure_ascii=False)}{line_end}" * 2
        expected = [session.id for session in read(json.dumps([document]))[0]]
        assert [session.id for session in read(whole.encode(encoding))[0]] == expected
        assert [session.id for session in read(lines.encode(encoding), name)[0]] == expected * 2


def test_lists_of_other_things_stay_what_they_were(read: Read) -> None:
    ours = [{"id": "1", "turns": ["a", "b"], "mapping": {}, "user_name": "x", "character_name": "y"}]
    assert read(json.dumps(ours))[0][0].id == "1"
