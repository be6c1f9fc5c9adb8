"""The `import` command: the forms of JSONL, what the settings do, what is dropped and counted."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dialogpt.artifact import Manifest, read_manifest
from dialogpt.data import ImportConfig
from dialogpt.data.importing import import_files
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
        ('{"messages": [{"role": "user", "content": 3}]}', "a turn's text is a int"),
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


@pytest.mark.parametrize("settings", [{"head": -1}, {"max_words": -2}, {"gap": -1}, {"window": -1}])
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


WHATSAPP = """\
12/30/20, 9:15 PM - Ann: Hello
12/30/20, 9:15 PM - Ann: are you there?
12/30/20, 9:16 PM - Bo: yes
12/30/20, 9:17 PM - Ann: good
12/31/20, 8:00 AM - Bo: morning
12/31/20, 8:01 AM - Ann: <Media omitted>
12/31/20, 8:02 AM - Ann: hi
"""
DISCORD = {
    "guild": {}, "channel": {"id": "5"},
    "messages": [
        {"id": str(i), "timestamp": f"2021-01-05T18:{i:02}:00Z", "content": f"w{i}", "author": {"name": name}, **more}
        for i, (name, more) in enumerate([("A", {}), ("B", {}), ("C", {"reference": {"messageId": "0"}}), ("B", {})])
    ],
}  # fmt: skip


@pytest.fixture
def import_text(tmp_path: Path) -> Import:
    """Import one file of text with the given settings; returns what its sessions look like, and the manifest."""

    def run(content: str, file: str = "chat.txt", **options: Any) -> tuple[list[str], Manifest]:
        (tmp_path / file).write_text(content, encoding="utf-8")
        config = ImportConfig(files=(tmp_path / file,), out=tmp_path / "out", overwrite=True, **options)
        manifest = import_files(config)
        sessions = read_sessions(tmp_path / "out")
        return [" | ".join(t.text if t.learn else f"({t.text})" for t in s.turns) for s in sessions], manifest

    return run  # type: ignore[return-value]


def test_a_chat_log_is_merged_and_cut_at_silences(import_text: Import) -> None:
    found, manifest = import_text(WHATSAPP)
    assert found == ["Hello are you there? | yes | good", "morning | hi"]
    assert manifest.dropped == {"media": 1}
    assert import_text(WHATSAPP, merge=False)[0][0] == "Hello | are you there? | yes | good"
    assert import_text(WHATSAPP, gap=0)[0] == ["Hello are you there? | yes | good | morning | hi"]


def test_other_files_are_merged_only_when_asked(import_text: Import) -> None:
    script = "name,line\nAnn,a\nAnn,b\nBo,c\n"
    assert import_text(script)[0] == ["a | b | c"]
    assert import_text(script, merge=True)[0] == ["a b | c"]


def test_merge_does_not_join_turns_of_nobody(import_records: Import) -> None:
    assert texts(import_records({"turns": ["a", "b", "c"]}, merge=True)[0][0]) == ["a", "b", "c"]


def test_a_character_bots_windows(import_text: Import) -> None:
    script = "name,line\nAnn,a\nBo,b\nAnn,c\n,\nBo,d\nAnn,e\nCy,f\nBo,g\n"
    found, manifest = import_text(script, speaker="Bo\u200e", window=2)
    assert found == ["(a) | b", "(e) | (f) | g"]
    assert manifest.dropped == {"turn without context": 1}


def test_replies_are_followed_where_the_format_has_them(import_text: Import) -> None:
    assert import_text(json.dumps(DISCORD))[0] == ["w0 | w1 | w2 | w3"]
    assert import_text(json.dumps(DISCORD), replies=True)[0] == ["w0 | w1", "(w0) | w2 | w3"]
    with pytest.raises(UsageError, match=r"--replies: .*chat\.txt \(whatsapp\)"):
        import_text(WHATSAPP, replies=True)


def test_a_speaker_that_says_nothing_is_an_error_with_names(import_text: Import) -> None:
    with pytest.raises(UsageError, match="--speaker 'ann' says nothing") as caught:
        import_text(WHATSAPP, speaker="ann")
    assert caught.value.hint == "did you mean 'Ann'? the most frequent: Ann (4), Bo (2)"


def test_names_that_a_speaker_may_have_too_are_told(import_text: Import, caplog: pytest.LogCaptureFixture) -> None:
    names = ("ليلى", "أحمد", "احمد", "سارة", "أحْمد", "احمد", "ليلي")
    found, _ = import_text("".join(f"13/1/21, 10:00 - {name}: {name}\n" for name in names), speaker="أحمد", merge=False)
    assert found == ["(ليلى) | أحمد | (احمد) | (سارة) | (أحْمد) | (احمد) | (ليلي)"]
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["--speaker أحمد is not 'احمد' (2), 'أحْمد' (1): their turns are context"]


def test_options_that_concern_no_file_are_told(import_text: Import, caplog: pytest.LogCaptureFixture) -> None:
    pairs = '{"turns": ["Hi", "Hello"]}'
    for text, options in ((pairs, {"gap": 5}), (pairs, {"date_order": "dmy"}), (WHATSAPP, {"gap": 5})):
        import_text(text, **options)
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "--gap is not used: the files are read as jsonl",
        "--date-order is not used: the files are read as jsonl",
    ]


def test_an_encoding_and_a_format_can_be_named(import_text: Import, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("ليلى,أهلا\nسامي,أهلين\n".encode("windows-1256"))
    config = ImportConfig(
        files=(tmp_path / "a.txt",), out=tmp_path / "out", encoding="windows-1256", from_="script"
    )  # fmt: skip
    import_files(config)
    assert [texts(session) for session in read_sessions(tmp_path / "out")] == [["أهلا", "أهلين"]]


def test_files_of_several_formats_go_together(tmp_path: Path) -> None:
    contents = {"a.txt": WHATSAPP, "b.csv": "name,line\nAnn,a\nBo,b\n", "c.json": json.dumps(DISCORD), "d.txt": ""}
    for name, content in contents.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    manifest = import_files(ImportConfig(files=tuple(tmp_path / name for name in contents), out=tmp_path / "out"))
    assert [session.source for session in read_sessions(tmp_path / "out")] == ["a", "a", "b", "c"]
    assert manifest.dropped == {"media": 1, "empty file": 1}


@pytest.mark.parametrize("form", ["auto", "script"])
@pytest.mark.parametrize("nothing", ["", "\n \n"])
def test_an_empty_table_is_counted_where_columns_are_named(tmp_path: Path, nothing: str, form: str) -> None:
    (tmp_path / "a.csv").write_text("who,what\nAnn,a\nBo,b\n", encoding="utf-8")
    (tmp_path / "b.csv").write_text(nothing, encoding="utf-8")
    files = (tmp_path / "a.csv", tmp_path / "b.csv")
    manifest = import_files(ImportConfig(files=files, out=tmp_path / "out", columns="who,what", from_=form))
    assert manifest.dropped == {"empty file": 1}


@pytest.mark.parametrize(
    "flags, settings, expected",
    [
        ([], "", ["Hello are you there?", "yes", "good"]),
        (["--no-merge"], "", ["Hello", "are you there?", "yes", "good"]),
        ([], "merge = false\n", ["Hello", "are you there?", "yes", "good"]),
        (
            ["--merge", "--from", "whatsapp"],
            'merge = false\nfrom = "script"\n',
            ["Hello are you there?", "yes", "good"],
        ),
    ],
)
def test_the_command_line(tmp_path: Path, flags: list[str], settings: str, expected: list[str]) -> None:
    (tmp_path / "chat.txt").write_text(WHATSAPP, encoding="utf-8")
    (tmp_path / "import.toml").write_text(settings, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "dialogpt",
        "import",
        "chat.txt",
        "--out",
        "out",
        "--config",
        "import.toml",
        *flags,
    ]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "import chat.txt: read as whatsapp" in result.stderr
    assert texts(next(read_sessions(tmp_path / "out"))) == expected


def test_marks_of_a_transcript_are_taken_out(import_records: Import) -> None:
    found, manifest = import_records(
        pairs("((laugh))", "So (laughs) he erm left", "Erm, yes", "No (x)"),
        remove=(r"\(\([^()]*\)\)|\([a-z]{2,}\)", r"(?i)\berm\b,?"),
    )
    assert [texts(session) for session in found] == [["So he left", "yes", "No (x)"]]
    assert manifest.dropped == {"empty turn": 1}


def test_a_rejected_turn_ends_the_session_before_it(import_records: Import) -> None:
    found, manifest = import_records(
        pairs("a", "b", "please DONATE", "c", "d", "two words more", "e"), reject=("(?i)donat", "$^"), max_words=2
    )
    assert [(session.id, texts(session)) for session in found] == [("x#0", ["a", "b"]), ("x#1", ["c", "d"])]
    assert manifest.dropped == {
        "turn with a --reject pattern": 1,
        "turn over --max-words": 1,
        "session of fewer than two turns": 1,
    }


@pytest.mark.parametrize("setting", ["remove", "reject"])
def test_what_is_no_pattern_is_said(import_records: Import, setting: str) -> None:
    with pytest.raises(UsageError, match=rf"--{setting} '\(' is not a valid pattern: missing \)"):
        import_records(pairs("a", "b"), **{setting: ("a", "(")})


def test_turns_with_a_listed_phrase_carry_no_loss(import_records: Import, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("silly goose\n")
    found, manifest = import_records(pairs("hi", "you Silly goose!", "sorry"), blocklist=tmp_path / "list.txt")
    assert [[turn.learn for turn in session.turns] for session in found] == [[True, False, True]]
    assert manifest.counts["offensive_turns"] == 1
