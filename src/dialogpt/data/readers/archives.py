"""What is no file of conversations, but holds them: folders and zip archives as services give them, spreadsheets."""

import re
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from dialogpt.data.readers.text import TextFile
from dialogpt.errors import DataError
from dialogpt.files import open_input, zip_archive

_OTHER_ARCHIVES = {
    (b"7z\xbc\xaf", 0): "a 7z archive",
    (b"Rar!", 0): "a rar archive",
    (b"ustar", 257): "a tar archive",
}
_SPREADSHEETS = (".xlsx", ".xls", ".ods")
_DAY = re.compile(r"\d{4}-\d\d-\d\d\.json")  # of Slack's
# As WhatsApp, LINE, KakaoTalk, Telegram, Matrix, signal-export, Snapchat, ChatGPT and Claude, Messenger, Google Chat,
# Skype and Slack call them; and what `import` itself writes, but for what lies deeper.
_CHATS = re.compile(
    r"(?:.*/)?(?!\._)(?:_chat\.txt|[^/]*(?:WhatsApp|واتسا[بپ]|ווטסאפ)[^/]*\.txt|\[LINE\][^/]*\.txt"
    r"|KakaoTalk[^/]*\.(?:txt|csv)|result\.json|export\.json|data\.json|chat_history\.json|conversations[^/]*\.json"
    r"|messages?(?:_\d+)?\.json|[^/]+/\d{4}-\d\d-\d\d\.json)"
    r"|[^/]+/(?:sessions|chats)-\d{5}\.[\w.]+"
)


def chats(path: Path) -> list[Path]:
    """The files of chats in a folder or in a zip archive, in order; any other file is the only one.

    Raises DataError when none has a name that services give, for an archive that is damaged, and for a missing file.
    """
    if path.is_dir():
        what, names = "folder", [each.relative_to(path).as_posix() for each in path.rglob("*.*")]
    elif _is_zip(path):
        what, names = "zip archive", zip_archive(path).namelist()
    else:
        return [path]
    found = [path / name for name in sorted(set(names)) if _CHATS.fullmatch(f"{path.absolute().name}/{name}")]
    if not found:
        raise DataError(
            f"no file in the {what} {path} is called as chats are, such as _chat.txt or conversations.json",
            f"name the files of chats in it{f', such as {path / min(names)}' if names else ''}",
        )
    return found


def together(files: Iterable[Path]) -> list[list[Path]]:
    """The files, with those of one folder that are called after days as one, since a chat goes on from day to day."""
    return [list(days) for _, days in groupby(files, lambda file: file.parent if _DAY.fullmatch(file.name) else file)]


def _is_zip(path: Path) -> bool:
    if path.suffix.lower() in _SPREADSHEETS:
        return False
    with open_input(path) as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def refuse(file: TextFile) -> None:
    """DataError for another archive or a spreadsheet."""
    if file.path.suffix.lower() in _SPREADSHEETS:
        raise DataError(f"{file.path} is a spreadsheet", "save it as CSV or as Unicode text")
    for (magic, at), what in _OTHER_ARCHIVES.items():
        if file.begins_with(magic, at):
            raise DataError(f"{file.path} is {what}", "unpack it and name the folder")
