"""What is no file of conversations, but holds them: archives as services give them, folders, spreadsheets."""

import re
import tarfile
import zipfile
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from dialogpt.data.readers.text import TextFile
from dialogpt.errors import DataError

_ARCHIVES = {b"PK\x03\x04": "a zip archive", b"7z\xbc\xaf": "a 7z archive", b"Rar!": "a rar archive"}
_TAR, _TAR_AT = b"ustar", 257
_SPREADSHEETS = (".xlsx", ".xls", ".ods")
_LIKELY = re.compile(  # as WhatsApp, Telegram, ChatGPT, Claude, Messenger, Google Chat, Skype, Slack call them
    r"(?:.*/)?(?:_chat\.txt|WhatsApp [^/]*\.txt|result\.json|conversations[^/]*\.json|messages?(?:_\d+)?\.json"
    r"|[^/]+/\d{4}-\d\d-\d\d\.json)"
)
_MOST = 10_000  # names that are looked at


def refuse(file: TextFile) -> None:
    """DataError for an archive or a spreadsheet, which names what to take out of it."""
    if file.path.suffix.lower() in _SPREADSHEETS:
        raise DataError(f"{file.path} is a spreadsheet", "save it as CSV or as Unicode text")
    if file.begins_with(_TAR, _TAR_AT):
        raise DataError(f"{file.path} is a tar archive", _unpack(_in_tar(file.path)))
    for magic, what in _ARCHIVES.items():
        if file.begins_with(magic):
            raise DataError(f"{file.path} is {what}", _unpack(_in_zip(file.path)))


def refuse_folder(path: Path) -> None:
    """DataError for a folder in which a file lies that may be a service's export of chats: name that."""
    if path.is_dir() and (found := _likely(map(Path.as_posix, path.rglob("*.*")))):
        raise DataError(f"{path} is a folder, but a file is needed", f"name the files of chats in it, such as {found}")


def _unpack(names: Iterable[str]) -> str:
    found = _likely(names) or "_chat.txt or conversations.json"
    return f"unpack it and name its files of chats, such as {found}"


def _likely(names: Iterable[str]) -> str:
    return next((name for name in islice(names, _MOST) if _LIKELY.fullmatch(name)), "")


def _in_zip(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (OSError, zipfile.BadZipFile, NotImplementedError):  # damaged, or of another kind
        return []


def _in_tar(path: Path) -> list[str]:
    try:
        with tarfile.open(path) as archive:
            return [member.name for member in islice(archive, _MOST)]
    except (OSError, EOFError, tarfile.TarError):
        return []
