"""Turns and sessions, and their JSONL."""

from pathlib import Path

import msgspec
import pytest

from dialogpt.errors import DataError
from dialogpt.session import EvalItem, Session, Turn, read_sessions, sessions_files

HI = Session((Turn("hi", "A"), Turn("hello", "B", learn=False), Turn("bye", "A")), id="7", source="test")


def test_context_response_and_the_reverse() -> None:
    assert [turn.text for turn in HI.context] == ["hi", "hello"]
    assert HI.response.text == "bye"
    back = HI.reversed()
    assert [turn.text for turn in back.turns] == ["bye", "hello", "hi"]
    assert (back.id, back.source, back.turns[1].learn) == ("7", "test", False)
    assert back.reversed() == HI


def test_the_types_are_frozen() -> None:
    for thing, name in ((HI, "id"), (HI.turns[0], "text"), (EvalItem(HI.context), "id")):
        with pytest.raises(AttributeError):
            setattr(thing, name, "other")
    assert {HI: 1}[Session(HI.turns, "7", "test")] == 1


def test_plain_files_blank_lines_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"turns": [{"text": "hi"}]}\r\n\n  \n{"turns": [], "note": "kept out"}')
    assert list(read_sessions(file)) == [Session((Turn("hi"),)), Session(())]


def test_a_folders_files_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl", ".hidden.jsonl", "manifest.json", "notes.txt"):
        (tmp_path / name).write_text(f'{{"turns": [], "id": "{name}"}}\n', encoding="utf-8")
    (tmp_path / "folder.jsonl").mkdir()
    assert [session.id for session in read_sessions(tmp_path)] == ["a.jsonl", "b.jsonl"]
    assert sessions_files(tmp_path / "a.jsonl") == [tmp_path / "a.jsonl"]


def test_a_folder_without_sessions_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no sessions.*`dialogpt extract` and `import` make some"):
        list(read_sessions(tmp_path))
    (tmp_path / "sessions-00000.tsv").touch()
    with pytest.raises(DataError, match=r"holds no sessions.*import .*sessions-00000.tsv` reads"):
        list(read_sessions(tmp_path))


@pytest.mark.parametrize(
    "line, reason",
    [
        (b"hello", "malformed"),
        (b'{"turns": ["hi"]}', r"Expected `object`, got `str` - at `\$.turns\[0\]`"),
        (b'{"turns": [{"text": 3}]}', "Expected `str`, got `int`"),
        (b'{"id": "7"}', "missing required field `turns`"),
        (b"[]", "Expected `object`, got `array`"),
        (b'{"turns": [{"text": "\xe3"}]}', "not UTF-8"),
        (b'{"turns": [], "id": 7}', "Expected `str`, got `int`"),
    ],
)
def test_a_line_that_is_no_session_is_an_error_with_its_place(tmp_path: Path, line: bytes, reason: str) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_bytes(b'{"turns": []}\n\n' + line + b"\n")
    with pytest.raises(DataError, match=rf"mine\.jsonl:3: .*{reason}"):
        list(read_sessions(file))


def test_evaluation_items_keep_scores_and_the_human_response() -> None:
    item = EvalItem((Turn("hi"),), "7", ("hello", "hey"), human="good day", scores=(5, -1))
    assert msgspec.json.decode(msgspec.json.encode(item), type=EvalItem) == item
    old = b'{"context":[{"text":"hi"}],"id":"7","references":["hello"]}'
    assert msgspec.json.encode(msgspec.json.decode(old, type=EvalItem)) == old
    assert msgspec.json.decode(old, type=EvalItem).scores == ()
