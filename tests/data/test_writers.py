"""Sessions -> files and back, in each format; what a line holds; files are closed whatever happens."""

import builtins
import io
import json
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from dialogpt.data import writers
from dialogpt.data.writers import Format, SessionWriter, as_chat, as_tsv, file_name, open_sink
from dialogpt.errors import UsageError
from dialogpt.files import read_lines
from dialogpt.session import Session, Turn, read_sessions

turns = st.builds(Turn, st.text(), st.sampled_from(["", "A", "B", "C"]), st.booleans())
sessions = st.builds(Session, st.lists(turns, max_size=5).map(tuple), st.text(max_size=5), st.text(max_size=5))
HI = Session((Turn("hi", "A"), Turn("hello", "B", learn=False), Turn("bye", "A")), id="7", source="test")
WORLD = Session(
    (Turn("صباح الخير، كيف حالك؟", "هدى"), Turn("Хорошо!", "Лев"), Turn("よかった😊👩‍👩‍👧", "هدى")),
    id="t3_é/t1_9",
    source="reddit/ニュース",
)
FORMATS: tuple[Format, ...] = get_args(Format)


def write(folder: Path, made: list[Session], format: Format = "jsonl", per_file: int = 1_000_000) -> SessionWriter:
    writer = SessionWriter(folder, format, per_file)
    writer.write_all(made)
    writer.close()
    return writer


def written(made: list[Session], format: Format) -> bytes:
    file = io.BytesIO()
    sink = open_sink(file, format)
    for session in made:
        sink.write(session)
    sink.close()
    return file.getvalue()  # a closed BytesIO would raise


def parquet_rows(data: bytes) -> list[Any]:
    from pyarrow import parquet

    rows: list[Any] = parquet.read_table(io.BytesIO(data)).to_pylist()
    return rows


def chats(data: bytes) -> list[Any]:
    text = zstandard.ZstdDecompressor().decompressobj().decompress(data).decode()
    return [json.loads(line) for line in text.split("\n")[:-1]]


