"""Dump lines -> records, or a reason."""

import json
from collections import Counter
from pathlib import Path

import pytest
import zstandard

from dialogpt.data.dumps import Record, as_int, read_dump
from dialogpt.errors import DataError

COMMENT = {"id": "c1", "link_id": "t3_1", "parent_id": "t3_1", "body": "hi", "author": "a", "score": 2}


def write(path: Path, *lines: object) -> Path:
    encoded = (line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    path.write_bytes(b"\n".join(encoded))
    return path


def test_comments_and_submissions_are_told_apart_by_what_they_hold(tmp_path: Path) -> None:
    path = write(tmp_path / "RS_2015-01", COMMENT, {"id": "1", "title": "Hello", "selftext": "x", "num_comments": 3})
    lines: Counter[str] = Counter()
    comment, submission = read_dump(path, lines)
    assert comment == Record(**COMMENT)  # type: ignore[arg-type]
    assert comment.is_comment
    assert not submission.is_comment
    assert submission.title == "Hello"
    assert not lines


def test_every_other_line_is_counted(tmp_path: Path) -> None:
    bad = {
        "bad JSON": [b"{", b'{"id": "c1", "body": "cut off', b"hello"],
        "blank": [b"", b"  "],
        "not UTF-8": [b'{"id": "c1", "link_id": "t3_1", "body": "\xc7\xe1"}'],
        "unexpected type": [b"[]", b"3", {**COMMENT, "body": 3}, {**COMMENT, "id": ["c1"]}],
        "missing id": [{**COMMENT, "id": None}, {**COMMENT, "id": ""}, {"body": "x", "link_id": "t3_1"}],
        "missing link_id": [{"id": "c1", "body": "x"}],
        "no comment or submission": [{"id": "c1"}, {"id": "c1", "body": None, "title": None}],
    }
    path = write(tmp_path / "RC", *(line for found in bad.values() for line in found), COMMENT)
    lines: Counter[str] = Counter()
    assert len(list(read_dump(path, lines))) == 1
    assert lines == {reason: len(found) for reason, found in bad.items()}


def test_old_and_new_fields(tmp_path: Path) -> None:
    path = write(
        tmp_path / "RC",
        {**COMMENT, "score": "3", "created_utc": "1136073600", "unknown": {"deep": [1]}},
        {**COMMENT, "score": None, "created_utc": 1.5e9, "author": None, "parent_id": None},
        {**COMMENT, "score": "", "created_utc": "never", "body": "half a pair \\ud83d"},
    )
    old, new, odd = read_dump(path, Counter())
    assert (as_int(old.score, 1), as_int(old.created_utc, 0)) == (3, 1136073600)
    assert (as_int(new.score, 1), as_int(new.created_utc, 0)) == (1, 1_500_000_000)
    assert (as_int(odd.score, 1), as_int(odd.created_utc, 0)) == (1, 0)


def test_a_lone_surrogate_does_not_get_in(tmp_path: Path) -> None:
    path = write(tmp_path / "RC", b'{"id": "1", "link_id": "t3_1", "body": "\\ud83d"}', COMMENT)
    lines: Counter[str] = Counter()
    assert [record.body for record in read_dump(path, lines)] == ["hi"]
    assert lines.total() == 1


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path / "RC", b"\xef\xbb\xbf" + json.dumps(COMMENT).encode())
    assert len(list(read_dump(path, Counter()))) == 1


@pytest.mark.parametrize(
    "content, why",
    [
        (b"", "the file is empty"),
        (b"hello\nworld\n", "2 lines: bad JSON"),
        (b'{"turns": [["A", "Hi"]]}\n', "1 lines: missing id"),
        (json.dumps(COMMENT).encode("utf-16"), "not UTF-8|bad JSON"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "not UTF-8|bad JSON"),
        (b'[{"id": "1"}]', "unexpected type"),
    ],
)
def test_a_file_without_any_record_is_an_error(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "RC").write_bytes(content)
    with pytest.raises(DataError, match=why) as caught:
        list(read_dump(tmp_path / "RC", Counter()))
    assert "import" in caught.value.hint


def test_a_dump_that_ends_early_is_an_error(tmp_path: Path) -> None:
    data = zstandard.compress(b"".join(json.dumps({**COMMENT, "id": f"c{n}"}).encode() + b"\n" for n in range(9999)))
    (tmp_path / "RC.zst").write_bytes(data[:-9])
    with pytest.raises(DataError, match="ends early"):
        list(read_dump(tmp_path / "RC.zst", Counter()))
