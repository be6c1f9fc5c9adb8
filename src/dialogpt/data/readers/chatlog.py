"""What the readers of chat logs give: messages with their time and the message they answer.

Where a conversation begins and ends in a log is decided later, in `dialogpt.data.shaping`.
"""

from collections.abc import Iterable
from typing import NamedTuple

from dialogpt.session import Turn


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
