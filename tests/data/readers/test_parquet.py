"""Parquet: list columns of every form, rows that are turns, damaged files, no pyarrow."""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dialogpt.data.readers import ReadOptions, TextFile, parquet
from dialogpt.errors import DataError, UsageError
from dialogpt.session import Session, Turn

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def read(path: Path, columns: dict[str, Any], **options: Any) -> tuple[list[Session], Counter[str], list[int]]:
    pq.write_table(pa.table(columns), path, **options)
    dropped: Counter[str] = Counter()
    told: list[int] = []
    return list(parquet.read(TextFile(path, "", told.append), ReadOptions(), dropped)), dropped, told


A, B = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
TURNS = (Turn("a", "user"), Turn("b", "assistant"))


@pytest.mark.parametrize(
    "columns, turns",
    [
        ({"turns": [["a", "ب"]]}, (Turn("a"), Turn("ب"))),
        ({"dialog": [["a", "b"]], "act": [[1, 2]]}, (Turn("a"), Turn("b"))),
        ({"turns": [[["A", "a"], ["B", "b"]]]}, (Turn("a", "A"), Turn("b", "B"))),
        ({"turns": [[{"text": "a", "speaker": None, "learn": None}, {"text": "b", "speaker": "B", "learn": False}]]},
         (Turn("a"), Turn("b", "B", learn=False))),
        ({"messages": [[{"role": "system", "content": "x"}, A, B]]}, TURNS),
        ({"conversations": [[{"from": "user", "value": "a"}, {"from": "assistant", "value": "b"}]]}, TURNS),
    ],
)  # fmt: skip
def test_a_row_is_a_conversation(tmp_path: Path, columns: dict[str, Any], turns: tuple[Turn, ...]) -> None:
    found, dropped, told = read(tmp_path / "a.parquet", {**columns, "other": [1]})
    assert found == [Session(turns, id="a/1", source="a")]
    assert dropped == ({"system message": 1} if "messages" in columns else {})
    assert sum(told) == (tmp_path / "a.parquet").stat().st_size
    assert read(tmp_path / "a.parquet", {**columns, "id": [7], "source": ["s"]})[0] == [Session(turns, "7", "s")]


def test_a_row_is_a_question_and_its_answer(tmp_path: Path) -> None:
    columns = {"output": ["b", None], "input": ["x", ""], "instruction": ["a", "c"], "source": ["s", "s"],
               "history": [None, [["d", "e"]]], "system": ["f", None]}  # fmt: skip
    found, dropped, _ = read(tmp_path / "a.parquet", columns)
    assert [[turn.text for turn in session.turns] for session in found] == [["a x", "b"], ["d", "e", "c ", ""]]
    assert dropped == {"system message": 1}
    assert found[0].source == "s"


def test_a_row_is_a_turn_and_conversations_cross_row_groups(tmp_path: Path) -> None:
    rows = [(conversation, "AB"[turn % 2], f"{turn}") for conversation in "xyz" for turn in range(5)]
    ids, speakers, texts = map(list, zip(*rows, strict=True))
    columns = {"conversation_id": ids, "Speaker": speakers, "text": texts}
    found, _, _ = read(tmp_path / "a.parquet", columns, row_group_size=2)
    assert [session.id for session in found] == ["a/x", "a/y", "a/z"]
    assert all(session.turns == tuple(Turn(str(i), "AB"[i % 2]) for i in range(5)) for session in found)


def test_rows_that_answer_others_are_no_conversation(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"what they answer \(column parent_id\).*conversation_id"):
        read(tmp_path / "a.parquet", {"author": ["A"], "body": ["a"], "parent_id": ["t1_b"]})


def test_rows_without_a_conversation_are_one(tmp_path: Path) -> None:
    found, _, _ = read(tmp_path / "a.parquet", {"name": ["A", None], "line": ["a", "b"]})
    assert found == [Session((Turn("a", "A"), Turn("b")), id="a/0", source="a")]


@pytest.mark.parametrize(
    "columns, message",
    [
        ({"x": [1], "y": ["a"]}, "no column of turns among x, y"),
        ({"turns": [["a"], None]}, "row 2 is not a conversation: 'turns' is a NoneType"),
        ({"turns": [[1, 2]]}, "row 1 is not a conversation"),
        ({"messages": [[{"role": "user", "content": 3}]]}, "row 1 is not a conversation: a turn's text is a int"),
        ({"turns": ["a"]}, "row 1 is not a conversation: 'turns' is a str"),
    ],
)
def test_a_table_that_does_not_fit_is_an_error(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path / "a.parquet", columns)


@pytest.mark.parametrize("content", [b"PAR1", b"PAR1 nothing more PAR1", b"not at all"])
def test_a_damaged_table_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(DataError, match="not readable as Parquet"):
        list(parquet.read(TextFile(tmp_path / "a.parquet"), ReadOptions(), Counter()))


def test_without_pyarrow_the_command_to_install_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match="needs pyarrow") as caught:
        list(parquet.read(TextFile(tmp_path / "a.parquet"), ReadOptions(), Counter()))
    assert 'pip install "dialogpt[parquet]"' in caught.value.hint
