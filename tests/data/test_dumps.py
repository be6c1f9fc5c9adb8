"""Dump lines -> records, or a reason."""

import json
from pathlib import Path

import pytest
import zstandard

from dialogpt.data.dumps import Record, as_int, lack, parent_of, read_dump
from dialogpt.data.normalize import clean
from dialogpt.data.tally import Tally
from dialogpt.errors import DataError

COMMENT = {"id": "c1", "link_id": "t3_1", "parent_id": "t3_1", "body": "hi", "author": "a", "score": 2}


def write(path: Path, *lines: object) -> Path:
    encoded = (line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    path.write_bytes(b"\n".join(encoded))
    return path


def read(path: Path, **share: int) -> tuple[list[Record], Tally]:
    tally = Tally()
    records = [record for _, records in read_dump(path, tally, **share) for record in records]
    tally.dropped.update(reason for reason in map(lack, records) if reason)
    return [record for record in records if not lack(record)], tally


def test_comments_and_submissions_are_told_apart_by_what_they_hold(tmp_path: Path) -> None:
    path = write(tmp_path / "RS_2015-01", COMMENT, {"id": "1", "title": "Hello", "selftext": "x", "num_comments": 3})
    (comment, submission), tally = read(path)
    assert comment == Record(**COMMENT)  # type: ignore[arg-type]
    assert (submission.body, submission.title, submission.num_comments) == (None, "Hello", 3)
    assert not tally.dropped


def test_every_other_line_is_counted(tmp_path: Path) -> None:
    bad = {
        "bad JSON": [b"{", b'{"id": "c1", "body": "cut off', b"hello"],
        "not UTF-8": [b'{"id": "c1", "link_id": "t3_1", "body": "\xc7\xe1"}'],
        "unexpected type": [b"[]", b"3", {**COMMENT, "body": 3}, {**COMMENT, "id": ["c1"]}],
        "missing id": [{**COMMENT, "id": None}, {**COMMENT, "id": ""}, {"body": "x", "link_id": "t3_1"}],
        "missing link_id": [{"id": "c1", "body": "x"}],
        "no comment or submission": [{"id": "c1"}, {"id": "c1", "body": None, "title": None}],
    }
    path = write(tmp_path / "RC", *(line for found in bad.values() for line in found), COMMENT)
    records, tally = read(path)
    assert len(records) == 1
    assert tally.dropped == {f"line: {reason}": len(found) for reason, found in bad.items()}


def test_blank_lines_are_no_lines(tmp_path: Path) -> None:
    records, tally = read(write(tmp_path / "RC", b"", COMMENT, b"  ", b"{", b"", COMMENT))
    assert len(records) == 2
    assert tally.dropped == {"line: bad JSON": 1}


def test_shares_of_a_dump_are_the_whole_dump(tmp_path: Path) -> None:
    path = write(tmp_path / "RC", *({**COMMENT, "id": f"c{n}", "body": "x" * 900} for n in range(999)), b"{")
    whole, tally = read(path)
    shares = [read(path, part=part, parts=3) for part in range(3)]
    assert all(200 < len(records) < 500 for records, _ in shares)
    assert sorted(r.id for records, _ in shares for r in records) == sorted(r.id for r in whole)  # type: ignore[type-var]
    assert len(whole) == 999
    assert tally.dropped.total() == sum(share.dropped.total() for _, share in shares) == 1


@pytest.mark.parametrize("beside", [b"", b"{"], ids=["good lines", "a bad line"])
def test_two_records_on_a_line_are_two_whatever_stands_beside(tmp_path: Path, beside: bytes) -> None:
    joined = b"".join(json.dumps({**COMMENT, "id": name}).encode() for name in ("c1", "c2"))
    records, tally = read(write(tmp_path / "RC", joined, beside, COMMENT))
    assert [record.id for record in records] == ["c1", "c2", "c1"]
    assert tally.dropped.total() == len(beside)


def test_numbers_that_no_dump_holds(tmp_path: Path) -> None:
    path = write(
        tmp_path / "RC", {**COMMENT, "score": 2**70}, {**COMMENT, "score": 1e308}, {**COMMENT, "score": "-1e99"}
    )
    records, tally = read(path)
    assert tally.dropped == {"line: unexpected type": 1}
    assert [as_int(record.score, 1) for record in records] == [2**63 - 1, -(2**63)]


@pytest.mark.parametrize(
    "parent, name",
    [("t1_c8", "t1_c8"), (None, "t3_7"), ("", "t3_7"), (34850342890, "t1_g0czsoa"), (35, "t1_z"), (36, "t1_10"),
     (-1, "t1_")],
)  # fmt: skip
def test_a_parent_may_be_a_number(parent: str | int | None, name: str) -> None:
    assert parent_of(parent, "t3_7") == name
    assert not isinstance(parent, int) or parent < 0 or int(name[3:], 36) == parent


def test_old_and_new_fields(tmp_path: Path) -> None:
    path = write(
        tmp_path / "RC",
        {**COMMENT, "score": "3", "num_comments": "12", "unknown": {"deep": [1]}},
        {**COMMENT, "score": None, "num_comments": 1.5e9, "author": None, "parent_id": None},
        {**COMMENT, "score": "", "num_comments": "never", "body": "half a pair \\ud83d"},
    )
    (old, new, odd), _ = read(path)
    assert (as_int(old.score, 1), as_int(old.num_comments, 0)) == (3, 12)
    assert (as_int(new.score, 1), as_int(new.num_comments, 0)) == (1, 1_500_000_000)
    assert (as_int(odd.score, 1), as_int(odd.num_comments, 0)) == (1, 0)


def test_a_lone_surrogate_does_not_get_in(tmp_path: Path) -> None:
    """Nor does it cost a comment, which the authors' extractor reads."""
    bodies = (b"so\\ud83d", b"\\ude00 then", b"\\\\ud83d", b"\\ud83d\\ude00")
    lines = (b'{"id": "1", "link_id": "t3_1", "body": "' + body + b'"}' for body in bodies)
    records, tally = read(write(tmp_path / "RC", *lines, COMMENT))
    assert [clean(record.body or "") for record in records] == ["so", "then", r"\ud83d", "😀", "hi"]
    assert not tally.dropped


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path / "RC", b"\xef\xbb\xbf" + json.dumps(COMMENT).encode())
    assert len(read(path)[0]) == 1


def test_a_dump_that_ends_early_is_an_error(tmp_path: Path) -> None:
    data = zstandard.compress(b"".join(json.dumps({**COMMENT, "id": f"c{n}"}).encode() + b"\n" for n in range(9999)))
    (tmp_path / "RC.zst").write_bytes(data[:-9])
    with pytest.raises(DataError, match="ends early"):
        read(tmp_path / "RC.zst")
