"""Scripts as tables, a line of dialogue a row (CSV, TSV) -> sessions, a scene each.

    name,line                      the header may have other names (speaker, text ...; see `columns`), more columns,
    Ann,"Hello, you!"              or be absent from a table of two columns
    ,                              a row that is empty, or has no line, ends the scene
    Bo,"Who is there?"             so does a new value in a column scene, episode, conversation, dialogue_id ...

The delimiter is read off the header. In CSV a quoted field may hold delimiters, line ends and doubled quotes; in TSV a
row is a line, and quotes are text unless they enclose a whole field.
"""

import csv
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from dialogpt.data.readers.chatlog import ReadOptions
from dialogpt.data.readers.columns import Columns, find_columns
from dialogpt.data.readers.text import TextFile, tidy
from dialogpt.errors import DataError
from dialogpt.session import Session, Turn

log = logging.getLogger(__name__)
DELIMITERS = ",;\t|"
NAMES = "the columns are named name,line (or speaker,text ...), or there are two and no header"
_HEAD_ROWS = 100


class Layout(NamedTuple):
    """How a table is to be read."""

    delimiter: str
    columns: Columns
    width: int
    header: bool


def read(file: TextFile, options: ReadOptions, dropped: Counter[str]) -> Iterator[Session]:
    """Yield a session a scene; a row that does not fit, or a wrong quote, is a DataError with its line."""
    layout = find_layout(file.head())
    if layout is None:
        first = next((line for line in file.head() if line.strip()), "")
        raise DataError(f"{file.path}:1: no column of names and no column of lines: {first[:60]!r}", NAMES)
    if not layout.header:
        log.info("import %s: no header is known there; its first row is a turn", file.path)
    key, turns, scenes = "", list[Turn](), 0
    rows = _rows(file, layout.delimiter)
    if layout.header:
        next((row for _, row in rows if any(row)), None)
    for number, row in rows:
        speaker, text, scene = _fields(row, layout, file, number)
        if turns and (not text or scene != key):
            yield Session(tuple(turns), id=f"{file.source}/{key or scenes}", source=file.source)
            turns, scenes = [], scenes + 1
        key = scene
        if text:
            turns.append(Turn(text, speaker))
        elif any(row):
            dropped["row without a line (ends its scene)"] += 1
    if turns:
        yield Session(tuple(turns), id=f"{file.source}/{key or scenes}", source=file.source)


def find_layout(head: Sequence[str]) -> Layout | None:
    """How the table with these first lines is to be read, or None when it is no script.

    A header that is known decides. Without one, a row must have two fields, or more where its line holds delimiters; of
    several delimiters for which that holds, the one with the fewest different names is right: people speak again.
    """
    head = [line for line in head if line.strip()]
    if not head:
        return None
    for delimiter in DELIMITERS:
        for row in _sample(head[:1], delimiter):
            if columns := find_columns(row):
                return Layout(delimiter, columns, len(row), header=True)
    whole = head[:-1][:_HEAD_ROWS] or head  # the last line may be cut
    fitting = [(names, delimiter) for delimiter in DELIMITERS if (names := _names(whole, delimiter))]
    if not fitting:
        return None
    return Layout(min(fitting, key=lambda found: found[0])[1], Columns(0, 1, ()), 2, header=False)


def parse_rows(lines: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The number of the line where it ends, and the fields, of every row."""
    if delimiter == "\t":
        for number, line in enumerate(lines, 1):
            yield number, [_unquote(field) for field in line.split("\t")]
        return
    rows = csv.reader((line + "\n" for line in lines), delimiter=delimiter, skipinitialspace=True, strict=True)
    for row in rows:
        yield rows.line_num, row


def _rows(file: TextFile, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The number of the line where it begins, and the fields, of every row; a wrong quote is a DataError."""
    start = 1
    try:
        for end, row in parse_rows((line for _, line in file.lines()), delimiter):
            yield start, row
            start = end + 1
    except csv.Error as error:
        raise DataError(
            f"{file.path}:{start}: {error}", "a quote that opens a field must close it; quotes in it are doubled"
        ) from error


def _fields(row: list[str], layout: Layout, file: TextFile, number: int) -> tuple[str, str, str]:
    """Speaker, text and scene of a row; text is empty where the row has none."""
    columns, wide = layout.columns, len(row)
    text = row[columns.text] if wide > columns.text else ""
    if any(row[layout.width :]):
        if columns.text != layout.width - 1:
            message = f"{file.path}:{number}: {wide} fields, {layout.width} are expected"
            raise DataError(message, "put quotes around a line that holds a delimiter")
        # A line with delimiters in it and no quotes around it; the blank that followed each one was skipped.
        text = f"{layout.delimiter} ".join(row[columns.text :])
    speaker = row[columns.speaker] if columns.speaker is not None and wide > columns.speaker else ""
    scene = "/".join(row[index].strip() for index in columns.scene if index < wide)
    return speaker, tidy(text), scene


def _sample(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """The rows of some lines that hold anything, as far as they can be read."""
    rows = []
    try:
        for _, row in parse_rows(lines, delimiter):
            if any(row):
                rows.append(row)
    except csv.Error:
        pass  # a quoted field may go on beyond the sample; the whole file is read strictly
    return rows


def _names(lines: Sequence[str], delimiter: str) -> int:
    """How many different first fields the rows have, or 0 where they are not rows of a name and a line."""
    rows = _sample(lines, delimiter)
    if min(map(len, rows), default=0) != 2 or any(len(row[0]) > 60 for row in rows):
        return 0
    return len({row[0] for row in rows})


def _unquote(field: str) -> str:
    field = field.strip()
    if len(field) > 1 and field[0] == field[-1] == '"':
        return field[1:-1].replace('""', '"')
    return field
