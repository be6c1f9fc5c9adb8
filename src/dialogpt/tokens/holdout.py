"""Which conversations are held out: by a hash of their ids, so that all of one conversation is on one side.

Windows of one conversation (`id#0`, `id#1`) and paths of one thread (`thread/leaf`) are one, but not names with numbers
("chat #1"); a session without an id is identified by its beginning.
"""

import re
import zlib

from dialogpt.session import Session

HASHES = 2**32
PARTS = re.compile(r"(?<=\S)(#\d+)+$")  # what `import` appends to a conversation's id


class HoldOut:
    """A share of conversations; it remembers the least and greatest hash that it has seen."""

    def __init__(self, share: float) -> None:
        self._limit = share * HASHES
        self._least, self._greatest = HASHES, -1

    def split(self, session: Session) -> str:
        """`train` or `validation`."""
        conversation = PARTS.sub("", session.id) or "".join(turn.text for turn in session.turns[:1])
        if conversation.startswith("t3_"):
            conversation = conversation.split("/")[0]
        found = zlib.crc32(conversation.encode("utf-8", "replace"))
        self._least, self._greatest = min(self._least, found), max(self._greatest, found)
        return "validation" if found < self._limit else "train"

    @property
    def is_one(self) -> bool:
        """Whether all sessions so far were of one conversation."""
        return self._least == self._greatest

    def move(self) -> bool:
        """Move one conversation to a side that is empty, if there are two; False if that changes nothing."""
        before = self._limit
        self._limit = min(max(self._limit, self._least + 1), max(self._greatest, self._least + 1))
        return self._limit != before and not self.is_one and self._greatest >= 0
