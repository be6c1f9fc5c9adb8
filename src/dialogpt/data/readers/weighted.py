"""The released DialoGPT's training TSV -> sessions.

    t3_1,t1_5,t1_9 <tab> 0.0 first turn EOS 1.0 second turn <tab> 1.0 response

The first column is there in the extractor's output and not in the training files. A turn of weight 0.0 carries no loss.
The ids of a path become the session's id: t3_1/t1_5/t1_9.
"""

import re
from collections import Counter
from collections.abc import Iterator

from dialogpt.data.readers.chatlog import ReadOptions
from dialogpt.data.readers.text import TextFile
from dialogpt.errors import DataError
from dialogpt.session import Session, Turn

_TURN = re.compile(r"([0-9]+(?:\.[0-9]+)?)(?: ([^\t]*))?$")
_BETWEEN = re.compile(r" EOS (?=[0-9]+(?:\.[0-9]+)?(?: |$))")


def read(file: TextFile, options: ReadOptions, dropped: Counter[str]) -> Iterator[Session]:
    """Yield a session a line; a line of another form is a DataError with its place."""
    for number, line in file.lines():
        if not line.strip():
            continue
        session = parse(line, f"{file.source}/{number}", file.source)
        if session is None:
            raise DataError(
                f"{file.path}:{number}: not a line of weighted turns: {line[:60]!r}",
                "it is `0.0 turn EOS 1.0 turn <tab> 1.0 response`, with or without ids and a tab before it",
            )
        yield session


def parse(line: str, id: str, source: str) -> Session | None:
    """The session of one line, or None when it has another form."""
    header, _, rest = line.partition("\t")
    columns = [header, rest] if _TURN.match(header) else rest.split("\t")
    if len(columns) != 2:
        return None
    matches = [_TURN.match(part) for part in (*_BETWEEN.split(columns[0]), columns[1])]
    turns = tuple(Turn(found[2] or "", learn=float(found[1]) > 0) for found in matches if found)
    if len(turns) < len(matches):
        return None
    return Session(turns, id=id if columns[0] == header else header.replace(",", "/"), source=source)
