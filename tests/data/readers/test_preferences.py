"""Preference data: what people did not like is not learned, and counted."""

import json
from pathlib import Path
from typing import Any

import pytest

from dialogpt.data import ImportConfig
from dialogpt.data.importing import import_files
from dialogpt.data.readers.preferences import DISLIKED, WORSE
from dialogpt.session import Turn, read_sessions

Read = Any
ASK, GOOD, BAD = ({"role": role, "content": text} for role, text in (("user", "a"), ("assistant", "b"), ("gpt", "c")))
HUMAN, GPT, OTHER = ({"from": name, "value": text} for name, text in (("human", "a"), ("gpt", "b"), ("gpt", "c")))
TRANSCRIPT = "\n\nHuman: a\n\nAssistant: b: Human?\n\nHuman: c\n\nAssistant: d"


@pytest.mark.parametrize("label", ["label", "kto_tag"])
@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "a", "completion": "b"},
        {"prompt": [ASK], "completion": [GOOD]},
        {"instruction": "a", "input": "", "output": "b"},
        {"messages": [ASK, GOOD]},
        {"conversations": [HUMAN, GPT]},
        {"turns": [["A", "a"], ["B", "b"]]},
    ],
)
def test_an_answer_that_was_not_liked_is_left_out(read: Read, record: Any, label: str) -> None:
    records = [{**record, label: liked} for liked in (True, False, None, 0)]
    found, dropped = read("\n".join(map(json.dumps, records)))
    assert [[turn.text.strip() for turn in session.turns] for session in found] == [["a", "b"]] * 3
    assert dropped == {DISLIKED: 1}


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "a", "chosen": "b", "rejected": "c"},
        {"instruction": "a", "input": "", "chosen": "b", "rejected": "c"},
        {"prompt": [ASK], "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": "a", "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": "a", "chosen": [ASK, GOOD], "rejected": [ASK, BAD], "score_chosen": 9.0},
        {"chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
        {"messages": [ASK, GOOD], "chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
        {"conversations": [HUMAN], "chosen": GPT, "rejected": OTHER},
    ],
)
def test_of_two_answers_the_chosen_one_is_learned(read: Read, record: Any) -> None:
    (session,), dropped = read(json.dumps({"id": "x", **record}))
    assert [turn.text.strip() for turn in session.turns] == ["a", "b"]
    assert (session.id, dropped) == ("x", {WORSE: 1})


def test_a_transcript_that_was_chosen(read: Read) -> None:
    (session,), dropped = read(json.dumps({"chosen": TRANSCRIPT, "rejected": "\n\nHuman: a\n\nAssistant: e"}))
    assert session.turns == (
        Turn("a", "Human"), Turn("b: Human?", "Assistant"), Turn("c", "Human"), Turn("d", "Assistant")
    )  # fmt: skip
    assert dropped == {WORSE: 1}


def test_tables_too(read: Read) -> None:
    found, dropped = read("prompt,completion,label\na,b,True\na,c,False\n", file="a.csv")
    assert [[turn.text for turn in session.turns] for session in found] == [["a", "b"]]
    assert dropped == {DISLIKED: 1}
    found, dropped = read("prompt,chosen,rejected\na,b,c\n", file="a.csv")
    assert [[turn.text for turn in session.turns] for session in found] == [["a", "b"]]
    assert dropped == {WORSE: 1}


@pytest.mark.parametrize(
    "columns, counted",
    [
        ({"prompt": ["a", "a"], "completion": ["b", "c"], "label": [True, False]}, DISLIKED),
        ({"prompt": ["a"], "completion": [[GOOD]], "label": [True]}, ""),
        ({"prompt": ["a"], "chosen": [[ASK, GOOD]], "rejected": [[ASK, BAD]]}, WORSE),
        ({"chosen": ["\n\nHuman: a\n\nAssistant: b"], "rejected": ["\n\nHuman: a\n\nAssistant: c"]}, WORSE),
    ],
)
def test_parquet_too(tmp_path: Path, columns: dict[str, Any], counted: str) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    config = ImportConfig(files=(tmp_path / "a.parquet",), out=tmp_path / "out")
    dropped = import_files(config).dropped
    assert [[turn.text for turn in session.turns] for session in read_sessions(config.out)] == [["a", "b"]]
    assert dropped == ({counted: 1} if counted else {})


@pytest.mark.parametrize("mark", [{"weight": 0}, {"learn": False}, {"train": False}, {"training": False}, {"loss": 0}])
@pytest.mark.parametrize(
    "record",
    [{"messages": [ASK, GOOD]}, {"conversations": [HUMAN, GPT]}, {"turns": [{"speaker": "A", "text": "a"}, GOOD]}],
)
def test_a_turn_that_is_marked_carries_no_loss(read: Read, record: Any, mark: Any) -> None:
    ((name, (first, second)),) = record.items()
    (session,), _ = read(json.dumps({name: [first, {**second, **mark}]}))
    assert [turn.learn for turn in session.turns] == [True, False]
    assert session.turns[1].text == "b"
