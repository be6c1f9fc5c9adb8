"""The conversation of a bot, the same on every platform: a message that is addressed to it -> what it says.

Messages of one chat are answered one after the other, those of different chats at once, decoded together by the worker.
An error with one message is reported in its chat, and does not affect others.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dialogpt.chat.bot import BOT, USER
from dialogpt.chat.bots import BotConfig
from dialogpt.chat.bots.allowing import AllowList
from dialogpt.chat.bots.chats import Chat, Chats
from dialogpt.chat.bots.limits import RateLimit
from dialogpt.chat.bots.words import COMMANDS, ENGLISH, Words, command_in, words_for
from dialogpt.chat.serving.worker import BusyError, Worker
from dialogpt.data.readers import tidy
from dialogpt.decoding import Reply
from dialogpt.decoding.batcher import Job
from dialogpt.errors import DialoGPTError
from dialogpt.session import Turn

log = logging.getLogger(__name__)

TYPING_AFTER_S = 0.3  # a faster reply needs no sign that it is being made
TYPING_EVERY_S = 4.0  # the platforms show the sign for 5 s and 10 s
SPEECHLESS = "\N{HORIZONTAL ELLIPSIS}"  # instead of an empty reply, which the platforms do not accept


class PlatformError(DialoGPTError):
    """A platform that cannot be reached, or refuses a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A message that is addressed to the bot, without its mention; `text` is empty for a sticker or a photo.

    `chat` and `user` are names such as telegram/42, `known_as` all ids and names of both (42, @ann) that --allow may
    have; `language` is that of the user's client, where the platform tells.
    """

    chat: str
    user: str
    known_as: frozenset[str]
    text: str
    language: str = ""


class Place(Protocol):
    """Where a message came from."""

    async def say(self, text: str) -> None:
        """Send a text, in several messages if it has to be; what cannot be sent is logged, not raised."""

    async def typing(self) -> None:
        """Show for some seconds that a reply is being made; any error may be raised."""


class Core:
    """Answers messages; `counts` has what was said, by kind."""

    def __init__(self, config: BotConfig, worker: Worker, chats: Chats) -> None:
        self._config, self._worker, self._chats = config, worker, chats
        self._limits = RateLimit(config.per_user), RateLimit(config.per_chat)
        self._seeds = np.random.default_rng(config.seed)
        self._under_way: set[asyncio.Task[None]] = set()
        self.counts: Counter[str] = Counter()
        self._allowed = AllowList(config.allow, self.counts)

    def allows(self, heard: Heard) -> bool:
        """Whether its author, or whoever is in its chat, is answered; else it is counted, and logged."""
        return self._allowed.admits(heard.user, heard.chat, heard.known_as)

    def hear(self, heard: Heard, place: Place) -> asyncio.Task[None]:
        """Answer a message in a task of its own, after those of its chat that were heard before."""
        task = asyncio.ensure_future(self._answer(heard, place))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def finish(self) -> None:
        """Wait until all that was heard has been answered."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def rename(self, chat: str, new: str) -> None:
        """The platform has given a chat another name."""
        self._allowed.rename(chat.partition("/")[2], new.partition("/")[2])
        await self._chats.rename(chat, new)

    async def _answer(self, heard: Heard, place: Place) -> None:
        words = words_for(heard.language, heard.text)
        for limit, key in zip(self._limits, (heard.user, heard.chat), strict=True):
            if not limit.admits(key):
                self.counts["refused: too many"] += 1
                if limit.refuses_aloud(key):
                    await place.say(words.slower)
                return
        chat = self._chats.of(heard.chat)
        async with chat.lock:
            try:
                said = await self._said(chat, heard, words, place)
            except BusyError:
                self.counts["refused: busy"] += 1
                said = words.busy
            except Exception as error:  # one message is isolated
                self.counts["failed"] += 1
                log.error("a reply in %s failed: %s", heard.chat, type(error).__name__, exc_info=error)
                said = words.failed
            if self._config.log_text:
                log.info("%s: %s -> %s", heard.chat, tidy(heard.text), said)
            await place.say(said)

    async def _said(self, chat: Chat, heard: Heard, words: Words, place: Place) -> str:
        """What there is to say to a message."""
        text = tidy(heard.text)
        history = await self._chats.history(chat)
        if words is ENGLISH and (
            not text or text.startswith("/")
        ):  # a command has no language, but the last message has
            words = words_for("", next((turn.text for turn in reversed(history) if turn.speaker == USER), ""))
        if not text:
            return words.text_only
        if not text.startswith("/"):
            return await self._reply(chat, history, text, place)
        match command_in(text):
            case "start" | "help":
                return words.help
            case "reset":
                await self._chats.begin_anew(chat)
                return words.reset
            case "undo" | "retry" if len(history) < 2:
                return words.nothing
            case "undo":
                await self._chats.take_back(chat, 2)
                return words.undone
            case "retry":
                return await self._reply(chat, history[:-2], history[-2].text, place, again=True)
            case _:
                return words.unknown

    async def _reply(self, chat: Chat, history: Sequence[Turn], text: str, place: Place, *, again: bool = False) -> str:
        """The model's reply, which joins the history; with `again` in place of the last one."""
        turn = Turn(text, speaker=USER)
        typing = asyncio.ensure_future(_show_typing(place))
        try:
            reply = await self._made([*history, turn])
        finally:
            typing.cancel()
            with suppress(asyncio.CancelledError):
                await typing
        if again:
            await self._chats.take_back(chat, 2)
        await self._chats.add(chat, turn, Turn(reply.text, speaker=BOT))
        self.counts["replies"] += 1
        return reply.text if reply.text.strip() else SPEECHLESS

    async def _made(self, context: Sequence[Turn]) -> Reply:
        """The worker's reply to a context."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Reply] = loop.create_future()
        seed = int(self._seeds.integers(2**63))

        def on_done(done: Reply | Exception) -> None:
            loop.call_soon_threadsafe(_settle, future, done)

        job = Job(context=context, config=self._config, seed=seed, on_done=on_done)
        self._worker.submit(job)
        try:
            return await future
        except asyncio.CancelledError:
            self._worker.cancel(job)
            raise


def is_command(text: str) -> bool:
    """Whether a message begins with one of the bot's commands, so that it is addressed to it in a group, too."""
    return command_in(text) in COMMANDS


async def _show_typing(place: Place) -> None:
    await asyncio.sleep(TYPING_AFTER_S)
    while True:
        with suppress(Exception):  # only a sign
            await place.typing()
        await asyncio.sleep(TYPING_EVERY_S)


def _settle(future: asyncio.Future[Reply], done: Reply | Exception) -> None:
    if future.done():
        return
    if isinstance(done, Exception):
        future.set_exception(done)
    else:
        future.set_result(done)
