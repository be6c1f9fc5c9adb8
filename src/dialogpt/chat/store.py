"""Conversations of the terminal and of bots, in one SQLite file: each turn is written as soon as it is said.

The file lies in the user's data folder (`data_folder`). Several processes may write at once. What was taken back stays
in the file, marked, and is neither shown nor exported.
"""

import os
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

import msgspec

from dialogpt.data.readers import fold
from dialogpt.decoding import ReplyConfig
from dialogpt.errors import DataError
from dialogpt.session import Session, Turn

VERSION = 3  # 1 had no `chat`; 2 also stored each text as folded for the search
BUSY_S = 10.0  # how long another process may hold the file

_SCHEMA = """
CREATE TABLE conversations (
    id INTEGER PRIMARY KEY AUTOINCREMENT, began TEXT NOT NULL DEFAULT (datetime('now')),
    model TEXT NOT NULL, settings TEXT NOT NULL, chat TEXT NOT NULL DEFAULT ''
);
CREATE TABLE turns (
    id INTEGER PRIMARY KEY, conversation INTEGER NOT NULL REFERENCES conversations ON DELETE CASCADE,
    speaker TEXT NOT NULL, text TEXT NOT NULL,
    said TEXT NOT NULL DEFAULT (datetime('now')), taken_back INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX turns_of ON turns (conversation, id);
CREATE INDEX conversations_of ON conversations (chat, id);
"""
_FROM_2 = "ALTER TABLE turns DROP COLUMN folded;"
_FROM_1 = f"""
ALTER TABLE conversations ADD COLUMN chat TEXT NOT NULL DEFAULT '';
CREATE INDEX conversations_of ON conversations (chat, id);
{_FROM_2}
"""


class Listed(NamedTuple):
    """A conversation in the list; `began` in UTC, `chat` as telegram/42 or "" for the terminal."""

    id: int
    began: str
    model: str
    chat: str
    turns: int
    first: str


def data_folder() -> Path:
    """Where the user's data are: DIALOGPT_DATA, or the system's usual place; DataError without a home folder."""
    if given := os.environ.get("DIALOGPT_DATA"):
        return Path(given)
    try:
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Application Support" / "dialogpt"
        if sys.platform == "win32":
            return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "dialogpt"
        return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "dialogpt"
    except RuntimeError as error:  # a user who is only a number, as in a container
        raise DataError(
            "there is no home folder to keep conversations in",
            "set DIALOGPT_DATA to a folder; `chat` and `bot` also take --no-log",
        ) from error


def default_path() -> Path:
    return data_folder() / "conversations.sqlite"


class Conversations:
    """The file of conversations; a context manager. Methods raise DataError when the file cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error

    def _prepare(self) -> None:
        self._write_ahead()
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.create_function("fold", 1, fold, deterministic=True)
        self._db.execute("BEGIN IMMEDIATE")  # of several processes, one makes the tables
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if version == 0 and tables == 0:
            self._change(_SCHEMA)
            if os.name == "posix":
                self.path.chmod(0o600)  # what was said is private
        elif version in (1, 2):
            self._change(_FROM_1 if version == 1 else _FROM_2)
        elif version != VERSION:
            self._db.execute("ROLLBACK")
            raise DataError(
                f"{self.path} has version {version}, but conversations are in files of version 1 to {VERSION}",
                "set DIALOGPT_DATA to another folder, or add --no-log",
            )
        self._db.execute("COMMIT")

    def _write_ahead(self) -> None:
        """Switch to a write-ahead log; SQLite itself does not wait while another process does the same."""
        until = time.monotonic() + BUSY_S
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
            time.sleep(0.01)

    def _change(self, statements: str) -> None:
        """Bring the tables to this version."""
        for statement in filter(str.strip, statements.split(";")):
            self._db.execute(statement)
        self._db.execute(f"PRAGMA user_version = {VERSION}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def begin(self, model: str, settings: ReplyConfig, chat: str = "") -> int:
        """A new conversation, of a bot's chat or of the terminal; returns its id."""
        text = msgspec.json.encode(settings, enc_hook=str).decode()
        cursor = self._run("INSERT INTO conversations (model, settings, chat) VALUES (?, ?, ?)", model, text, chat)
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def add(self, conversation: int, turns: Sequence[Turn]) -> None:
        """Keep turns that were said, all or none."""
        rows = [(conversation, turn.speaker, turn.text) for turn in turns]
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT INTO turns (conversation, speaker, text) VALUES (?, ?, ?)", rows)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise self._unusable(error) from error

    def take_back(self, conversation: int, count: int) -> None:
        """Mark the last turns as taken back."""
        self._run(
            "UPDATE turns SET taken_back = 1 WHERE id IN (SELECT id FROM turns WHERE conversation = ? AND "
            "NOT taken_back ORDER BY id DESC LIMIT ?)",
            conversation, count,
        )  # fmt: skip

    def last(self) -> int | None:
        """The conversation in which something was said last at a terminal."""
        row = self._run(
            "SELECT conversation FROM turns t JOIN conversations c ON c.id = t.conversation "
            "WHERE NOT taken_back AND chat = '' ORDER BY t.id DESC LIMIT 1"
        ).fetchone()
        return None if row is None else int(row[0])

    def of_chat(self, chat: str) -> int | None:
        """The conversation of a bot's chat that was begun last, even if nothing was said in it."""
        (found,) = self._run("SELECT max(id) FROM conversations WHERE chat = ?", chat).fetchone()
        return None if found is None else int(found)

    def rename_chat(self, chat: str, name: str) -> None:
        """Give a chat's conversations to another chat, with which the platform has replaced it."""
        self._run("UPDATE conversations SET chat = ? WHERE chat = ?", name, chat)

    def session(self, conversation: int) -> Session:
        """A conversation's turns, without those that were taken back; DataError when there is none of that id."""
        if self._run("SELECT 1 FROM conversations WHERE id = ?", conversation).fetchone() is None:
            raise DataError(f"there is no conversation {conversation}", "`dialogpt conversations` lists them")
        rows = self._run(
            "SELECT text, speaker FROM turns WHERE conversation = ? AND NOT taken_back ORDER BY id", conversation
        )
        return Session(tuple(Turn(*row) for row in rows), id=f"chat/{conversation}", source="chat")

    def listed(self, search: str = "") -> list[Listed]:
        """The conversations in which something was said, or in which this was, as `fold` reads it, the newest first."""
        rows = self._run(
            "SELECT c.id, c.began, c.model, c.chat, t.turns, f.text FROM conversations c JOIN ("
            "SELECT conversation, count(*) AS turns, min(id) AS first, max(id) AS last, "
            "max(?1 = '' OR instr(fold(text), ?1)) AS found FROM turns WHERE NOT taken_back GROUP BY conversation"
            ") t ON t.conversation = c.id JOIN turns f ON f.id = t.first WHERE t.found ORDER BY t.last DESC",
            fold(search) or search,  # of tatweel alone nothing is left, and that is in every text
        )
        return [Listed(*row) for row in rows]

    def delete(self, conversation: int) -> None:
        """Remove a conversation for good."""
        self.session(conversation)
        self._run("DELETE FROM conversations WHERE id = ?", conversation)

    def _run(self, statement: str, *values: object) -> sqlite3.Cursor:
        try:
            return self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> DataError:
        reason = getattr(error, "strerror", None) or error
        return DataError(f"{self.path} cannot be used: {reason}", "check disk space and permissions, or add --no-log")
