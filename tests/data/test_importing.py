"""Conversational files -> sessions: the forms, what the settings do, what is dropped and counted."""

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialogpt.artifact import Manifest, read_manifest
from dialogpt.data import ImportConfig
from dialogpt.data.importing import import_files
from dialogpt.data.readers import tidy
from dialogpt.errors import DataError, UsageError
from dialogpt.session import Session, Turn, read_sessions

Import = Callable[..., tuple[list[Session], Manifest]]


@pytest.fixture
def import_records(tmp_path: Path) -> Import:
    """Import records, a JSON object a line, with the given settings; returns the sessions and the manifest."""

    def run(*records: Any, **options: Any) -> tuple[list[Session], Manifest]:
        file = tmp_path / "talk.train.jsonl"
        file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        manifest = import_files(ImportConfig(files=(file,), out=tmp_path / "out", overwrite=True, **options))
        assert read_manifest(tmp_path / "out") == manifest
        return list(read_sessions(tmp_path / "out")), manifest

    return run


def pairs(*texts: str) -> dict[str, Any]:
    """A conversation of A and B by turns."""
    return {"id": "x", "turns": [["AB"[i % 2], text] for i, text in enumerate(texts)]}


def texts(session: Session) -> list[str]:
    return [turn.text for turn in session.turns]


def test_every_form_becomes_a_session(import_records: Import) -> None:
    parts = [{"type": "text", "text": "Hi"}, {"type": "image", "url": "x"}, {"type": "text", "text": "you"}]
    found, manifest = import_records(
        {"id": 7, "turns": [["A", "Hi"], ["B", "Hello"]], "source": "book"},
        {"turns": ["Hi", "Hello"]},
        {"turns": [{"speaker": "A", "text": "Hi", "learn": False}, {"text": "Hello"}]},
        {"messages": [{"role": "system", "content": "be nice"}, {"role": "user", "content": parts},
                      {"role": "assistant", "content": "Hello"}]},
    )  # fmt: skip
    assert found == [
        Session((Turn("Hi", "A"), Turn("Hello", "B")), id="7", source="book"),
        Session((Turn("Hi"), Turn("Hello")), id="talk/2", source="talk"),
        Session((Turn("Hi", "A", learn=False), Turn("Hello")), id="talk/3", source="talk"),
        Session((Turn("Hi you", "user"), Turn("Hello", "assistant")), id="talk/4", source="talk"),
    ]
    assert manifest.counts == {"sessions": 4, "turns": 8, "words": 9}
    assert manifest.dropped == {"system message": 1}


def test_only_the_named_speaker_is_learned(import_records: Import) -> None:
    found, manifest = import_records(pairs("a", "b", "c", "d"), {"turns": [["B", "x"], ["A", "y"]]}, speaker="B")
    assert [[turn.learn for turn in session.turns] for session in found] == [[False, True, False, True]]
    assert manifest.dropped == {"session without a turn to learn": 1}  # B's only turn comes first, as context


def test_a_turn_marked_as_context_stays_so(import_records: Import) -> None:
    record = {"turns": [{"speaker": "A", "text": "a"}, {"speaker": "B", "text": "b", "learn": False}, ["A", "c"]]}
    found, _ = import_records(record)
    assert [turn.learn for turn in found[0].turns] == [True, False, True]


def test_head_keeps_the_first_turns(import_records: Import) -> None:
    found, manifest = import_records(pairs("a", "b", "c", "d"), pairs("e", "f"), head=3)
    assert [texts(session) for session in found] == [["a", "b", "c"], ["e", "f"]]
    assert manifest.dropped == {"turn beyond --head": 1}


def test_merge_joins_a_speakers_turns(import_records: Import) -> None:
    record = {"turns": [["A", "a"], ["A", "b"], ["B", "c"], ["B", " "], ["B", "d"], ["A", "e"]]}
    assert texts(import_records(record, merge=True)[0][0]) == ["a b", "c d", "e"]
    assert texts(import_records(record)[0][0]) == ["a", "b", "c", "d", "e"]


def test_a_long_turn_ends_the_session_before_it(import_records: Import) -> None:
    found, manifest = import_records(pairs("a", "b", "one two three", "c", "d", "four five six", "e"), max_words=2)
    assert [(session.id, texts(session)) for session in found] == [("x#0", ["a", "b"]), ("x#1", ["c", "d"])]
    assert manifest.dropped == {"turn over --max-words": 2, "session of fewer than two turns": 1}


