"""Telegram, by python-telegram-bot: updates are polled, so that the bot needs no address of its own.

In groups the bot hears its commands, mentions of it and replies to it; in a private chat, everything. While Telegram
cannot be reached, the library keeps polling, less and less often; sending waits as long as Telegram asks (429).
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

from telegram import Chat, LinkPreviewOptions, Message, MessageEntity, Update, User
from telegram.constants import ChatAction, ChatType, MessageLimit
from telegram.error import BadRequest, InvalidToken, NetworkError, TelegramError
from telegram.ext import AIORateLimiter, Application, Defaults, ExtBot, MessageHandler, filters
from telegram.request import HTTPXRequest

from dialogpt.chat.bots.core import Core, Heard, PlatformError, is_command
from dialogpt.chat.bots.limits import cut
from dialogpt.chat.bots.sending import sent
from dialogpt.chat.bots.words import ARABIC, ENGLISH
from dialogpt.errors import UsageError

log = logging.getLogger(__name__)

LONGEST = int(MessageLimit.MAX_TEXT_LENGTH)  # UTF-16 units of a message
PUBLIC = "https://api.telegram.org"
RETRIES = 5  # for a message that Telegram wants later
CONNECTIONS = 64  # at once
HINT = "DIALOGPT_TELEGRAM_TOKEN is what @BotFather gave you; /token there shows it"


class Telegram:
    """The bot's account on Telegram; an async context manager, which logs in."""

    def __init__(self, token: str, api: str) -> None:
        self._bot = _Bot(
            token, base_url=f"{api.rstrip('/') or PUBLIC}/bot", rate_limiter=AIORateLimiter(max_retries=RETRIES),
            request=HTTPXRequest(connection_pool_size=CONNECTIONS), get_updates_request=HTTPXRequest(),
            defaults=Defaults(
                link_preview_options=LinkPreviewOptions(is_disabled=True),  # a model makes links up
                allow_sending_without_reply=True,
            ),
        )  # fmt: skip
        self._application = Application.builder().bot(self._bot).build()

    async def __aenter__(self) -> Self:
        try:
            await self._application.__aenter__()
        except InvalidToken:  # its text has the token
            raise UsageError("Telegram rejects the token", HINT) from None
        except TelegramError as error:
            raise PlatformError(f"Telegram cannot be reached: {error}", "check the network, and --api") from error
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._application.__aexit__(*error)

    @property
    def name(self) -> str:
        return f"@{self._bot.username}"

    async def serve(self, core: Core, stop: asyncio.Event) -> None:
        """Answer until `stop` is set; what was heard before is answered still."""

        async def hear(update: Update, _: object) -> None:
            assert update.message is not None
            if (heard := heard_in(update.message, self._bot.bot)) is not None and core.allows(heard):
                core.hear(heard, _Place(update.message, heard.chat))

        async def move(update: Update, _: object) -> None:
            if (message := update.message) is not None and message.migrate_to_chat_id:
                await core.rename(f"telegram/{message.chat_id}", f"telegram/{message.migrate_to_chat_id}")

        said = filters.UpdateType.MESSAGE & ~filters.StatusUpdate.ALL
        self._application.add_handlers([MessageHandler(said, hear), MessageHandler(filters.StatusUpdate.MIGRATE, move)])
        updater = self._application.updater
        assert updater is not None
        await self._show_menu()
        await self._application.start()
        await updater.start_polling(
            allowed_updates=[Update.MESSAGE], bootstrap_retries=RETRIES, error_callback=lambda error: None
        )
        log.info("%s answers on Telegram", self.name)
        try:
            ends = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(self._bot.rejected.wait())]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for end in ends:
                end.cancel()
        finally:
            with suppress(TelegramError):  # left by the polling that has ended
                await updater.stop()
            await self._application.stop()
            await core.finish()
        if self._bot.rejected.is_set():
            raise UsageError("Telegram no longer accepts the token", HINT)

    async def _show_menu(self) -> None:
        try:
            for words, language in ((ENGLISH, ""), (ARABIC, "ar")):
                await self._bot.set_my_commands(list(words.about.items()), language_code=language or None)
        except TelegramError as error:
            log.warning("the menu of commands could not be set: %s", error)


