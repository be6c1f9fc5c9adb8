"""What the readers of chat logs give: messages with their time and the message they answer.

Where a conversation begins and ends in a log is decided later, in `dialogpt.data.shaping`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

from dialogpt.session import Turn

T = TypeVar("T")


class ChatTurn(Turn, frozen=True, kw_only=True):
    """A turn of a chat log; `time_s`: seconds on the log's own clock, None when it is not known."""

    time_s: float | None = None
    id: str = ""
    reply_to: str = ""


class ChatLog(NamedTuple):
    """All turns of one chat in the order they were sent; they may be read only once."""

    turns: Iterable[ChatTurn]
    id: str
    source: str


class ReadOptions(NamedTuple):
    """What some readers have to know.

    The order of day and month, whose turns are wanted ("": everybody's), which columns of a table hold what ("": by
    their names), and whether all branches of a tree are.
    """

    date_order: str = "auto"
    speaker: str = ""
    columns: str = ""
    replies: bool = False


def entries(
    lines: Iterable[str], begin: Callable[[str], tuple[T, str] | None], dropped: Counter[str]
) -> Iterator[tuple[T, str]]:
    """What the lines of a text export begin, each with its text: the rest of its line, and the lines that continue it.

    `begin` reads each line and gives what it begins and its rest, or None. Lines above the first are counted.
    """
    begun, held = None, list[str]()
    for line in lines:
        if (found := begin(line)) is not None:
            if begun is not None:
                yield begun, "\n".join(held)
            begun, held = found[0], [found[1]]
        elif begun is not None:
            held.append(line)
        elif line.strip():
            dropped["line above the first message"] += 1
    if begun is not None:
        yield begun, "\n".join(held)
