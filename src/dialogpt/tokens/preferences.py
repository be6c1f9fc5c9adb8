"""Preferences for training a ranker: pairs of replies to one context, of which one is better.

A pair is read, and kept as tokens, like a session: the turns of its context, the better reply, the worse one.
"""

from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from dialogpt.errors import DataError, UsageError
from dialogpt.files import decode_text, read_lines
from dialogpt.session import Session, Turn, sessions_files

KIND = "preference shards"  # of a manifest
REPLIES = 2  # the last turns of a pair
FORM = '{"context": ["Hi!"], "better": "Hello, how are you?", "worse": "I see."}'


class _Line(msgspec.Struct):
    """As `Preference`, with an id and turns as people write them by hand."""

    context: list[Turn | str]
    better: str
    worse: str
    id: str | int = ""


def all_pairs(paths: Sequence[Path]) -> bool:
    """Whether files or folders hold preferences, not sessions, by their first lines; UsageError if only some do."""
    known = {file: _are_pairs(file) for path in paths for file in sessions_files(path)}
    files = [file for file, pairs in known.items() if pairs is not None]
    found = [bool(known[file]) for file in files]
    if any(found) and not all(found):
        raise UsageError(
            f"{files[found.index(True)]} holds preferences, {files[found.index(False)]} does not",
            "a ranker is trained on preferences alone: name these, or sessions",
        )
    return any(found)


def _are_pairs(file: Path) -> bool | None:
    """None if it is empty."""
    if not file.is_file():  # what a pipe yields can be read but once
        return False
    first = next((line for line in read_lines(file) if line.strip()), b"").removeprefix(BOM_UTF8)
    if not first:
        return None
    try:
        keys = msgspec.json.decode(first, type=dict[str, msgspec.Raw]).keys()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False  # `read_sessions` says what is wrong
    if {"chosen", "rejected"} <= keys:
        raise DataError(
            f"{file} holds another program's preferences", f"dialogpt preferences {file} --out preferences reads them"
        )
    return "turns" not in keys and {"better", "worse"} <= keys


def read_pairs(file: Path, on_read: Callable[[int], object] = lambda _: None) -> Iterator[Session]:
    """Yield a file's pairs, as sessions that end with the better and the worse reply; errors as `read_sessions`."""
    decoder = msgspec.json.Decoder(_Line)
    for number, line in enumerate(read_lines(file, on_read), 1):
        if line.strip():
            try:
                pair = decoder.decode(decode_text(line, file, number))
            except msgspec.DecodeError as error:
                raise DataError(f"{file}:{number}: not a preference: {error}", f"a line is {FORM}") from error
            texts = [turn if isinstance(turn, str) else turn.text for turn in pair.context]
            if not (pair.better.strip() and pair.worse.strip()):
                which = "worse" if pair.better.strip() else "better"
                raise DataError(f"{file}:{number}: the {which} reply is empty", "give two replies, or delete the line")
            if pair.better == pair.worse:
                raise DataError(f"{file}:{number}: both replies are the same", "delete the line")
            turns = [*(Turn(text, learn=False) for text in texts if text.strip()), Turn(pair.better), Turn(pair.worse)]
            yield Session(tuple(turns), str(pair.id))


def fit_pair(lengths: Sequence[int], max_tokens: int, dropped: Counter[str]) -> Iterator[range]:
    """Yield the turns of a pair that are kept: its context loses its oldest turns until the longer reply fits after it.

    lengths: tokens of each turn, at least three. `max_tokens` 0 keeps all. A pair without a context, or whose last turn
    and longer reply do not fit, is dropped.
    """
    if len(lengths) <= REPLIES:
        dropped["pair without a context"] += 1
        return
    room = max_tokens - max(lengths[-REPLIES:])
    first = len(lengths) - REPLIES
    while first and (not max_tokens or lengths[first - 1] <= room):
        first -= 1
        room -= lengths[first]
    if first == len(lengths) - REPLIES:
        dropped["pair over --max-tokens"] += 1
    else:
        yield range(first, len(lengths))
