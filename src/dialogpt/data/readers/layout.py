"""How a table is to be read, by its first lines: delimiter, columns, header.

A known header decides, or columns that the user names, `SPEAKER,TEXT` or `SPEAKER,TEXT,CONVERSATION`: by the header's
names or, without a header, by numbers from 1. An empty name means that the table has no speakers.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from dialogpt.data.readers.columns import Columns, Pair, find_columns, find_pair, fold_name
from dialogpt.errors import UsageError

DELIMITERS = ",;\t|"
_HEAD_ROWS = 100
_FIELD_LINES = 100  # lines of a quoted field in a table with tabs; a longer one is a stray quote
_FEW_ROWS = 10  # among this many rows, real names occur again
_EXCEL = re.compile(r"sep=(.)")


class Layout(NamedTuple):
    """How a table is to be read; `pair` are the columns of a question and its answer, if a row is both."""

    delimiter: str
    columns: Columns
    width: int
    header: bool
    pair: Pair | None = None


def find_layout(head: Sequence[str]) -> Layout | None:
    """How the table with these first lines is to be read, or None when it is not a script.

    A header that is known decides. Without one, a row must have two fields, or more where its line holds delimiters; of
    several delimiters that fit, the one with the fewest different names is right, since people speak more than once.
    """
    told, head = _begin(head)
    if not head:
        return None
    for delimiter in told or DELIMITERS:
        for row in _sample(head[:1], delimiter):
            if columns := find_columns(row):
                return Layout(delimiter, columns, len(row), header=True)
            if pair := find_pair(row):
                return Layout(delimiter, Columns(None, pair.answer, ()), len(row), header=True, pair=pair)
    fitting = [(names, delimiter) for delimiter in told or DELIMITERS if (names := _names(head, delimiter))]
    if not fitting:
        return None
    return Layout(min(fitting, key=lambda found: found[0])[1], Columns(0, 1, ()), 2, header=False)


def named_layout(head: Sequence[str], named: str) -> Layout:
    """How the table with these first lines is to be read by the columns named; UsageError when they are missing."""
    wanted = [name.strip() for name in re.split("[,،]", named)]
    if not 2 <= len(wanted) <= 3 or not wanted[1]:
        raise UsageError(f"--columns {named!r} does not name two or three columns", "SPEAKER,TEXT[,CONVERSATION]")
    told, head = _begin(head)
    tables = [(delimiter, rows) for delimiter in told or DELIMITERS if (rows := _sample(head, delimiter))]
    if numbered := all(name.isdecimal() for name in wanted if name):
        places: list[int | None] = [int(name) - 1 if name else None for name in wanted]
        needed = max(place + 1 for place in places if place is not None)
        tables = [(delimiter, rows) for delimiter, rows in tables if min(map(len, rows)) >= needed]
    else:
        names = {fold_name(name) for name in wanted if name}
        tables = [(delimiter, rows) for delimiter, rows in tables if names <= set(map(fold_name, rows[0]))]
    if not tables or "0" in wanted:
        raise UsageError(f"--columns {named!r}: the first line has no such columns: {shown(head)}", "name two of them")
    delimiter, rows = max(tables, key=lambda table: min(map(len, table[1])))
    if not numbered:
        header = list(map(fold_name, rows[0]))
        places = [header.index(fold_name(name)) if name else None for name in wanted]
    speaker, text, *scene = places
    assert text is not None
    columns = Columns(speaker, text, tuple(place for place in scene if place is not None))
    return Layout(delimiter, columns, min(map(len, rows)) if numbered else len(rows[0]), header=not numbered)


def names_nobody_twice(head: Sequence[str], layout: Layout) -> bool:
    """Whether the first column of a table without a header has no names: all of its many rows differ."""
    names = _first_column(head, layout)
    return len(names) > _FEW_ROWS and len(set(names)) == len(names)


def may_have_header(head: Sequence[str], layout: Layout) -> bool:
    """Whether the first row of a table without a known header may be one: its name does not occur again, others do."""
    first, *others = _first_column(head, layout)
    return first not in others and len(set(others)) < len(others)


def _first_column(head: Sequence[str], layout: Layout) -> list[str]:
    return [row[0] for row in _sample(_begin(head)[1], layout.delimiter)]


def told_delimiter(head: Sequence[str]) -> str:
    """The delimiter that Excel writes above a table, `sep=;`, or ""."""
    found = _EXCEL.fullmatch(head[0].strip("\r\n\ufeff ")) if head else None
    return found[1] if found else ""


def shown(head: Sequence[str]) -> str:
    """The fields of the first line, by the delimiter that makes the most of it, as a message shows them."""
    first = next((line for line in head if line.strip()), "")
    rows = [row for delimiter in DELIMITERS for row in _sample([first], delimiter)] or [[first]]
    return ", ".join(repr(field.strip()[:40]) for field in max(rows, key=len)[:12])


def parse_rows(lines: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The number of the line where it ends, and the fields, of every row."""
    if delimiter == "\t":
        for number, line in _tab_rows(lines):
            yield number, [_unquote(field) for field in line.split("\t")]
        return
    rows = csv.reader((line + "\n" for line in lines), delimiter=delimiter, skipinitialspace=True, strict=True)
    for row in rows:
        yield rows.line_num, row


def _tab_rows(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """A line is a row, but a last field that opens with a quote continues to the line that closes it, as in Excel.

    Where a tab, the end or too many lines come first, the quote was text.
    """
    held: list[tuple[int, str]] = []
    for number, line in enumerate(lines, 1):
        before, tab, _ = line.partition("\t")
        if held and before.rstrip().endswith('"') and before.count('"') % 2:
            yield number, "\n".join([*(part for _, part in held), line])
            held = []
            continue
        if held and (tab or len(held) == _FIELD_LINES):
            yield from held
            held = []
        last = line.rpartition("\t")[2].lstrip()
        if held or (last.startswith('"') and last.count('"') % 2):
            held.append((number, line))
        else:
            yield number, line
    yield from held


def _begin(head: Sequence[str]) -> tuple[str, list[str]]:
    """The delimiter given by `sep=` and the lines below, without blank ones and the last one, which may be cut."""
    lines = [line for line in head[:-1] if line.strip()] or list(head)
    told = told_delimiter(lines)
    return told, (lines[1:] if told else lines)[:_HEAD_ROWS]


def _sample(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """The rows of some lines that hold anything, as far as they can be read."""
    rows = []
    try:
        for _, row in parse_rows(lines, delimiter):
            if any(row):
                rows.append(row)
    except csv.Error:
        pass  # a quoted field may continue beyond the sample; the whole file is read strictly
    return rows


def _names(lines: Sequence[str], delimiter: str) -> int:
    """How many different first fields the rows have, or 0 if they are not rows of a name and a line."""
    rows = _sample(lines, delimiter)
    if min(map(len, rows), default=0) != 2 or any(len(row[0]) > 60 for row in rows):
        return 0
    return len({row[0] for row in rows})


def _unquote(field: str) -> str:
    field = field.strip()
    if len(field) > 1 and field[0] == field[-1] == '"':
        return field[1:-1].replace('""', '"')
    return field
