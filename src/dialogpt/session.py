"""The types that everything shares - Turn, Session, EvalItem, Preference - and their JSONL.

A sessions file has one JSON object per line, plain or compressed:

    {"id": "t3_1/t1_9", "source": "reddit/News", "turns": [{"text": "Hi", "speaker": "A"}, {"text": "Hello"}]}

`"learn": false` in a turn means: context only, no loss. A sessions folder holds `sessions-*.jsonl.zst` and a manifest.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import msgspec

from dialogpt.errors import DataError
from dialogpt.files import decode_text, read_lines


class Turn(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One utterance by one speaker; `learn=False`: context only, no loss."""

    text: str
    speaker: str = ""
    learn: bool = True


class Session(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A whole dialogue: turns in the order they were said."""

    turns: tuple[Turn, ...]
    id: str = ""
    source: str = ""

    @property
    def context(self) -> tuple[Turn, ...]:
        """All turns but the last."""
        return self.turns[:-1]

    @property
    def response(self) -> Turn:
        """The last turn."""
        return self.turns[-1]

    def reversed(self) -> Self:
        """The same turns last to first, as the backward model reads them; the words inside a turn keep their order."""
        return msgspec.structs.replace(self, turns=self.turns[::-1])


class EvalItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """A context with none, one or several human responses to it.

    `scores` are the references' votes, one each, or empty; `human` is one more response, to be judged like a system's.
    """

    context: tuple[Turn, ...]
    id: str = ""
    references: tuple[str, ...] = ()
    human: str = ""
    scores: tuple[int, ...] = ()


class Preference(msgspec.Struct, frozen=True, omit_defaults=True):
    """Two replies to a context, of which people preferred one."""

    context: tuple[Turn, ...]
    better: str
    worse: str
    id: str = ""


DROPPED = "dropped.jsonl"  # in a sessions folder: examples of what was dropped


def sessions_files(path: Path) -> list[Path]:
    """The sessions files of a folder in name order, or the file itself; DataError when there are none."""
    if not path.is_dir():
        return [path]
    names = sorted(p for p in path.iterdir() if ".jsonl" in p.suffixes and not p.name.startswith(".") and p.is_file())
    files = [p for p in names if p.name != DROPPED]
    if not files:
        other = min((p for p in path.iterdir() if p.suffix in (".tsv", ".parquet")), default=None)
        raise DataError(
            f"{path} holds no sessions (*.jsonl, *.jsonl.zst)",
            f"`dialogpt import {other}` reads what is there" if other else "`dialogpt extract` and `import` make some",
        )
    return files


def read_sessions(path: Path, on_read: Callable[[int], object] = lambda _: None) -> Iterator[Session]:
    """Yield the sessions of a file or folder in order; an invalid line is a DataError with file and line."""
    decoder = msgspec.json.Decoder(Session)
    for file in sessions_files(path):
        for number, line in enumerate(read_lines(file, on_read), 1):
            if line.strip():
                try:
                    yield decoder.decode(decode_text(line, file, number))
                except msgspec.DecodeError as error:
                    raise DataError(
                        f"{file}:{number}: not a session: {error}",
                        "turn other files into sessions with `dialogpt import`",
                    ) from error