class _Bot(ExtBot[int]):
    """Logs when polling fails, when it works again, and when it cannot go on."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._fails = False
        self._rejected = asyncio.Event()

    @property
    def rejected(self) -> asyncio.Event:
        return self._rejected

    async def get_updates(self, *arguments: Any, **options: Any) -> tuple[Update, ...]:
        try:
            updates = await super().get_updates(*arguments, **options)
        except InvalidToken:
            self._rejected.set()
            raise
        except TelegramError as error:
            if not self._fails:
                log.warning("Telegram cannot be polled: %s; trying again", error)
            self._fails = True
            raise
        except Exception:  # an update that the library cannot read would come again forever
            return await self._readable(options.get("offset"))
        if self._fails:
            log.info("polling Telegram works again")
        self._fails = False
        return updates

    async def _readable(self, offset: int | None) -> tuple[Update, ...]:
        """The waiting updates; those that cannot be read are replaced by empty ones, so that they are skipped."""
        # Telegram ignores the case of a method's name; in lower case the library does not warn about it.
        waiting: Any = await self.do_api_request("getupdates", {"offset": offset} if offset else None)
        updates = []
        for raw in waiting:
            try:
                update = Update.de_json(dict(raw), self)
            except Exception as error:
                log.error("an update from Telegram cannot be read: %s", type(error).__name__)
                update = Update(raw["update_id"])
            updates.append(update)
        return tuple(updates)


class _Place:
    """Where a message came from: the chat, or its topic; in a group what is said there is a reply to it."""

    def __init__(self, message: Message, chat: str) -> None:
        self._message, self._chat = message, chat

    async def say(self, text: str) -> None:
        quote = self._message.chat.type != ChatType.PRIVATE
        for piece in cut(text, LONGEST):
            send = self._message.reply_text
            if not await sent(lambda: send(piece, do_quote=quote), self._chat, (TelegramError,), _passes):  # noqa: B023
                return
            quote = False

    async def typing(self) -> None:
        await self._message.reply_chat_action(ChatAction.TYPING)


def _passes(error: Exception) -> bool:
    return isinstance(error, NetworkError) and not isinstance(error, BadRequest)


def heard_in(message: Message, me: User) -> Heard | None:
    """What a message says to the bot, without its mention; None when it is not addressed to it."""
    author, anonymous = message.from_user, message.sender_chat
    if author is None or (author.is_bot and anonymous is None) or message.is_automatic_forward:
        return None
    private = message.chat.type == ChatType.PRIVATE
    text, entities = message.text or "", message.entities
    if not text:
        text, entities = message.caption or "", message.caption_entities
    replied = message.reply_to_message
    spans, mentioned = _mentions(text, entities, me)
    to_me = private or mentioned or (replied is not None and replied.from_user is not None and replied.from_user == me)
    if not to_me or _commands_another(text, entities, me):
        return None
    said = _without(text, spans).strip()
    if not said and (message.media_group_id is not None or not (private or mentioned)):
        return None  # one of several photos, or no words in a group
    topic = f"/{message.message_thread_id}" if message.is_topic_message else ""
    return Heard(
        chat=f"telegram/{message.chat_id}{topic}",
        user=f"telegram/{anonymous.id if anonymous else author.id}",
        known_as=_known_as(anonymous or author, message.chat),
        text=said or ("/help" if mentioned else ""),
        language=author.language_code or "",
    )


def _known_as(*these: User | Chat) -> frozenset[str]:
    """The ids and names of people and chats."""
    return frozenset(str(one.id) for one in these) | {f"@{one.username}" for one in these if one.username}


def _mentions(text: str, entities: Sequence[MessageEntity], me: User) -> tuple[list[tuple[int, int]], bool]:
    """Where the bot's name stands, in UTF-16 units from and to, and whether it is named or one of its commands is."""
    spans, mentioned = [], False
    for entity in entities:
        start, end = entity.offset, entity.offset + entity.length
        part = _part(text, start, end)
        if entity.type == MessageEntity.BOT_COMMAND:
            name, _, whose = part.partition("@")
            if _same_name(whose, me):
                spans.append((start + len(name), end))
            mentioned |= _same_name(whose, me) or (start == 0 and not whose and is_command(name))
        elif (entity.type == MessageEntity.MENTION and _same_name(part[1:], me)) or entity.user == me:
            spans.append((start, end))
            mentioned = True
    return spans, mentioned


def _commands_another(text: str, entities: Sequence[MessageEntity], me: User) -> bool:
    """Whether it begins with a command of another bot, /reset@other."""
    whose = [
        _part(text, 0, entity.length).partition("@")[2]
        for entity in entities
        if entity.type == MessageEntity.BOT_COMMAND and entity.offset == 0
    ]
    return any(name and not _same_name(name, me) for name in whose)


def _same_name(name: str, me: User) -> bool:
    return name.lower() == (me.username or "").lower() != ""


def _part(text: str, start: int, end: int) -> str:
    return text.encode("utf-16-le", "surrogatepass")[2 * start : 2 * end].decode("utf-16-le", "replace")


def _without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    units = text.encode("utf-16-le", "surrogatepass")
    for start, end in sorted(spans, reverse=True):
        units = units[: 2 * start] + units[2 * end :]
    return units.decode("utf-16-le", "replace")