@settings(max_examples=50)
@given(st.lists(sessions, max_size=8), st.integers(1, 4))
def test_written_sessions_are_read_back(made: list[Session], per_file: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        writer = write(Path(name), made, per_file=per_file)
        assert len(list(Path(name).iterdir())) == -(-len(made) // per_file)
        assert writer.counts["sessions"] == len(made)
        assert writer.counts["turns"] == sum(len(session.turns) for session in made)
        if made:
            assert list(read_sessions(Path(name))) == made


@settings(max_examples=30)
@given(st.lists(sessions, max_size=8), st.integers(1, 3))
def test_parquet_holds_the_sessions_as_they_were(made: list[Session], per_group: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writers, "SESSIONS_IN_ROW_GROUP", per_group)
        data = written([*made, WORLD], "parquet")
    rows = parquet_rows(data)
    read = [Session(tuple(Turn(**turn) for turn in row["turns"]), row["id"], row["source"]) for row in rows]
    assert read == [*made, WORLD]

    from pyarrow import parquet

    file = parquet.ParquetFile(io.BytesIO(data))
    assert file.num_row_groups == -(-len(rows) // per_group)
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    assert file.schema_arrow.names == ["id", "source", "turns"]
    assert str(file.schema_arrow.field("turns").type.value_type) == "struct<text: string, speaker: string, learn: bool>"


def test_a_line_holds_what_is_not_default(tmp_path: Path) -> None:
    write(tmp_path, [HI, Session((Turn("one"), Turn("two")))])
    first, second = (json.loads(line) for line in read_lines(tmp_path / "sessions-00000.jsonl.zst"))
    assert first["turns"] == [{"text": "hi", "speaker": "A"}, {"text": "hello", "speaker": "B", "learn": False},
                              {"text": "bye", "speaker": "A"}]  # fmt: skip
    assert (first["id"], first["source"]) == ("7", "test")
    assert second == {"turns": [{"text": "one"}, {"text": "two"}]}


@pytest.mark.parametrize("format", FORMATS)
def test_words_are_counted_and_files_are_numbered(tmp_path: Path, format: Format) -> None:
    writer = write(tmp_path, [Session((Turn("a b c"), Turn("d"))), HI, WORLD], format, per_file=2)
    assert writer.counts == {"sessions": 3, "turns": 8, "words": 13}
    assert sorted(path.name for path in tmp_path.iterdir()) == [file_name(0, format), file_name(1, format)]


def test_names_of_files() -> None:
    assert [file_name(number, format) for number, format in zip((0, 1, 99999, 123456), FORMATS, strict=True)] == [
        "sessions-00000.jsonl.zst", "sessions-00001.tsv", "sessions-99999.parquet", "chats-123456.jsonl.zst"
    ]  # fmt: skip


def test_tsv_lines_are_the_released_extractors() -> None:
    """The first line is of its output for January 2006; the others are what its format says."""
    paths = Session(
        (Turn("You really should ! It's a lot of fun ."), Turn("He deleted all his comments . o O")),
        id="t3_22670/t1_c2819/t1_c2877",
    )
    assert written([paths, HI, WORLD], "tsv").decode() == (
        "t3_22670,t1_c2819,t1_c2877\t1.0 You really should ! It's a lot of fun .\t1.0 He deleted all his comments . o O"
        "\n7\t1.0 hi EOS 0.0 hello\t1.0 bye"
        "\nt3_é,t1_9\t1.0 صباح الخير، كيف حالك؟ EOS 1.0 Хорошо!\t1.0 よかった😊👩‍👩‍👧\n"
    )


@given(sessions)
def test_a_tsv_line_has_three_fields(session: Session) -> None:
    line = as_tsv(session)
    assert len(line.splitlines()) == 1
    assert line.count("\t") == (2 if session.turns else 1)
    assert "/" not in line.split("\t")[0]


def test_tabs_and_line_ends_become_blanks() -> None:
    made = Session((Turn("a\tb\r\nc"), Turn("d\u2028e\x85f\u00a0g")), id="x\ty")
    assert as_tsv(made) == "x y\t1.0 a b  c\t1.0 d e f\u00a0g"


def test_two_speakers_have_the_roles_and_their_turns_are_joined() -> None:
    made = Session((Turn("hey", "A"), Turn("hi", "B"), Turn("so?", "B", learn=False), Turn("well", "A", learn=False),
                    Turn("yes", "B"), Turn("no", "B", learn=False)), id="7")  # fmt: skip
    (chat,) = chats(written([made], "messages"))
    assert chat == {
        "messages": [
            {"role": "user", "content": "hey"},
            {"role": "assistant", "content": "hi\nso?", "weight": 0},
            {"role": "user", "content": "well"},
            {"role": "assistant", "content": "yes\nno", "weight": 0},
        ],
        "id": "7",
    }


@pytest.mark.parametrize("speakers", ["ABC", "AAA", ["", "", ""], ["A", "", "A"]])
def test_without_two_named_speakers_roles_alternate_by_turn(speakers: str | list[str]) -> None:
    made = Session(tuple(Turn(str(i), speaker) for i, speaker in enumerate(speakers)))
    assert [(message.role, message.content) for message in as_chat(made).messages] == [
        ("assistant", "0"), ("user", "1"), ("assistant", "2")
    ]  # fmt: skip


@given(sessions)
def test_roles_alternate_and_end_with_the_assistants(session: Session) -> None:
    messages = as_chat(session).messages
    roles = [message.role for message in messages]
    assert roles[::-1] == (["assistant", "user"] * len(roles))[: len(roles)]
    assert "\n".join(message.content for message in messages) == "\n".join(turn.text for turn in session.turns)
    assert all(message.weight == 1 for message in messages if message.role == "user")


def test_chats_keep_any_script() -> None:
    (chat,) = chats(written([WORLD], "messages"))
    assert [message["content"] for message in chat["messages"]] == [turn.text for turn in WORLD.turns]
    assert [message["role"] for message in chat["messages"]] == ["assistant", "user", "assistant"]
    assert (chat["id"], chat["source"]) == (WORLD.id, WORLD.source)


@pytest.mark.parametrize("format", FORMATS)
def test_a_sink_without_sessions_is_a_whole_file_and_a_folder_has_none(tmp_path: Path, format: Format) -> None:
    data = written([], format)
    if format == "parquet":
        assert parquet_rows(data) == []
    elif format == "tsv":
        assert data == b""
    else:
        assert chats(data) == []
    assert write(tmp_path, [], format).counts == {"sessions": 0, "turns": 0, "words": 0}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", ["jsonl", "tsv", "messages"])
def test_more_than_a_buffer_is_written(tmp_path: Path, format: Format) -> None:
    made = [Session((Turn("word " * 1000, "A"), Turn(str(i), "B"))) for i in range(200)]
    write(tmp_path, made, format)
    lines = list(read_lines(tmp_path / file_name(0, format)))
    assert len(lines) == 200
    assert b"199" in lines[-1]


class FullDisk(io.BytesIO):
    """A file on which nothing can be written."""

    def write(self, data: Any) -> int:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("format", FORMATS)
def test_the_file_is_closed_when_it_cannot_be_written(
    tmp_path: Path, format: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = FullDisk()
    monkeypatch.setattr(Path, "open", lambda *_: file)
    writer = SessionWriter(tmp_path, format)
    with pytest.raises(OSError, match="No space left"), closing(writer):
        writer.write(HI)
    assert file.closed
    writer.close()  # once more does nothing


def test_parquet_without_pyarrow_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def without_pyarrow(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_pyarrow)
    with pytest.raises(UsageError, match=r'pyarrow \(pip install "dialogpt\[parquet\]"\)'):
        open_sink(io.BytesIO(), "parquet")
