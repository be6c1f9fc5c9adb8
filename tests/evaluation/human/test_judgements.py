"""Files of judgements in every form, and everything that can be wrong with them."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dialogpt.errors import DataError
from dialogpt.evaluation.human import Judgement
from dialogpt.evaluation.human.judgements import Judged, read_judgements
from dialogpt.evaluation.human.tally import tally

HEADER = "JudgeID\tInstanceID\tSystemID\tRelevance\tصلة\n"
ROWS = "j1\ti1\tA\t3\t4\nj2\ti1\tA\t5\t1\nj1\ti1\tB\t2\t2\nж\ti2\tB\t1\t5\n"
Read = Callable[[str | bytes], Judged]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def make(content: str | bytes) -> Judged:
        path = tmp_path / "study"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_judgements(path)

    return make


def line(**changed: Any) -> str:
    made = {"judge": "j", "item": "i", "criterion": "relevance", "systems": ["A", "B"], "value": 1}
    return json.dumps({**made, **changed}, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("form", ["plain", "bom", "crlf", "gzip", "columns", "spreadsheet"])
def test_ratings(read: Read, form: str) -> None:
    text = HEADER + ROWS
    if form == "columns":
        swapped = [cells[::-1] for cells in (row.split("\t") for row in text.splitlines())]
        text = "\n".join("\t".join(cells) for cells in swapped)
    if form == "spreadsheet":
        text = text.replace("\t3\t", "\t3.0\t") + "\n\n"
    raw = text.encode("utf-8-sig" if form == "bom" else "utf-8")
    raw = raw.replace(b"\n", b"\r\n") if form == "crlf" else raw
    found = read(gzip.compress(raw) if form == "gzip" else raw)
    criteria = ("relevance", "صلة")
    assert (found.kind, found.systems) == ("ratings", ("A", "B"))
    assert found.criteria == (criteria[::-1] if form == "columns" else criteria)
    assert not found.dropped
    first = Judgement(judge="j1", item="i1", criterion="relevance", systems=("A",), value=3)
    assert first in found.judgements
    assert len(found.judgements) == 8
    counts = tally(found)
    assert (counts.items, counts.units) == (("i1", "i2"), (("A",), ("B",)))
    assert counts.counts[0, 0, found.criteria.index("relevance")].tolist() == [0, 0, 1, 0, 1]


def test_what_is_no_rating_is_left_out_and_counted(read: Read) -> None:
    rows = [
        f"j\ti{n}\tA\t{value}\t3\n" for n, value in enumerate(("6", "0", "2.5", "good", "nan", "٤", " 4 ", "", " "))
    ]
    found = read(HEADER + ROWS + "".join(rows))
    assert len(found.judgements) == 8 + len(rows) + 2
    (none, more), (blank, two) = sorted(found.dropped.items(), reverse=True)
    assert (none, more) == (none, 5)
    assert none.startswith("ratings that are not whole numbers from 1 to 5, left out: ")
    assert none.endswith("study:10")
    assert (blank, two) == ("blank ratings, left out", 2)


def test_the_same_judge_twice_counts_but_agrees_with_nobody(read: Read) -> None:
    found = read(HEADER + ROWS + "j1\ti1\tA\t4\t4\n")
    assert found.dropped == {"repeated judgements by the same judge, which count, but not in the agreement": 2}
    counts = tally(found)
    assert counts.counts[0, 0, 0].tolist() == [0, 0, 1, 1, 1]
    assert counts.first[0, 0, 0].tolist() == [0, 0, 1, 0, 1]


def test_pairs_stand_in_one_order(read: Read) -> None:
    found = read(
        line(swapped=True)
        + line(judge="k", systems=["B", "A"], value=1, swapped=True)
        + line(judge="k", item="2", value=0, seconds=2.5)
        + line(item="2", value=-1, passed=False)
        + "\n"
        + line(judge="l", value=7)
    )
    assert (found.kind, found.systems, found.criteria) == ("pairs", ("A", "B"), ("relevance",))
    assert [(each.systems, each.value, each.swapped) for each in found.judgements] == [
        (("A", "B"), 1, True), (("A", "B"), -1, False), (("A", "B"), 0, False),
    ]  # fmt: skip
    assert [each.passed for each in found.checks] == [False]
    assert found.dropped == {"judgements that are not of -1, 0, 1, left out": 1}
    assert tally(found).counts[:, 0, 0].tolist() == [[1, 0, 1], [0, 1, 0]]


BAD: dict[str, tuple[str | bytes, str]] = {
    "nothing": ("", "study is empty"),
    "text": ("hello\nworld\n", "its first line has no column judgeid"),
    "no system": ("JudgeID\tInstanceID\tRelevance\nj\ti\t3\n", "has no column systemid"),
    "no criterion": ("JudgeID\tInstanceID\tSystemID\nj\ti\tA\n", "no column for a criterion"),
    "criterion twice": ("JudgeID\tInstanceID\tSystemID\tR\tr\nj\ti\tA\t1\t1\n", "column r has no name of its own"),
    "blank criterion": ("JudgeID\tInstanceID\tSystemID\tR\t\nj\ti\tA\t1\t1\n", r"column \(blank\) has no name"),
    "short lines": (HEADER + ROWS + "j\ti\n" * 7, r"study:6, .*study:10 and 2 more: not 5 cells"),
    "blank judge": (HEADER + " \ti\tA\t1\t1\n", "study:2: not 5 cells"),
    "header alone": (HEADER, "holds no judgement"),
    "no ratings": (HEADER + "j\ti\tA\tx\t9\n", "holds no judgement .*; 2 ratings that are not whole numbers"),
    "no such values": (line(value=2), "holds no judgement .*; 1 judgements that are not of -1, 0, 1, left out"),
    "nobody": (line() + line(judge=" "), "study:2: not a judgement: a judge, item, criterion or system has no name"),
    "no name": (line(systems=["A", ""]), "study:1: not a judgement: a judge, item, criterion or system has no name"),
    "one system": (HEADER + "j\ti\tA\t1\t2\n", "one system, 'A'"),
    "no JSON": (line() + "{\n", "study:2: not a judgement"),
    "other JSON": ('{"text": "hi"}\n', "study:1: not a judgement: .*judge"),
    "deep JSON": ('{"a":' + "[" * 9999, "study:1: not a judgement"),
    "three systems": (line() + line(systems=["A", "B", "C"]), r"study:2: a judgement is about one system or two"),
    "itself": (line(systems=["A", "A"]), "study:1: a judgement is about one system or two"),
    "two kinds": (line() + line(systems=["A"], value=3), "holds ratings and comparisons of pairs"),
    "checks alone": (line(passed=True), "holds no judgement"),
    "cp1251": ("да\n".encode("cp1251"), "study:1: not UTF-8"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_one_clear_error(read: Read, kind: str) -> None:
    content, message = BAD[kind]
    with pytest.raises(DataError, match=message) as raised:
        read(content)
    assert raised.value.hint


def test_a_mistaken_column_is_no_end_of_memory(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    found = read(HEADER + "".join(f"j\t{n % 3}\ts{n}\t1\t2\n" for n in range(300)))
    with pytest.raises(DataError, match="300 systems, 3 items and 2 criteria are too many"):
        tally(found)
    found = read("".join(line(item=str(n), systems=["A", f"B{n % 190}"]) for n in range(400)))
    monkeypatch.setattr("dialogpt.evaluation.human.tally.MOST_COUNTS", 190 * 400 * 3 - 1)
    with pytest.raises(DataError, match="191 systems, 400 items"):
        tally(found)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_judgements(tmp_path / "no")
    with pytest.raises(DataError, match="is a folder"):
        read_judgements(tmp_path)


class FakeStore:
    """What of a study's module is used."""

    def __init__(self, judgements: list[Judgement]) -> None:
        self._judgements = judgements
        self.settings = SimpleNamespace(
            kind="pairs", systems=("B", "A"), criteria=("style", "relevance", "taste"), judges=3, ties_left_out=4
        )

    def judgements(self) -> list[Judgement]:
        return self._judgements

    def __enter__(self) -> "FakeStore":
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_a_study_is_read_by_its_module(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    judgements = [
        Judgement(judge="j", item="1", criterion=name, systems=("A", "B"), value=1) for name in ("relevance", "style")
    ]
    store = SimpleNamespace(open=lambda path: FakeStore(judgements))
    monkeypatch.setattr("dialogpt.evaluation.human.judgements.Store", store)
    found = read(b"SQLite format 3\0and more")
    assert (found.systems, found.criteria) == (("B", "A"), ("style", "relevance"))
    assert [(each.systems, each.value) for each in found.judgements] == [(("B", "A"), -1)] * 2
    assert found.dropped == {
        "pairs of the same reply twice, which nobody was asked about, left out": 4,
        "criterion without a judgement, left out: taste": 1,
    }
