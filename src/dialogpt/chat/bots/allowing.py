"""Whom a bot answers: everybody, or whoever and wherever `--allow` names, by ids (42, -100123) and names (@ann).

An id is never compared with a name: on Discord, people may name themselves by somebody else's id.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterable

from dialogpt.errors import UsageError

log = logging.getLogger(__name__)

MOST_LOGGED = 1000  # strangers whose ids are logged; more of them are a flood
_ENTRY = re.compile(r"-?\d+|@[\w.]+")


def check_allowed(entries: Iterable[str]) -> None:
    """UsageError for what is neither an id nor a name."""
    for entry in entries:
        if not _ENTRY.fullmatch(entry):
            hint = "an id is a number, and a name begins with @" + (f": @{entry}" if entry.strip() else "")
            raise UsageError(f"--allow {entry!r} is neither an id nor a name", hint)


class AllowList:
    """The ids and names that are answered (none: everybody); strangers are counted, and logged once each."""

    def __init__(self, entries: Iterable[str], counts: Counter[str]) -> None:
        self._entries = {entry.casefold() for entry in entries}
        self._counts = counts
        self._logged: set[tuple[str, str]] = set()

    def admits(self, user: str, chat: str, known_as: Iterable[str]) -> bool:
        """Whether one of the ids and names of a message's author and place is listed; `user` and `chat` are logged."""
        if not self._entries or not self._entries.isdisjoint(name.casefold() for name in known_as):
            return True
        self._counts["ignored: not among --allow"] += 1
        if (user, chat) not in self._logged and len(self._logged) < MOST_LOGGED:
            self._logged.add((user, chat))
            log.info("ignored: %s in %s is not among --allow", user, chat)
        return False

    def rename(self, number: str, new: str) -> None:
        """A chat has another id from now on."""
        if number in self._entries:
            self._entries.add(new)
            log.warning("the chat %s is now %s: put that into --allow", number, new)
