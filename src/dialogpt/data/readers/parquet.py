"""Parquet tables -> sessions, a batch of rows at a time (needs `pip install "dialogpt[parquet]"`).

A row is a conversation where a column turns, messages, conversations, dialog ... is a list: of texts, of pairs, of
structs of the forms that `jsonl` knows; or where two columns are a question and its answer. Else a row is a turn, with
columns for speaker and text (see `columns`) and, for more than one conversation, one such as conversation_id whose
value changes.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from dialogpt.data.readers import openassistant
from dialogpt.data.readers.chatlog import ChatLog, ReadOptions
from dialogpt.data.readers.columns import Columns, find_columns, find_pair, refuse_links
from dialogpt.data.readers.jsonl import BESIDE, MESSAGE_LISTS, TURN_LISTS, as_session, reason
from dialogpt.data.readers.preferences import CHOSEN
from dialogpt.data.readers.preferences import COLUMNS as PREFERENCES
from dialogpt.data.readers.text import TextFile
from dialogpt.errors import DataError, UsageError
from dialogpt.session import Session, Turn

BATCH_ROWS = 4096
MAGIC = b"PAR1"


def read(file: TextFile, options: ReadOptions, dropped: Counter[str]) -> Iterator[Session | ChatLog]:
    """Yield the conversations; an invalid file or row is a DataError, a missing pyarrow a UsageError."""
    try:
        import pyarrow  # type: ignore[import-untyped]
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError(f"{file.path} needs pyarrow to be read", 'pip install "dialogpt[parquet]"') from error
    if not file.path.is_file():
        raise DataError(f"{file.path} is Parquet in a zip archive", "unpack it and name the file")
    try:
        with parquet.ParquetFile(file.path) as table:
            names = table.schema_arrow.names
            if set(names) >= openassistant.COLUMNS:
                wanted = [name for name in names if name in openassistant.COLUMNS or name in openassistant.BESIDE]
                yield from openassistant.from_rows(_batches(table, wanted, file), file, options, dropped)
                return
            if options.replies:
                raise UsageError(f"--replies: {file.path} does not say what answers what", "leave --replies out")
            lists = [name for name in (*TURN_LISTS, *MESSAGE_LISTS) if name in names][:1]
            columns = None if lists else find_columns(names)
            if not lists and columns is None:
                named = [name for name in names if name != "source"]  # where a row comes from
                pair = find_pair(named)
                lists = [named[place] for place in (*pair.question, pair.answer)] if pair else []
            if not lists and columns is None and CHOSEN in names:
                lists = [CHOSEN]
            if not lists and columns is None:
                raise DataError(
                    f"{file.path}: no column of turns among {', '.join(names)}",
                    "it needs a list column turns or messages, or columns conversation_id, speaker and text, or "
                    "question and answer",
                )
            if columns is None:
                beside = ("id", "conversation_id", "source", *BESIDE, *PREFERENCES)
                wanted = list(dict.fromkeys([*lists, *(name for name in beside if name in names)]))
                yield from _listed(file, _batches(table, wanted, file), dropped)
            else:
                refuse_links(names, columns, file.path)
                wanted = [
                    names[index] for index in (columns.text, columns.speaker, *columns.scene) if index is not None
                ]
                yield from _flat(file, _batches(table, wanted, file), names, columns)
    except (pyarrow.ArrowException, OSError, ValueError, LookupError) as error:  # a damaged footer fails in many ways
        raise DataError(
            f"{file.path}: not readable as Parquet: {error}", "the file is damaged; fetch it again"
        ) from error


def _batches(table: Any, wanted: list[str], file: TextFile) -> Iterator[dict[str, Any]]:
    """The rows one by one; progress in bytes is reported by row groups."""
    for batch in table.iter_batches(batch_size=BATCH_ROWS, columns=wanted):
        yield from batch.to_pylist()
        file.on_read(round(file.path.stat().st_size * batch.num_rows / table.metadata.num_rows))


def _listed(file: TextFile, rows: Iterator[dict[str, Any]], dropped: Counter[str]) -> Iterator[Session]:
    for number, row in enumerate(rows, 1):
        try:
            session = as_session(row, f"{file.source}/{number}", file.source, dropped)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"{file.path}: row {number} is not a conversation: {reason(error)}",
                "turns are texts, pairs of speaker and text, or structs of text and speaker, or of role and content",
            ) from error
        if session is not None:
            yield session


def _flat(file: TextFile, rows: Iterator[dict[str, Any]], names: list[str], columns: Columns) -> Iterator[Session]:
    scene_names = [names[index] for index in columns.scene]
    speaker_name = None if columns.speaker is None else names[columns.speaker]
    for key, group in groupby(rows, key=lambda row: "/".join(str(row[name]) for name in scene_names)):
        turns = tuple(
            Turn(_word(row[names[columns.text]]), _word(row[speaker_name]) if speaker_name else "") for row in group
        )
        yield Session(turns, id=f"{file.source}/{key}" if key else f"{file.source}/0", source=file.source)


def _word(value: Any) -> str:
    return "" if value is None else str(value)
