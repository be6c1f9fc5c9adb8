"""Turns and sessions, and their JSONL."""

import json
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialogpt.errors import DataError
from dialogpt.files import read_lines
from dialogpt.session import EvalItem, Session, SessionWriter, Turn, read_sessions, sessions_files

turns = st.builds(Turn, st.text(), st.text(max_size=3), st.booleans())
sessions = st.builds(Session, st.lists(turns, max_size=5).map(tuple), st.text(max_size=5), st.text(max_size=5))
HI = Session((Turn("hi", "A"), Turn("hello", "B", learn=False), Turn("bye", "A")), id="7", source="test")


def write(folder: Path, made: list[Session], per_file: int = 1_000_000) -> SessionWriter:
    writer = SessionWriter(folder, per_file)
    writer.write_all(made)
    writer.close()
    return writer


@settings(max_examples=50, deadline=None)
@given(st.lists(sessions, max_size=8), st.integers(1, 4))
def test_written_sessions_are_read_back(made: list[Session], per_file: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        writer = write(Path(name), made, per_file)
        assert len(list(Path(name).iterdir())) == -(-len(made) // per_file)
        assert writer.counts["sessions"] == len(made)
        assert writer.counts["turns"] == sum(len(session.turns) for session in made)
        if made:
            assert list(read_sessions(Path(name))) == made


def test_a_line_holds_what_is_not_default(tmp_path: Path) -> None:
    write(tmp_path, [HI, Session((Turn("one"), Turn("two")))])
    first, second = (json.loads(line) for line in read_lines(tmp_path / "sessions-00000.jsonl.zst"))
    assert first["turns"] == [{"text": "hi", "speaker": "A"}, {"text": "hello", "speaker": "B", "learn": False},
                              {"text": "bye", "speaker": "A"}]  # fmt: skip
    assert (first["id"], first["source"]) == ("7", "test")
    assert second == {"turns": [{"text": "one"}, {"text": "two"}]}


def test_evaluation_items_keep_scores_and_the_human_response() -> None:
    item = EvalItem((Turn("hi"),), "7", ("hello", "hey"), human="good day", scores=(5, -1))
    assert msgspec.json.decode(msgspec.json.encode(item), type=EvalItem) == item
    old = b'{"context":[{"text":"hi"}],"id":"7","references":["hello"]}'
    assert msgspec.json.encode(msgspec.json.decode(old, type=EvalItem)) == old
    assert msgspec.json.decode(old, type=EvalItem).scores == ()


def test_words_are_counted(tmp_path: Path) -> None:
    assert write(tmp_path, [Session((Turn("a b  c"), Turn("d")))]).counts == {"sessions": 1, "turns": 2, "words": 4}


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
    with pytest.raises(DataError, match="holds no sessions"):
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
