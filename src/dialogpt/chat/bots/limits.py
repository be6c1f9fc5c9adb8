"""How much a bot answers, and how much it says at once.

A limited number of messages a minute is answered, by person and by chat; a refusal is said once. Replies longer than a
platform's messages are cut between words.
"""

import time
import unicodedata
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

WINDOW_S = 60.0
_JOINER = "\u200d"


@dataclass(slots=True)
class _Seen:
    times: deque[float] = field(default_factory=deque)
    refused: float | None = None  # when the refusal was said
    last: float = 0.0


class RateLimit:
    """At most so many in any minute for each key; 0: no limit. Who has been quiet for a minute is forgotten."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._seen: OrderedDict[str, _Seen] = OrderedDict()  # the quietest first

    def __len__(self) -> int:
        return len(self._seen)

    def admits(self, key: str) -> bool:
        """Whether one more is within the limit; if so, it counts."""
        if not self._most:
            return True
        now = self._clock()
        seen = self._seen.setdefault(key, _Seen())
        seen.last = now
        self._seen.move_to_end(key)
        while next(iter(self._seen.values())).last <= now - WINDOW_S:
            self._seen.popitem(last=False)
        while seen.times and seen.times[0] <= now - WINDOW_S:
            seen.times.popleft()
        if len(seen.times) >= self._most:
            return False
        seen.times.append(now)
        return True

    def refuses_aloud(self, key: str) -> bool:
        """Whether to tell that a message was refused: once a minute."""
        seen, now = self._seen[key], self._clock()
        if seen.refused is not None and seen.refused > now - WINDOW_S:
            return False
        seen.refused = now
        return True


def cut(text: str, most: int) -> Iterator[str]:
    """The text in pieces of at most `most` UTF-16 units (both platforms count no more than these).

    They end at a blank if there is one in a piece's second half, and never inside what people read as one character.
    """
    text = text.strip()
    while (end := _fitting(text, most)) < len(text):
        blank = max(place for place, char in enumerate(text[: end + 1]) if place == 0 or char.isspace())
        place = blank if blank > end // 2 else _between(text, end)
        yield text[:place].rstrip()
        text = text[place:].lstrip()
    if text:
        yield text


def _fitting(text: str, most: int) -> int:
    """How many of the first characters have at most that many UTF-16 units."""
    units = 0
    for place, char in enumerate(text):
        units += 1 + (char > "\uffff")
        if units > most:
            return place
    return len(text)


def _between(text: str, end: int) -> int:
    """The last place up to `end` that is not inside a letter with its marks, or emoji that are joined."""
    for place in range(end, 0, -1):
        after = text[place]
        marked = unicodedata.category(after).startswith("M") or "\U0001f3fb" <= after <= "\U0001f3ff"
        if not marked and _JOINER not in (after, text[place - 1]):
            return place
    return end
