"""Text in any encoding: lines, heads, and errors that name the line."""

import codecs
import gzip
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dialogpt.data.normalize import clean
from dialogpt.data.readers import TextFile, tidy
from dialogpt.errors import DataError, UsageError

TEXT = "Ann: hi\nليلى: مرحبا\nАня: привет 😀\n"


def test_what_is_invisible_goes_and_words_stay() -> None:
    """What is left is what `extract` leaves: joiners, which Persian and emoji need, tatweel, vowel signs, ligatures."""
    marks = "\u200b\u200e\u200f\u202b\u2060\u2066\u2069\ufeff\xad\ud800"
    assert tidy("".join(f"{mark}{letter}" for mark, letter in zip(marks, "ليلى سالم", strict=False))) == "ليلى سالم"
    kept = "می\u200cخواهم 👨\u200d👩\u200d👧 العـــيد كِتَاب \ufefb"
    assert tidy(f" {kept}\u200f\n") == clean(kept) == kept


@pytest.mark.parametrize(
    "content, encoding",
    [
        (TEXT.encode(), ""),
        (TEXT.replace("\n", "\r\n").encode(), ""),
        (TEXT.encode("utf-8-sig"), ""),
        (codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"), ""),
        (codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), ""),
        (TEXT.encode("utf-16-le"), "utf-16-le"),
        (TEXT.encode("utf-16"), "utf-16"),
        (TEXT.encode(), "UTF8"),
        (gzip.compress(TEXT.encode("utf-16"), mtime=0), ""),
        (TEXT.rstrip("\n").encode(), ""),
        (TEXT.rstrip("\n").encode("utf-16"), ""),
    ],
)
def test_lines_are_the_same_in_every_encoding(tmp_path: Path, content: bytes, encoding: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    read: list[int] = []
    file = TextFile(path, encoding, read.append)
    assert list(file.lines()) == list(enumerate(TEXT.splitlines(), 1))
    assert sum(read) == len(content)
    assert [line.rstrip("\r") for line in file.head() if line] == TEXT.splitlines()
    assert file.whole().decode().splitlines() == TEXT.splitlines()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0\ufeff"))), st.sampled_from(["le", "be"])
)
def test_any_text_comes_back_from_utf16(tmp_path: Path, lines: list[str], order: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("".join(f"{line}\n" for line in lines).encode(f"utf-16-{order}"))
    assert [line for _, line in TextFile(path, f"utf-16-{order}").lines()] == lines


@pytest.mark.parametrize(
    "content, encoding, message",
    [
        ("a\nb\ncaf\xe9\n".encode("latin-1"), "", r"a\.txt:3: not UTF-8 \(byte 0xe9 at column 4\)"),
        (b"\xff\xfea\0\n\0b\0\n\0\x00\xd8\x00\xd8", "", r"a\.txt:3: not UTF-16-LE"),
        ("نعم\n".encode() * 3, "ascii", r"a\.txt:1: not ASCII"),
        (b"a\n" * 200_000 + b"\x81\n", "windows-1252", r"a\.txt:200001: not CP1252"),
        ("hello\n".encode("utf-16-le"), "", "zero bytes: UTF-16 without its mark"),
    ],
)
def test_a_wrong_encoding_is_named_with_its_line(tmp_path: Path, content: bytes, encoding: str, message: str) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        list(TextFile(tmp_path / "a.txt", encoding).lines())
    assert "encoding" in caught.value.hint


def test_utf_16_without_its_mark_has_to_be_told_whole(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("hello\n".encode("utf-16-be"))
    with pytest.raises(DataError, match=r"a\.txt:1: not UTF-16") as caught:
        list(TextFile(tmp_path / "a.txt", "utf-16").lines())
    assert caught.value.hint == "name it utf-16-le or utf-16-be"
    assert list(TextFile(tmp_path / "a.txt", "utf-16-be").lines()) == [(1, "hello")]


@pytest.mark.parametrize("encoding", ["klingon", "base64", "rot13", "hex", "idna", "undefined"])
def test_an_unknown_encoding_is_a_usage_error(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes(b"x")
    with pytest.raises(UsageError, match=f"--encoding {encoding}"):
        TextFile(tmp_path / "a.txt", encoding)


def test_an_endless_line_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dialogpt.data.readers.text.LINE_BYTES", 1000)
    (tmp_path / "a.txt").write_text("x" * 2000, encoding="utf-16")
    with pytest.raises(DataError, match="no line end"):
        list(TextFile(tmp_path / "a.txt").lines())


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
