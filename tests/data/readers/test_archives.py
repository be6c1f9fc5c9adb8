"""What holds conversations, but is no file of them: an error that names what to take out of it."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from dialogpt.data import ImportConfig
from dialogpt.data.importing import import_files
from dialogpt.data.readers import FORMATS
from dialogpt.errors import DataError

SLACK = ("channels.json", "users.json", "general/2024-01-05.json")
TAKEOUT = ("Takeout/archive_browser.html", "Takeout/Google Chat/Groups/DM a/messages.json")


def zipped(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "hi\n")
    return path


def tarred(path: Path, *names: str) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    return path


def refused(path: Path, form: str = "auto") -> DataError:
    with pytest.raises(DataError) as caught:
        import_files(ImportConfig(files=(path,), out=path.parent / "out", from_=form))  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize("form", ["auto", "slack", "whatsapp", "parquet"])
@pytest.mark.parametrize(
    "names, found",
    [
        (("IMG-1.jpg", "_chat.txt"), "_chat.txt"),
        (("WhatsApp Chat with Ann.txt",), "WhatsApp Chat with Ann.txt"),
        (("chat.html", "user.json", "conversations.json"), "conversations.json"),
        (SLACK, SLACK[2]),
        (TAKEOUT, TAKEOUT[1]),
        (("a.json",), "_chat.txt or conversations.json"),
    ],
)
def test_a_zip_archive(tmp_path: Path, names: tuple[str, ...], found: str, form: str) -> None:
    error = refused(zipped(tmp_path / "export.zip", *names), form)
    assert error.message.endswith("export.zip is a zip archive")
    assert error.hint == f"unpack it and name its files of chats, such as {found}"


@pytest.mark.parametrize("name", ["takeout.tgz", "takeout.tar"])
def test_a_tar_archive(tmp_path: Path, name: str) -> None:
    error = refused(tarred(tmp_path / name, *TAKEOUT))
    assert error.message.endswith(f"{name} is a tar archive")
    assert error.hint.endswith(TAKEOUT[1])


@pytest.mark.parametrize("content", [b"PK\x03\x04 cut", b"7z\xbc\xaf'\x1c", bytes(257) + b"ustar\x0000"])
def test_an_archive_that_cannot_be_looked_into(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    assert refused(tmp_path / "a").hint.startswith("unpack it")


def test_a_folder(tmp_path: Path) -> None:
    with zipfile.ZipFile(zipped(tmp_path / "export.zip", *SLACK)) as archive:
        archive.extractall(tmp_path / "slack")
    for folder in (tmp_path / "slack", tmp_path / "slack" / "general"):
        error = refused(folder)
        assert error.message == f"{folder} is a folder, but a file is needed"
        assert error.hint.endswith("general/2024-01-05.json")


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
    assert refused(tmp_path / "a.json", form).hint == "empty file: 1"
    assert f"import {tmp_path / 'a.json'}: the file is empty" in caplog.messages
