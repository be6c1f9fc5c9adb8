"""What holds conversations, but is no file of them: folders and zip archives are read, others are errors."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from dialogpt.data import ImportConfig
from dialogpt.data.importing import import_files
from dialogpt.data.readers import FORMATS
from dialogpt.errors import DataError
from dialogpt.session import read_sessions

WHATSAPP = "12/31/20, 9:15 PM - Ann: Hello\n12/31/20, 9:16 PM - Bo: Hi Ann\n"
DAY = [{"type": "message", "user": "U1", "ts": "1704441600.1", "text": "Hi"},
       {"type": "message", "user": "U2", "ts": "1704441610.1", "text": "Hello <@U1>"}]  # fmt: skip
CHATGPT = [
    {"id": "c", "title": "t", "create_time": 1.0, "current_node": "b", "mapping": {
        "a": {"id": "a", "parent": None, "children": ["b"],
              "message": {"author": {"role": "user"}, "content": {"content_type": "text", "parts": ["Hi"]}}},
        "b": {"id": "b", "parent": "a", "children": [],
              "message": {"author": {"role": "assistant"}, "content": {"content_type": "text", "parts": ["Hello"]}}}}}
]  # fmt: skip
EXPORTS = {
    "WhatsApp Chat - Ann": {"IMG-1.jpg": b"\xff\xd8", "_chat.txt": WHATSAPP, "__MACOSX/._chat.txt": b"\0"},
    "whatsapp-ar": {"محادثة واتساب مع Ann.txt": WHATSAPP},
    "whatsapp-fa": {"گپ واتساپ با Ann.txt": WHATSAPP},
    "chatgpt": {"chat.html": "<html>", "user.json": "{}", "conversations.json": json.dumps(CHATGPT)},
    "slack": {
        "channels.json": "[]",
        "users.json": '[{"id": "U1", "name": "layla"}, {"id": "U2", "name": "Bo"}]',
        "general/2024-01-05.json": json.dumps(DAY),
        "general/2024-01-06.json": json.dumps(DAY).replace("17044416", "17045280"),
    },
}
FORM = {"chatgpt": "chatgpt", "slack": "slack"}


def zipped(path: Path, files: Mapping[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def refused(*paths: Path, form: str = "auto") -> DataError:
    out = next(folder for folder in paths[0].parents if folder.is_dir()) / "out"
    with pytest.raises(DataError) as caught:
        import_files(ImportConfig(files=paths, out=out, from_=form))  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize("form", ["auto", ""])
@pytest.mark.parametrize("kind", ["zip", "folder"])
@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_is_read_as_it_comes(tmp_path: Path, name: str, kind: str, form: str) -> None:
    export, out = zipped(tmp_path / f"{name}.zip", EXPORTS[name]), tmp_path / "out"
    if kind == "folder":
        with zipfile.ZipFile(export) as archive:
            archive.extractall(tmp_path / name)
        export = tmp_path / name
    manifest = import_files(ImportConfig(files=(export,), out=out, from_=form or FORM.get(name, "whatsapp")))  # type: ignore[arg-type]
    sessions = list(read_sessions(out))
    assert [len(session.turns) for session in sessions] == [2] * (2 if name == "slack" else 1)
    assert manifest.inputs == [str(export)]
    if name == "slack":  # names lie in another file of the archive
        assert [(turn.speaker, turn.text) for turn in sessions[0].turns] == [("layla", "Hi"), ("Bo", "Hello @layla")]
        assert [session.id for session in sessions] == ["general/2024-01-05/0", "general/2024-01-05/1"]


def test_a_channel_of_slack_is_an_export(tmp_path: Path) -> None:
    with zipfile.ZipFile(zipped(tmp_path / "slack.zip", EXPORTS["slack"])) as archive:
        archive.extractall(tmp_path)
    import_files(ImportConfig(files=(tmp_path / "general",), out=tmp_path / "out"))
    assert [session.turns[0].speaker for session in read_sessions(tmp_path / "out")] == ["layla", "layla"]


def test_a_folder_of_sessions_is_read_again(tmp_path: Path) -> None:
    import_files(ImportConfig(files=(zipped(tmp_path / "a.zip", {"_chat.txt": WHATSAPP}),), out=tmp_path / "one"))
    import_files(ImportConfig(files=(tmp_path / "one",), out=tmp_path / "two"))
    assert list(read_sessions(tmp_path / "two")) == list(read_sessions(tmp_path / "one"))


def test_what_was_imported_before_into_the_same_folder_is_not_read_again(tmp_path: Path) -> None:
    (tmp_path / "_chat.txt").write_text(WHATSAPP, encoding="utf-8")
    for overwrite in (False, True):
        import_files(ImportConfig(files=(tmp_path,), out=tmp_path / "out", overwrite=overwrite))
        assert len(list(read_sessions(tmp_path / "out"))) == 1


def test_one_file_of_a_zip_archive(tmp_path: Path) -> None:
    export = zipped(tmp_path / "slack.zip", EXPORTS["slack"])
    import_files(ImportConfig(files=(export / "general/2024-01-06.json",), out=tmp_path / "out"))
    assert [session.id for session in read_sessions(tmp_path / "out")] == ["general/2024-01-06/0"]
    error = refused(export / "general/2024-01-07.json")
    assert error.message == f"{export} holds no general/2024-01-07.json"


def test_an_error_in_a_zip_archive_names_file_and_line(tmp_path: Path) -> None:
    export = zipped(tmp_path / "a.zip", {"x/_chat.txt": WHATSAPP.encode() + b"12/31/20, 9:17 PM - Ann: \xe9\n"})
    assert f"{export}/x/_chat.txt:3: not UTF-8" in refused(export).message


def test_what_is_no_chat_in_a_zip_archive(tmp_path: Path) -> None:
    inner = zipped(tmp_path / "in.zip", {"_chat.txt": WHATSAPP}).read_bytes()
    export = zipped(tmp_path / "a.zip", {"in.zip": inner, "a.parquet": b"PAR1" * 9, "a.txt": "hi"})
    assert refused(export / "in.zip").message == f"{export}/in.zip is a zip archive in another one"
    assert refused(export / "a.txt" / "b").message == f"{export} holds no a.txt/b"
    pytest.importorskip("pyarrow")
    assert refused(export / "a.parquet").message == f"{export}/a.parquet is Parquet in a zip archive"


def test_a_path_through_a_file_does_not_exist(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hi", encoding="utf-8")
    assert refused(tmp_path / "a.txt" / "b.txt").message == f"{tmp_path}/a.txt/b.txt does not exist"


@pytest.mark.parametrize("kind", ["zip archive", "folder"])
def test_an_archive_without_chats(tmp_path: Path, kind: str) -> None:
    export = zipped(tmp_path / "a.zip", {"b.json": "{}", "a.csv": "name,line\n"})
    if kind == "folder":
        with zipfile.ZipFile(export) as archive:
            archive.extractall(tmp_path / "a")
        export = tmp_path / "a"
    error = refused(export)
    assert error.message.startswith(f"no file in the {kind} {export} is called as chats are")
    assert error.hint == f"name the files of chats in it, such as {export}/a.csv"
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "empty").hint == "name the files of chats in it"


def test_a_damaged_zip_archive(tmp_path: Path) -> None:
    export = zipped(tmp_path / "a.zip", {"_chat.txt": WHATSAPP * 99})
    whole = export.read_bytes()
    export.write_bytes(whole[:-10])
    assert "is a damaged zip archive" in refused(export).message
    at = whole.index(b"_chat.txt") + 20
    export.write_bytes(whole[:at] + bytes(8) + whole[at + 8 :])
    assert refused(export).message.startswith(f"{export}/_chat.txt")


def test_a_zip_archive_with_a_password(tmp_path: Path) -> None:
    export = zipped(tmp_path / "a.zip", {"_chat.txt": WHATSAPP})
    data = bytearray(export.read_bytes())
    data[6] |= 1  # the local header's flag and the table's
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    export.write_bytes(data)
    error = refused(export)
    assert "password" in error.message
    assert error.hint == "unpack it and name its files"


@pytest.mark.parametrize(
    "content, what", [(b"7z\xbc\xaf'\x1c", "a 7z"), (b"Rar!\x1a", "a rar"), (bytes(257) + b"ustar\x0000", "a tar")]
)
def test_other_archives_are_to_be_unpacked(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "a").write_bytes(content)
    error = refused(tmp_path / "a")
    assert error.message == f"{tmp_path / 'a'} is {what} archive"
    assert error.hint == "unpack it and name the folder"


@pytest.mark.parametrize("name", ["talk.xlsx", "talk.XLS", "talk.ods"])
def test_a_spreadsheet_is_to_be_saved_as_text(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04" + bytes(99))
    error = refused(tmp_path / name)
    assert error.message.endswith("is a spreadsheet")
    assert "CSV" in error.hint


@pytest.mark.parametrize("content", [b"", b" \n\n", b"\xff\xfe", "\ufeff\n".encode()])
@pytest.mark.parametrize("form", FORMATS)
def test_an_empty_file_is_called_so_whatever_its_format(
    tmp_path: Path, form: str, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.json").write_bytes(content)
    assert refused(tmp_path / "a.json", form=form).hint == "empty file: 1"
    assert f"import {tmp_path / 'a.json'}: the file is empty" in caplog.messages
