"""A chat's conversation in the store: what is said is kept there; a store that fails gives one warning, not an end."""

import logging
from collections.abc import Callable, Sequence

from dialogpt.chat.store import Conversations
from dialogpt.decoding import ReplyConfig
from dialogpt.errors import DataError
from dialogpt.session import Turn

log = logging.getLogger(__name__)


class Keeper:
    """Keeps a conversation's turns; the first one begins it. Without a store nothing is kept."""

    def __init__(self, store: Conversations | None, model: str, settings: ReplyConfig) -> None:
        self._store, self._model, self._settings = store, model, settings
        self._conversation: int | None = None

    def begin_anew(self) -> None:
        self._conversation = None

    def go_on(self) -> list[Turn]:
        """The turns of the last conversation, which is resumed; DataError when there is none."""
        conversation = self._store.last() if self._store is not None else None
        if self._store is None or conversation is None:
            raise DataError("there is no conversation to continue", "start one: leave out --continue")
        self._conversation = conversation
        return list(self._store.session(conversation).turns)

    def add(self, turns: Sequence[Turn]) -> None:
        """Keep turns that were said."""

        def add(store: Conversations) -> None:
            if self._conversation is None:
                self._conversation = store.begin(self._model, self._settings)
            store.add(self._conversation, turns)

        self._try(add)

    def take_back(self, count: int) -> None:
        """Mark the last turns as taken back."""

        def take_back(store: Conversations) -> None:
            if self._conversation is not None:
                store.take_back(self._conversation, count)

        self._try(take_back)

    def _try(self, change: Callable[[Conversations], None]) -> None:
        if self._store is None:
            return
        try:
            change(self._store)
        except DataError as error:
            log.warning("%s: what is said from now on is not kept", error.message)
            self._store = None
