"""DSTC7 task 2's conversations (`train.convos.txt`), seven columns with tabs between them -> sessions.

    hash, subreddit, conversation, score, turn number, `START EOS first turn EOS second turn`, response

Each line teaches only its response: the turns before it are the responses of other lines. The facts files and the
tables of the evaluation (`InstanceID ...`) hold no conversations.
"""

import re
from collections import Counter
from collections.abc import Iterator

from dialogpt.data.readers.chatlog import ReadOptions
from dialogpt.data.readers.text import TextFile
from dialogpt.errors import DataError
from dialogpt.session import Session, Turn

COLUMNS = "hash, subreddit, conversation, score, turn number, context with EOS between turns, response"
_BETWEEN = re.compile(r"(?:^| )EOS(?: |$)")


def read(file: TextFile, options: ReadOptions, dropped: Counter[str]) -> Iterator[Session]:
    """Yield a session per line; test sets' responses that were not disclosed are left out and counted."""
    for number, line in file.lines():
        if not line.strip():
            continue
        session = parse(line, number)
        if session is None:
            what = (
                "a table of the evaluation, not of conversations"
                if is_evaluation(line)
                else f"not a conversation: {line[:60]!r}"
            )
            raise DataError(f"{file.path}:{number}: {what}", f"a line has seven columns: {COLUMNS}")
        if session.response.text.strip("_ ").upper() == "UNDISCLOSED":
            dropped["undisclosed response"] += 1
        else:
            yield session


def parse(line: str, number: int) -> Session | None:
    """The session of one line, or None if it has another form."""
    columns = line.split("\t")
    if len(columns) != 7 or not columns[4].strip().isdecimal():
        return None
    _, subreddit, conversation, _, _, context, response = columns
    before = [text.strip() for text in _BETWEEN.split(context)]
    if before[0] == "START":
        del before[0]
    turns = (*(Turn(text, learn=False) for text in before if text), Turn(response))
    return Session(turns, id=f"{conversation}#{number}", source=f"dstc7/{subreddit}")


def is_evaluation(line: str) -> bool:
    return "InstanceID" in line.removeprefix("\ufeff").split("\t")[:2]
