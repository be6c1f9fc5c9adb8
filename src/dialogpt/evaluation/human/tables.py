"""The tables of a study's file, and how they are made, opened and checked.

    study          settings, as JSON                        items         context id, turns, systems, replies
    judges         name, secret token of the link           judgements    value of an assignment by a criterion
    assignments    an item given to a judge; `position` counts the judge's items from 0; `asked_for` makes it a check

Values are relative to the first of an item's systems; `swapped` says that the second one's reply stood first. Times are
seconds since 1970.
"""

import sqlite3
from pathlib import Path
from typing import Any

import msgspec

from dialogpt.errors import DataError
from dialogpt.evaluation.human.study import Item, Settings, Study

APPLICATION, VERSION = 0x4A554447, 1  # "JUDG", and the version of the tables
WAIT_S = 30.0  # to wait for other processes' writing

_TABLES = """
CREATE TABLE study (settings TEXT NOT NULL);
CREATE TABLE items (
    number INTEGER PRIMARY KEY, context TEXT NOT NULL, turns TEXT NOT NULL, systems TEXT NOT NULL, replies TEXT NOT NULL
);
CREATE TABLE judges (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, folded TEXT NOT NULL UNIQUE, token TEXT NOT NULL UNIQUE
);
CREATE TABLE assignments (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    judge INTEGER NOT NULL REFERENCES judges, item INTEGER NOT NULL REFERENCES items, position INTEGER NOT NULL,
    swapped INTEGER NOT NULL, asked_for INTEGER, reserved REAL NOT NULL, answered REAL, seconds REAL,
    UNIQUE (judge, position)
);
CREATE UNIQUE INDEX once ON assignments (judge, item) WHERE asked_for IS NULL;
CREATE INDEX given ON assignments (item) WHERE asked_for IS NULL;
CREATE TABLE judgements (
    assignment INTEGER NOT NULL REFERENCES assignments, criterion TEXT NOT NULL, value INTEGER NOT NULL,
    PRIMARY KEY (assignment, criterion)
) WITHOUT ROWID;
"""


class Unusable(DataError):
    """The file cannot be read or written now: a full disk, permissions, damage."""


def connect(path: Path) -> sqlite3.Connection:
    """Open a study's file for reading and writing, in any thread, without checking what it contains."""
    if not path.is_file():
        raise DataError(f"{path} is not a file", "name a study, which `dialogpt judge` makes from --hyps")
    try:
        uri = f"{path.resolve().as_uri()}?mode=rw"
        db = sqlite3.connect(uri, uri=True, timeout=WAIT_S, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA synchronous = FULL")  # what was acknowledged survives a power failure, too
        db.execute("PRAGMA foreign_keys = ON")
    except sqlite3.Error as error:
        raise unusable(path, error) from error
    return db


def read_settings(db: sqlite3.Connection, path: Path) -> Settings:
    """The study's settings; DataError for a file that holds no study, or one of another version."""
    application, version = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if application != APPLICATION:
        raise DataError(f"{path} is an SQLite file, but not a study", "name a file that `dialogpt judge` made")
    if version != VERSION:
        raise DataError(
            f"{path} is a study of version {version}, this is version {VERSION}",
            "use the version of dialogpt that made it",
        )
    try:
        return msgspec.json.decode(db.execute("SELECT settings FROM study").fetchone()[0], type=Settings)
    except (msgspec.DecodeError, TypeError) as error:
        raise DataError(f"{path}: its settings are damaged: {error}", "use a copy of it, if you have one") from error


def write_study(path: Path, study: Study) -> None:
    """Make the tables, and fill in settings and items."""
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = WAL")  # readers and a writer do not wait for each other
        db.execute("PRAGMA synchronous = FULL")
        db.executescript(
            f"BEGIN; PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; {_TABLES} COMMIT;"
        )
        db.execute("BEGIN")
        db.execute("INSERT INTO study VALUES (?)", (_json(study.settings),))
        rows = [
            (number, item.context, _json(item.turns), _json(item.systems), _json(item.replies))
            for number, item in enumerate(study.items)
        ]
        db.executemany("INSERT INTO items VALUES (?, ?, ?, ?, ?)", rows)
        db.execute("COMMIT")
    finally:
        db.close()


def read_items(db: sqlite3.Connection, path: Path) -> list[Item]:
    """The study's items, whose numbers are their places; DataError when they do not decode."""
    rows = db.execute("SELECT context, turns, systems, replies FROM items ORDER BY number").fetchall()
    decode = msgspec.json.Decoder(tuple[str, ...]).decode
    try:
        return [Item(row[0], *map(decode, row[1:])) for row in rows]
    except (msgspec.DecodeError, TypeError) as error:
        raise DataError(f"{path}: its items are damaged: {error}", "use a copy of it, if you have one") from error


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def unusable(path: Path, error: sqlite3.Error) -> DataError:
    """What SQLite says of a study's file, in words."""
    if "not a database" in str(error):
        return DataError(f"{path} is not a study", "name a file that `dialogpt judge` made")
    return Unusable(f"{path}: {error}", "check its folder, disk space and permissions, and that it is undamaged")
