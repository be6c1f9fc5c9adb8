"""Scripts as tables, a line of dialogue per row (CSV, TSV) -> sessions, one per scene.

    name,line                      the header may have other names (speaker, text ...; see `columns`), more columns,
    Ann,"Hello, you!"              or be absent from a table of two columns
    ,                              a row that is empty, or has no line, ends the scene
    Bo,"Who is there?"             so does a new value in a column scene, episode, conversation, dialogue_id ...

A row of a table of questions and answers is a session of both. In CSV a quoted field may hold delimiters, line ends and
doubled quotes; in TSV a row is a line, and quotes are text unless they enclose a whole field.
"""

import csv
import logging
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from dialogpt.data.readers.chatlog import ReadOptions
from dialogpt.data.readers.columns import TIMES, Pair, fold_name, refuse_links
from dialogpt.data.readers.layout import (
    Layout,
    find_layout,
    may_have_header,
    named_layout,
    names_nobody_twice,
    parse_rows,
    shown,
    told_delimiter,
)
from dialogpt.data.readers.preferences import CHOSEN, DISLIKED, LABELS, REJECTED, WORSE
from dialogpt.data.readers.text import TextFile, tidy
from dialogpt.errors import DataError
from dialogpt.session import Session, Turn

log = logging.getLogger(__name__)
DISCORD = frozenset(("AuthorID", "Author", "Date", "Content"))
NAME_THEM = "name those of speaker and text: --columns NAME,NAME, or by numbers without a header: --columns 2,3"


class _Row(NamedTuple):
    """What a row holds; `text` is empty if it has no line."""

    speaker: str
    text: str
    scene: str


def read(file: TextFile, options: ReadOptions, dropped: Counter[str]) -> Iterator[Session]:
    """Yield a session per scene; an invalid row, or a wrong quote, is a DataError with its line."""
    layout = named_layout(file.head(), options.columns) if options.columns else find_layout(file.head())
    if layout is None:
        raise unknown_columns(file)
    if not layout.header and not options.columns:
        _tell_of_no_header(file, layout)
    rows = _rows(file, layout.delimiter)
    header = next((row for _, row in rows if any(row)), []) if layout.header else []
    if set(header) >= DISCORD and not options.columns:
        raise DataError(
            f"{file.path}: DiscordChatExporter's CSV, whose times, replies and bots are not read",
            "export JSON instead (--format Json), or read it as one conversation: --columns Author,Content",
        )
    if layout.pair:
        yield from _pairs(file, layout.pair, header, rows, dropped)
        return
    if not options.columns:
        refuse_links(header, layout.columns, file.path)
    times = set(map(fold_name, TIMES))
    if not layout.columns.scene and (unread := [tidy(name) for name in header if fold_name(name) in times]):
        log.warning(
            "import %s: its column %s is not read: the table is one conversation, except where a row is empty or a "
            "column such as conversation_id changes", file.path, ", ".join(unread),
        )  # fmt: skip
    key, turns, scenes = "", list[Turn](), 0
    for number, fields in rows:
        row = _fields(fields, layout, file, number)
        if turns and (not row.text or row.scene != key):
            yield Session(tuple(turns), id=f"{file.source}/{key or scenes}", source=file.source)
            turns, scenes = [], scenes + 1
        key = row.scene
        if row.text:
            turns.append(Turn(row.text, row.speaker))
        elif any(fields):
            dropped["row without a line (ends its scene)"] += 1
    if turns:
        yield Session(tuple(turns), id=f"{file.source}/{key or scenes}", source=file.source)


def unknown_columns(file: TextFile) -> DataError:
    """A table whose columns are not known: what they are called, and how to name them."""
    columns = shown(file.head())
    return DataError(f"{file.path}:1: no column of names or of lines was recognised: {columns}", NAME_THEM)


def _tell_of_no_header(file: TextFile, layout: Layout) -> None:
    """Warn how a table without a known header is read; DataError if its first column holds no names."""
    head = file.head()
    if names_nobody_twice(head, layout):
        raise DataError(f"{file.path}:1: no name occurs twice in the first column: {shown(head)}", NAME_THEM)
    if may_have_header(head, layout):
        log.warning(
            "import %s: no header was recognised; its first row, %s, is read as a turn: if it names the columns, say "
            "which are speaker and text, --columns NAME,NAME",
            file.path, shown(head),
        )  # fmt: skip
    else:
        log.info("import %s: no header was recognised; its first row is a turn", file.path)


def _pairs(
    file: TextFile,
    pair: Pair,
    header: list[str],
    rows: Iterator[tuple[int, list[str]]],
    dropped: Counter[str],
) -> Iterator[Session]:
    """A session per row, with the columns' names as speakers."""
    names = [tidy(header[place]) for place in (pair.question[0], pair.answer)]
    folded = list(map(fold_name, header))
    labels = [folded.index(name) for name in map(fold_name, LABELS) if name in folded]
    of_two = {CHOSEN, REJECTED} <= set(folded)
    log.info("import %s: each row is a question, %s, and its answer, %s", file.path, *names)
    for number, row in rows:
        fields = [*row, *[""] * len(header)]  # a row may be cut
        if of_two:
            dropped[WORSE] += 1
        texts = tidy(" ".join(fields[place] for place in pair.question)), tidy(fields[pair.answer])
        if any(fields[place].strip().casefold() == "false" for place in labels):
            dropped[DISLIKED] += 1
        elif all(texts):
            turns = tuple(Turn(text, name) for text, name in zip(texts, names, strict=True))
            yield Session(turns, id=f"{file.source}/{number}", source=file.source)
        elif any(row):
            dropped["row without a question or an answer"] += 1


def _rows(file: TextFile, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The number of the line where it begins, and the fields, of every row; a wrong quote is a DataError."""
    lines = (line for _, line in file.lines())
    start = 1
    if told_delimiter(file.head()):
        next(lines)
        start = 2
    before = start - 1
    try:
        for end, row in parse_rows(lines, delimiter):
            yield start, row
            start = before + end + 1
    except csv.Error as error:
        raise DataError(
            f"{file.path}:{start}: {error}", "a quote that opens a field must close it; quotes in it are doubled"
        ) from error


def _fields(row: list[str], layout: Layout, file: TextFile, number: int) -> _Row:
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
    return _Row(speaker, tidy(text), scene)
