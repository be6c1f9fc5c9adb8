"""Segments and systems' replies, and the lines of the files that hold them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self, TypeVar

import msgspec

from dialogpt.errors import DataError
from dialogpt.files import decode_text, read_lines
from dialogpt.session import Turn

T = TypeVar("T")

_JSON_LINE = re.compile(r'\s*\{\s*"')


@dataclass(frozen=True, slots=True)
class Segment:
    """A context and its references; `place` is its file and line, for errors.

    `human` is one more response, which `references` sets apart, to be compared like a system's; or empty.
    """

    place: str
    references: tuple[str, ...]
    context: tuple[str, ...] = ()
    id: str = ""
    human: str = ""


@dataclass(frozen=True, slots=True)
class System:
    """A system's replies, in the order of the segments; `contexts` are empty when its file does not include them."""

    name: str
    replies: tuple[str, ...]
    contexts: tuple[tuple[str, ...], ...] = ()

    def at(self, places: Sequence[int]) -> Self:
        """The same system with its replies to some of the segments."""
        contexts = tuple(self.contexts[place] for place in places) if self.contexts else ()
        return replace(self, replies=tuple(self.replies[place] for place in places), contexts=contexts)


def lines_of(path: Path) -> list[str]:
    lines = [decode_text(line, path, number) for number, line in enumerate(read_lines(path), 1)]
    if not lines:
        raise DataError(f"{path} is empty", "a line is a reply, or has its references")
    for number, line in enumerate(lines, 1):
        if "\0" in line:
            raise DataError(f"{path}:{number}: a zero byte, so not text in UTF-8", "convert it, for example with iconv")
    return lines


def are_json(lines: Sequence[str]) -> bool:
    """Whether the lines are JSON objects, by the first that is not blank."""
    return _JSON_LINE.match(next(filter(str.strip, lines), "")) is not None


def numbered(lines: Sequence[str]) -> list[tuple[int, str]]:
    """The lines that are not blank, with their numbers."""
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def decode(path: Path, number: int, line: str, kind: type[T], expected: str) -> T:
    try:
        return msgspec.json.decode(line, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise DataError(f"{path}:{number}: {error}", f"a line is {expected}") from error


def texts_of(turns: Sequence[Turn | str]) -> tuple[str, ...]:
    return tuple(turn if isinstance(turn, str) else turn.text for turn in turns)
