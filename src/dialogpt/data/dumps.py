"""Reddit dump files -> typed records: one JSON object per line, a comment or a submission, recognised by its fields.

Dumps of 2005 to today differ: numbers may be strings ("3"), fields null or missing, some lines cut. A line that is not
a record is counted under its reason and skipped. Unknown fields are never decoded. Field names are Pushshift's.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from dialogpt.data.tally import Tally
from dialogpt.files import read_part, without_halves

BOM = b"\xef\xbb\xbf"
BAD = "bad JSON"
LEAST, MOST = -(1 << 63), (1 << 63) - 1  # what a spill file holds of a number
Number = Annotated[int, Meta(ge=LEAST, le=MOST)] | float | str | None


class Record(msgspec.Struct, gc=False):
    """A line of a dump: a comment has `body` and `link_id`, a submission `title`; the rest may be missing or null."""

    id: str | int | None = None
    body: str | None = None
    link_id: str | None = None
    parent_id: str | int | UnsetType | None = UNSET
    author: str | UnsetType | None = UNSET
    score: Number | UnsetType = UNSET
    score_hidden: Any = None
    subreddit: str | None = None
    title: str | None = None
    num_comments: Number = None


def read_dump(
    path: Path | str,
    tally: Tally,
    *,
    part: int = 0,
    parts: int = 1,
    on_read: Callable[[int], object] = lambda _: None,
) -> Iterator[tuple[int, list[Record]]]:
    """Yield the file's records in blocks, each with its number in the file: all, or one of `parts` equal shares.

    Lines that hold no JSON object, or fields of unexpected types, are counted in `tally`; `lack` says what a record
    lacks to be usable. Errors as `files.read_lines`.
    """
    decoder = msgspec.json.Decoder(Record)
    for number, block in read_part(path, part, parts, on_read):
        yield number, _records(block.removeprefix(BOM), decoder, tally)


def _records(block: bytes, decoder: msgspec.json.Decoder[Record], tally: Tally) -> list[Record]:
    try:
        return decoder.decode_lines(block)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # some line is bad: find it
        records = []
        for line in filter(bytes.strip, block.splitlines()):
            found = _of_line(line, decoder)
            if found == BAD and (whole := without_halves(line)) != line:
                found = _of_line(whole, decoder)
            if isinstance(found, str):
                tally.dropped[f"line: {found}"] += 1
            else:
                records += found
        return records


def _of_line(line: bytes, decoder: msgspec.json.Decoder[Record]) -> list[Record] | str:
    """The line's record (two, if the line end between them is lost), or the reason why it has none."""
    try:
        return decoder.decode_lines(line)
    except UnicodeDecodeError:
        return "not UTF-8"
    except msgspec.ValidationError:
        return "unexpected type"
    except (msgspec.DecodeError, RecursionError):
        return BAD


def lack(record: Record) -> str | None:
    """The reason why a record is neither a comment of a thread nor a submission."""
    if not record.id:
        return "line: missing id"
    if record.body is None:
        return "line: no comment or submission" if record.title is None else None
    return None if record.link_id else "line: missing link_id"


def parent_of(parent: str | int | UnsetType | None, thread: str) -> str:
    """The full name of what a comment answers: Pushshift's API gave a comment's number, and null for the submission."""
    if not isinstance(parent, int):
        return parent or thread
    digits = ""
    while parent > 0:
        parent, digit = divmod(parent, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return f"t1_{digits}"


def as_int(value: Number | UnsetType, default: int) -> int:
    """The number, which a dump may give as a string or with a fraction; `default` if it is missing or not one."""
    if type(value) is int:
        return value
    try:
        number = int(value) if isinstance(value, int | float) else int(float(value or ""))
        return min(max(number, LEAST), MOST)
    except (ValueError, OverflowError):
        return default
