"""Reddit dump files -> typed records: one JSON object a line, a comment or a submission, told apart by what they hold.

Dumps of 2005 to today differ: numbers may be strings ("3"), fields null or missing, some lines cut. A line that is no
record is counted under its reason and passed over; a file without a single record is an error. Unknown fields are
never decoded. Field names are Pushshift's.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from dialogpt.errors import DataError
from dialogpt.files import read_lines

BOM = b"\xef\xbb\xbf"
Number = int | float | str | None


class Record(msgspec.Struct, frozen=True, gc=False):
    """A line of a dump: a comment has `body` and `link_id`, a submission `title`; the rest may be missing."""

    id: str | None = None
    body: str | None = None
    link_id: str | None = None
    parent_id: str | None = None
    title: str | None = None
    author: str | None = None
    subreddit: str | None = None
    score: Number = None
    created_utc: Number = None

    @property
    def is_comment(self) -> bool:
        return self.body is not None


def read_dump(path: Path, lines: Counter[str], on_read: Callable[[int], object] = lambda _: None) -> Iterator[Record]:
    """Yield the file's records, in order; each has an id, and is a comment of a thread or a submission.

    `lines` takes the number of lines passed over, by reason. Raises DataError when the file has no record at all, and
    as `read_lines` when it cannot be read to its end.
    """
    decoder = msgspec.json.Decoder(Record)
    records, bad = 0, Counter[str]()
    for number, line in enumerate(read_lines(path, on_read)):
        found = parse(line if number else line.removeprefix(BOM), decoder)
        if isinstance(found, str):
            bad[found] += 1
        else:
            records += 1
            yield found
    lines.update(bad)
    if not records:
        raise DataError(
            f"{path}: no Reddit comment or submission in it ({_summary(bad)})",
            "`extract` reads dump files with one JSON object a line (RC_*, RS_*); conversations go through `import`",
        )


def parse(line: bytes, decoder: msgspec.json.Decoder[Record]) -> Record | str:
    """The line's record, or the reason why it is none."""
    try:
        record = decoder.decode(line)
    except UnicodeDecodeError:
        return "not UTF-8"
    except msgspec.ValidationError:
        return "unexpected type"
    except msgspec.DecodeError:
        return "bad JSON" if line.strip() else "blank"
    if not record.id:
        return "missing id"
    if record.body is None:
        return "no comment or submission" if record.title is None else record
    return record if record.link_id else "missing link_id"


def as_int(value: Number, default: int) -> int:
    """The number, which a dump may give as a string or with a fraction; `default` when it is missing or none."""
    try:
        return int(value) if isinstance(value, int | float) else int(float(value or ""))
    except (ValueError, OverflowError):
        return default


def _summary(bad: Counter[str]) -> str:
    return ", ".join(f"{count:,} lines: {reason}" for reason, count in bad.most_common(3)) or "the file is empty"
