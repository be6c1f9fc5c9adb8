"""The original's weighted lines, and DSTC7's seven columns."""

from pathlib import Path
from typing import Any

import pytest

from dialogpt.data import ImportConfig
from dialogpt.data.importing import import_files
from dialogpt.errors import DataError
from dialogpt.session import Session, Turn

Read = Any


def context(text: str) -> Turn:
    return Turn(text, learn=False)


@pytest.mark.parametrize(
    "line, turns",
    [
        ("1.0 a b EOS 0.0 c\t1.0 d", (Turn("a b"), context("c"), Turn("d"))),
        ("0.0 a\t1.0 b", (context("a"), Turn("b"))),
        ("1 he said EOS is an end EOS 1.0 yes\t1 2.0", (Turn("he said EOS is an end"), Turn("yes"), Turn("2.0"))),
        ("0.0 صباح EOS 1.0 😀\t1.0 привет", (context("صباح"), Turn("😀"), Turn("привет"))),
        ("1.0 a EOS 1.0 \t1.0", (Turn("a"), Turn(""), Turn(""))),
    ],
)
def test_weighted_lines(read: Read, line: str, turns: tuple[Turn, ...]) -> None:
    assert read(f"{line}\n\n", "original") == ([Session(turns, "talk/1", "talk")], {})
    assert read(f"t3_1,t1_2,t1_3\t{line}", "original") == ([Session(turns, "t3_1/t1_2/t1_3", "talk")], {})


@pytest.mark.parametrize(
    "line", ["hello", "a\tb\tc", "1.0 a", "1.0 a\t1.0 b\t1.0 c", "x\t1.0 a", "x\t1.0 a\tb", "\t\t", "nan a\t1.0 b"]
)
def test_a_line_without_weights_is_an_error(read: Read, line: str) -> None:
    with pytest.raises(DataError, match=r"talk\.txt:2: not a line of weighted turns"):
        read(f"0.0 a\t1.0 b\n{line}.\n", "original")


def test_the_released_extractors_output_is_read(shared: Path, tmp_path: Path) -> None:
    path = shared / "reddit" / "expected-paper-2006-01.tsv"
    manifest = import_files(ImportConfig(files=(path,), out=tmp_path / "out"))
    assert (manifest.counts["sessions"], manifest.dropped) == (87, {})


def dstc7(context: str, response: str = "the page says so .") -> str:
    return f"h4sh\ttodayilearned\tf2ruz\t145\t2\t{context}\t{response}\n"


def test_dstc7_teaches_the_response_alone(read: Read) -> None:
    found, dropped = read(dstc7("START EOS til a woman fell . EOS wow") + dstc7("last words EOS ok", "__UNDISCLOSED__"))
    turns = (Turn("til a woman fell .", learn=False), Turn("wow", learn=False), Turn("the page says so ."))
    assert found == [Session(turns, id="f2ruz#1", source="dstc7/todayilearned")]
    assert dropped == {"undisclosed response": 1}


@pytest.mark.parametrize(
    "line, message",
    [("a\tb", "not a conversation: 'a"), (dstc7("x").replace("\t2\t", "\ttwo\t"), "not a conversation"),
     ("InstanceID\tDepth\tContext", "a table of the evaluation"), ("\ufeffJudgeID\tInstanceID", "a table of")],
)  # fmt: skip
def test_other_tables_are_errors(read: Read, line: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"talk\.txt:1: {message}"):
        read(line, "dstc7")
