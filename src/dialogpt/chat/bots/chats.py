"""The chats that a bot takes part in: each one's history, here and in the store.

The store has a thread of its own, so that a slow disk holds up no other chat. A store that fails gives one warning
until it works again; chats continue without it. The chats that were quiet longest are dropped from memory, and read
from the store again.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypeVar

from dialogpt.chat.store import Conversations
from dialogpt.decoding import ReplyConfig
from dialogpt.errors import DataError
from dialogpt.session import Turn

log = logging.getLogger(__name__)

MOST_CHATS = 4096  # with their histories in memory
T = TypeVar("T")


class Chat:
    """One chat; whoever reads or changes it holds its lock."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = asyncio.Lock()
        self.history: list[Turn] = []
        self.recalled = False
        self.conversation: int | None = None  # in the store


class Chats:
    """All chats, by name (telegram/42); an async context manager, which opens the store. DataError if it cannot.

    A history has the last `most_turns`; the store, at `path` unless that is None, has all.
    """

    def __init__(
        self, path: Path | None, model: str, settings: ReplyConfig, *, most_turns: int, most_chats: int = MOST_CHATS
    ) -> None:
        self._path, self._model, self._settings = path, model, settings
        self._most_turns, self._most_chats = most_turns, most_chats
        self._chats: OrderedDict[str, Chat] = OrderedDict()  # the quietest first
        self._store: Conversations | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._fails = False

    async def __aenter__(self) -> Self:
        if (path := self._path) is not None:
            self._store = await self._in_thread(lambda: Conversations(path))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._store is not None:
            await self._in_thread(self._store.__exit__)
        self._thread.shutdown()

    def of(self, name: str) -> Chat:
        """The chat of that name."""
        chat = self._chats.setdefault(name, Chat(name))
        self._chats.move_to_end(name)
        if len(self._chats) > self._most_chats:
            quiet = next((other for other in self._chats.values() if not other.lock.locked()), chat)
            if quiet is not chat:
                del self._chats[quiet.name]
        return chat

    async def history(self, chat: Chat) -> list[Turn]:
        """What has been said in a chat, also before the bot was started."""
        if not chat.recalled:
            chat.recalled = True

            def recall(store: Conversations) -> list[Turn]:
                chat.conversation = store.of_chat(chat.name)
                return [] if chat.conversation is None else list(store.session(chat.conversation).turns)

            chat.history = (await self._stored(recall) or [])[-self._most_turns :]
        return chat.history

    async def add(self, chat: Chat, *turns: Turn) -> None:
        """Keep turns that were said."""
        chat.history = [*chat.history, *turns][-self._most_turns :]

        def add(store: Conversations) -> None:
            if chat.conversation is None:
                chat.conversation = store.begin(self._model, self._settings, chat.name)
            store.add(chat.conversation, turns)

        await self._stored(add)

    async def take_back(self, chat: Chat, count: int) -> None:
        """Forget the last turns; in the store they are marked."""
        chat.history = chat.history[:-count]

        def take_back(store: Conversations) -> None:
            if chat.conversation is not None:
                store.take_back(chat.conversation, count)

        await self._stored(take_back)

    async def begin_anew(self, chat: Chat) -> None:
        """Begin a new conversation; the last one stays in the store, but is not resumed."""
        chat.history, chat.recalled = [], True

        def begin(store: Conversations) -> None:
            chat.conversation = None
            chat.conversation = store.begin(self._model, self._settings, chat.name)

        await self._stored(begin)

    async def rename(self, name: str, new: str) -> None:
        """The platform has given a chat another name."""
        chat = self.of(name)
        async with chat.lock:
            await self._stored(lambda store: store.rename_chat(name, new))
            del self._chats[name]
            chat.name = new
            self._chats[new] = chat

    async def _stored(self, change: Callable[[Conversations], T]) -> T | None:
        """Do something with the store; None where there is none, or it fails."""
        store = self._store
        if store is None:
            return None
        try:
            result = await self._in_thread(lambda: change(store))
        except DataError as error:
            if not self._fails:
                log.warning("%s: until this is mended, what is said is not kept", error.message)
            self._fails = True
            return None
        self._fails = False
        return result

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