def test_empty_turns_and_short_conversations_are_counted(import_records: Import) -> None:
    found, manifest = import_records(pairs("a", " \u0007\n", "b"), pairs("alone"), {"turns": []})
    assert [texts(session) for session in found] == [["a", "b"]]
    assert manifest.dropped == {"empty turn": 1, "session of fewer than two turns": 2}


def test_every_turn_is_kept_or_counted(import_records: Import) -> None:
    records = [pairs(*("w " * (i % 4) for i in range(n))) for n in range(12)]
    found, manifest = import_records(*records, max_words=2, head=9)
    given_turns = sum(len(record["turns"]) for record in records)
    counted = sum(count for reason, count in manifest.dropped.items() if reason.startswith(("turn", "empty turn")))
    alone = manifest.dropped["session of fewer than two turns"]
    kept = sum(len(session.turns) for session in found)
    assert given_turns - alone <= kept + counted <= given_turns


@settings(deadline=None)
@given(st.text(st.characters(codec=None)))
def test_tidy_text_is_one_line_of_normal_characters(text: str) -> None:
    tidied = tidy(text)
    assert tidy(tidied) == tidied
    assert tidied == " ".join(tidied.split())
    assert not any(unicodedata.category(c) in ("Cc", "Cs") for c in tidied)
    assert unicodedata.is_normalized("NFC", tidied)


@pytest.mark.parametrize(
    "text, expected",
    [("  a \t\r\n b\u00a0c\u2028d ", "a b c d"), ("e\u0301", "é"), ("a\x00b\x1b[0m", "ab[0m"),
     ("أهلا  وسهلا", "أهلا وسهلا"), ("👩‍👩‍👧", "👩‍👩‍👧"), ("\ud800x", "x"), ("I said: NO!!", "I said: NO!!")],
)  # fmt: skip
def test_tidy(text: str, expected: str) -> None:
    assert tidy(text) == expected


@pytest.mark.parametrize(
    "line, reason",
    [
        ("3", "a JSON object is needed, this is a int"),
        ('{"text": "hi"}', "neither 'turns' nor 'messages'"),
        ('{"turns": [["A", "B", "C"]]}', "too many values"),
        ('{"turns": [["A"]]}', "not enough values"),
        ('{"turns": [{"speaker": "A"}]}', "text"),
        ('{"turns": [["A", 3]]}', "a turn's text is a int"),
        ('{"turns": 3}', "a list is needed"),
        ('{"turns": null}', "a list is needed"),
        ('{"turns": "Hello"}', "a list is needed"),
        ('{"messages": [{"content": "hi"}]}', "role"),
        ('{"messages": ["hi"]}', "indices"),
        ('{"messages": [{"role": "user", "content": ["hi"]}]}', "not a conversation"),
        ('{"messages": [{"role": "user", "content": null}]}', "a turn's text is a NoneType"),
        ("{", "not a conversation"),
    ],
)
def test_a_line_that_is_no_conversation_is_an_error_with_its_place(tmp_path: Path, line: str, reason: str) -> None:
    file = tmp_path / "talk.jsonl"
    file.write_text(f'{{"turns": ["a", "b"]}}\n{line}\n', encoding="utf-8")
    with pytest.raises(DataError, match=rf"talk\.jsonl:2: .*{reason}") as caught:
        import_files(ImportConfig(files=(file,), out=tmp_path / "out"))
    assert "turns" in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_nothing_left_says_why(import_records: Import, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no session of two turns") as caught:
        import_records(pairs("alone"))
    assert caught.value.hint == "session of fewer than two turns: 1"


@pytest.mark.parametrize("settings", [{"head": -1}, {"max_words": -2}])
def test_negative_limits_are_usage_errors(import_records: Import, settings: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="is below 0"):
        import_records(pairs("a", "b"), **settings)


def test_the_shared_corpora_are_read(shared: Path, tmp_path: Path) -> None:
    manifest = import_files(
        ImportConfig(files=(shared / "corpora" / "casino.jsonl.xz",), out=tmp_path / "out", merge=True, max_words=60)
    )
    assert manifest.counts["sessions"] > 500
    for session in read_sessions(tmp_path / "out"):
        assert session.source == "casino"
        assert all(a.speaker != b.speaker for a, b in zip(session.turns, session.turns[1:], strict=False))
        assert all(0 < len(turn.text.split()) <= 60 for turn in session.turns)
