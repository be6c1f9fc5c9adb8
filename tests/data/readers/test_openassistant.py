"""OpenAssistant's trees: the best branch, all of them, what is left out; also of messages in lines and in Parquet."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dialogpt.data import ImportConfig
from dialogpt.data.importing import import_files
from dialogpt.data.readers import ReadOptions, TextFile, parquet
from dialogpt.errors import DataError, UsageError
from dialogpt.session import read_sessions

Read = Any


def message(name: str, *replies: Any, rank: int | None = None, **more: Any) -> dict[str, Any]:
    """A message of a tree; one called a... is the assistant's."""
    return {"message_id": name, "text": f"text {name}", "role": "assistant" if name[0] == "a" else "prompter",
            "lang": "es", "review_count": 3, "review_result": True, "deleted": False, "rank": rank, "synthetic": False,
            "labels": {"spam": {"value": 0.0, "count": 3}}, "replies": list(replies), **more}  # fmt: skip


TREE = {
    "message_tree_id": "p1",
    "tree_state": "ready_for_export",
    "prompt": message(
        "p1",
        message("a1", message("p2"), rank=2),
        message("a0", message("p4", review_result=False), message("p3", message("a3")), rank=0),
        message("a2", deleted=True),
        message("a4", message("p5", message("a5")), rank=None, review_result=False),
    ),
}
BEST = ["text p1", "text a0", "text p3", "text a3"]
DROPPED = {"message of another branch": 2, "message that failed its review": 2, "deleted message": 1,
           "message below one that is left out": 2}  # fmt: skip


def flat(node: dict[str, Any], parent: str | None = None) -> list[dict[str, Any]]:
    """The messages of a tree, as they stand in a table."""
    row = {"parent_id": parent, **{name: value for name, value in node.items() if name not in ("replies", "labels")},
           "message_tree_id": "p1", "tree_state": "ready_for_export"}  # fmt: skip
    return [row, *(below for reply in node["replies"] for below in flat(reply, node["message_id"]))]


def lines(*records: Any) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def test_the_best_branch_of_a_tree(read: Read) -> None:
    (found, other), dropped = read(lines(TREE, {"message_tree_id": "p9", "prompt": message("p9")}))
    assert (found.id, found.source, [turn.text for turn in found.turns]) == ("p1", "talk", BEST)
    assert [turn.speaker for turn in found.turns] == ["prompter", "assistant"] * 2
    assert (other.id, len(other.turns), dropped) == ("p9", 1, DROPPED)


def test_a_first_line_longer_than_the_head(read: Read) -> None:
    long = {**TREE, "prompt": {**TREE["prompt"], "text": "x" * 70_000}}  # type: ignore[dict-item]
    (found,), _ = read(lines(long))
    assert [turn.text for turn in found.turns[1:]] == BEST[1:]


@pytest.mark.parametrize("backward", [False, True])
def test_messages_in_lines(read: Read, backward: bool) -> None:
    rows = flat(TREE["prompt"])  # type: ignore[arg-type]
    (found,), dropped = read(lines(*(rows[::-1] if backward else rows)))
    assert (found.id, [turn.text for turn in found.turns], dropped) == ("p1", BEST, DROPPED)


def test_messages_whose_parents_are_not_there(read: Read) -> None:
    rows = [row for row in flat(TREE["prompt"]) if row["message_id"] != "a0"]  # type: ignore[arg-type]
    circle = [{**rows[0], "message_id": "x", "parent_id": "y"}, {**rows[0], "message_id": "y", "parent_id": "x"}]
    found, dropped = read(lines(*rows, *circle))
    assert [session.id for session in found] == ["p1", "p4", "p3"]
    assert [turn.text for turn in found[2].turns] == ["text p3", "text a3"]
    assert dropped["message that answers itself"] == 2


def test_trees_that_were_given_up(read: Read) -> None:
    states = ("aborted_low_grade", "halted_by_moderator", "growing")
    found, dropped = read(lines(*({**TREE, "tree_state": state} for state in states)))
    assert len(found) == 1
    assert dropped == DROPPED | {"tree that was aborted or halted": 2}


def test_all_branches_where_replies_are_followed(tmp_path: Path) -> None:
    (tmp_path / "oasst.trees.jsonl").write_text(lines(TREE), encoding="utf-8")
    manifest = import_files(ImportConfig(files=(tmp_path / "oasst.trees.jsonl",), out=tmp_path / "out", replies=True))
    shown = [(s.id, " ".join(t.text[5:] if t.learn else f"({t.text[5:]})" for t in s.turns))
             for s in read_sessions(tmp_path / "out")]  # fmt: skip
    assert shown == [("p1/0#3", "p1 a0 p3 a3"), ("p1/0#5", "(p1) a1 p2")]
    assert manifest.dropped == {reason: count for reason, count in DROPPED.items() if "another" not in reason}


def test_messages_in_parquet(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows, path = flat(TREE["prompt"]), tmp_path / "train.parquet"  # type: ignore[arg-type]
    pq.write_table(pa.Table.from_pylist(rows), path)
    manifest = import_files(ImportConfig(files=(path,), out=tmp_path / "out"))
    assert [[turn.text for turn in session.turns] for session in read_sessions(tmp_path / "out")] == [BEST]
    assert manifest.dropped == DROPPED
    pq.write_table(pa.Table.from_pylist([{**rows[0], "role": None}]), path)
    with pytest.raises(DataError, match=r"train\.parquet: not messages of OpenAssistant: .*role"):
        import_files(ImportConfig(files=(path,), out=tmp_path / "out", overwrite=True))


def test_other_parquet_has_no_replies(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"turns": [["a", "b"]]}), tmp_path / "a.parquet")
    with pytest.raises(UsageError, match=r"--replies: .*a\.parquet"):
        list(parquet.read(TextFile(tmp_path / "a.parquet"), ReadOptions(replies=True), Counter()))


@pytest.mark.parametrize(
    "content, where",
    [
        (lines(TREE, {"message_tree_id": "x"}), r"talk\.txt:2: .*missing required field `prompt`"),
        (lines(TREE)[:200], r"talk\.txt:1: "),
        (lines({"message_id": "x", "message_tree_id": "x", "role": "prompter"}), r"talk\.txt:1: .*`text`"),
        (lines({**TREE, "prompt": {**message("x"), "rank": "first"}}), r"talk\.txt:1: .*rank"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_an_error(read: Read, content: str, where: str) -> None:
    with pytest.raises(DataError, match=where):
        read(content, "openassistant")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_any_encoding_and_line_ends(read: Read, encoding: str) -> None:
    content = lines({**TREE, "prompt": message("p1", text="ما اسمك؟")}, TREE).replace("\n", "\r\n").encode(encoding)
    assert [len(session.turns) for session in read(content)[0]] == [1, 4]
