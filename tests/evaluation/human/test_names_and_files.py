"""Names of judges, of which each is one judge's, and files that are no study."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from dialogpt.errors import DataError, UsageError
from dialogpt.evaluation.human.store import NameTaken, Store
from dialogpt.evaluation.human.study import Study

Make = Callable[..., Store]


@pytest.mark.parametrize(
    "name, message",
    [
        ("", "1 to 80 letters, this one 0"),
        (" \t\u3000", "this one 0"),
        ("a" * 81, "this one 81"),
        ("a\0b", "is not a name"),
        ("\x1b[2J", "is not a name"),
        ("\ud800", "is not a name"),
    ],
)
def test_names_that_are_none(make_store: Make, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_store().add_judge(name)


def test_a_name_is_one_judges(make_store: Make) -> None:
    store = make_store()
    judge = store.add_judge("  Zoë  أحمد ")
    assert judge.name == "Zoë أحمد"
    for same in ("Zoe\u0308 أحمد", "ZOË  أحمد"):
        with pytest.raises(NameTaken):
            store.add_judge(same)
        assert store.judge_named(same) == judge
    assert store.judge_with(judge.token) == judge
    assert store.judge_with("x") is None
    assert len({store.add_judge(str(number)).token for number in range(20)}) == 20


def changed(path: Path, statement: str) -> None:
    db = sqlite3.connect(path)
    db.execute(statement)
    db.commit()
    db.close()


def test_files_that_are_no_study(make_store: Make, tmp_path: Path) -> None:
    store = make_store()
    store.close()
    for statement, message in (
        ("PRAGMA user_version = 9", "is a study of version 9, this is version 1"),
        ("UPDATE study SET settings = '{'", "its settings are damaged"),
        ("DELETE FROM study", "its settings are damaged"),
        ("UPDATE items SET turns = '[1]' WHERE number = 1", "its items are damaged"),
        ("DROP TABLE items", "no such table: items"),
        ("PRAGMA application_id = 5", "is an SQLite file, but not a study"),
    ):
        made = tmp_path / "changed.db"
        made.write_bytes(store.path.read_bytes())
        changed(made, statement)
        with pytest.raises(DataError, match=message):
            Store.open(made)
    for name, content, message in (
        ("empty.db", b"", "not a study"),
        ("text.db", b"JudgeID\tInstanceID\n" * 100, "is not a study"),
        ("noise.db", bytes(range(256)) * 40, "is not a study"),
        ("cut.db", store.path.read_bytes()[:5000], "cut.db"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=message):
            Store.open(tmp_path / name)
    for name in ("nowhere.db", "."):
        with pytest.raises(DataError, match="is not a file"):
            Store.open(tmp_path / name)
    with pytest.raises(DataError, match=r"nowhere.s.db cannot be written: No such file"):
        Store.create(tmp_path / "nowhere" / "s.db", Study(store.settings, tuple(store.items)))
