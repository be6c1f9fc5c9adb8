"""Discord, by discord.py: messages come over its gateway, in as many shards as Discord asks for.

In a server the bot hears mentions of it, replies to it and its slash commands; in a private chat, everything. The
library resumes a lost connection or begins a new one, and waits as long as Discord asks for (429).
"""

import asyncio
import logging
import re
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Self

import aiohttp
import discord
import yarl
from discord import app_commands

from dialogpt.chat.bots.core import Core, Heard, PlatformError
from dialogpt.chat.bots.limits import cut
from dialogpt.chat.bots.sending import sent
from dialogpt.chat.bots.words import ENGLISH
from dialogpt.errors import UsageError

log = logging.getLogger(__name__)

LONGEST = 2000  # UTF-16 units of a message
ERRORS = (discord.DiscordException, aiohttp.ClientError, OSError, asyncio.TimeoutError)
REJECTED = 4004  # the gateway's close code for a token that is no longer valid
NOBODY = discord.AllowedMentions.none()  # a reply notifies nobody, whoever it names
HINT = "DIALOGPT_DISCORD_TOKEN is the token under Bot in the Developer Portal; Reset Token there makes a new one"

_MARKUP = re.compile(r"<(?:(?P<kind>@[!&]?)(?P<id>\d+)|#\d+|a?:(?P<emoji>\w+):\d+|/(?P<command>[^:>]+):\d+)>")


class Discord:
    """The bot's account on Discord; an async context manager, which logs in."""

    def __init__(self, token: str, api: str) -> None:
        if api:
            discord.http.Route.BASE = api.rstrip("/")
        self._token, self._own_api = token, bool(api)
        self._client = _Client()

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        try:
            await self._client.login(self._token)
        except BaseException as error:
            await self._client.close()
            raise _explained(error) from None
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._client.__aexit__(*error)

    @property
    def name(self) -> str:
        return str(self._client.user)

    async def serve(self, core: Core, stop: asyncio.Event) -> None:
        """Answer until `stop` is set; what was heard before is answered still."""
        self._client.core = core
        try:
            if self._own_api:  # new sessions do not ask again where the gateway is
                _, gateway, _ = await self._client.http.get_bot_gateway()
                discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway)
            await self._client.tree.sync()
        except ERRORS as error:
            log.warning("the slash commands could not be set: %s", error)
        connection = asyncio.ensure_future(self._client.connect())
        stopped = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait([connection, stopped], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._client.core = None
            await core.finish()
            stopped.cancel()
            failed = connection.exception() if connection.done() else None
            await self._client.close()
            connection.cancel()
            with suppress(asyncio.CancelledError, *ERRORS):
                await connection
        if failed is not None:
            raise _explained(failed) from None


class _Client(discord.AutoShardedClient):
    """Hands what is addressed to the bot to `core`, while there is one."""

    def __init__(self) -> None:
        discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False  # it does not speak
        intents = discord.Intents(guilds=True, guild_messages=True, dm_messages=True, message_content=True)
        super().__init__(
            intents=intents, allowed_mentions=NOBODY, max_messages=None,
            member_cache_flags=discord.MemberCacheFlags.none(), chunk_guilds_at_startup=False,
        )  # fmt: skip
        self.core: Core | None = None
        self.tree = app_commands.CommandTree(self)
        for name, text in ENGLISH.about.items():
            self.tree.add_command(app_commands.Command(name=name, description=text, callback=self._command(name)))

    async def on_shard_connect(self, shard: int) -> None:
        log.info("%s answers on Discord%s", self.user, f", shard {shard}" if self.shard_count != 1 else "")

    async def on_shard_disconnect(self, shard: int) -> None:
        log.warning("Discord has closed the connection; connecting again")

    async def on_shard_resumed(self, shard: int) -> None:
        log.info("the connection to Discord was resumed")

    async def on_message(self, message: discord.Message) -> None:
        assert self.user is not None
        heard = heard_in(message, self.user) if self.core is not None else None
        if self.core is not None and heard is not None and self.core.allows(heard):
            self.core.hear(heard, _Place(message, heard.chat))

    def _command(self, name: str) -> Callable[[discord.Interaction], Coroutine[Any, Any, None]]:
        async def run(interaction: discord.Interaction) -> None:
            if (core := self.core) is None:  # as it may be when Discord has answered
                return
            chat, user = f"discord/{interaction.channel_id}", f"discord/{interaction.user.id}"
            known_as = _known_as(interaction.user, interaction.channel_id, interaction.channel, interaction.guild_id)
            heard = Heard(chat=chat, user=user, known_as=known_as, text=f"/{name}")
            if not core.allows(heard):  # Discord shows only to the author that nothing has answered
                return
            await interaction.response.defer(thinking=True)
            place = _Asked(interaction, chat)
            await core.hear(heard, place)
            if not place.said:  # refused, which has been said already
                await interaction.delete_original_response()

        return run


class _Place:
    """Where a message came from; in a server, what is said there is a reply to it, which notifies nobody."""

    def __init__(self, message: discord.Message, chat: str) -> None:
        self._message, self._chat = message, chat

    async def say(self, text: str) -> None:
        reference = self._message.to_reference(fail_if_not_exists=False) if self._message.guild else None
        for piece in cut(text, LONGEST):
            options: Any = {"mention_author": False} | ({"reference": reference} if reference else {})

            async def send(piece: str = piece, options: Any = options) -> None:
                await self._message.channel.send(piece, allowed_mentions=NOBODY, suppress_embeds=True, **options)

            if not await sent(send, self._chat, ERRORS, _passes):
                return
            reference = None

    async def typing(self) -> None:
        await self._message.channel.typing()


class _Asked:
    """Where a slash command came from; Discord shows that a reply is being made until there is one."""

    def __init__(self, interaction: discord.Interaction, chat: str) -> None:
        self._interaction, self._chat = interaction, chat
        self.said = False

    async def say(self, text: str) -> None:
        self.said = True
        for piece in cut(text, LONGEST):

            async def send(piece: str = piece) -> None:
                await self._interaction.followup.send(piece, allowed_mentions=NOBODY, suppress_embeds=True)

            if not await sent(send, self._chat, ERRORS, _passes):
                return

    async def typing(self) -> None:
        pass


def _passes(error: Exception) -> bool:
    return isinstance(error, discord.DiscordServerError) or not isinstance(error, discord.DiscordException)


def _explained(error: BaseException) -> BaseException:
    """A library's error in words that say what to do; any other one as it is."""
    if isinstance(error, discord.LoginFailure) or getattr(error, "code", None) == REJECTED:
        return UsageError("Discord rejects the token", HINT)
    if isinstance(error, discord.PrivilegedIntentsRequired):
        return UsageError(
            "Discord does not let the bot read messages",
            "switch on Message Content Intent under Bot in the Developer Portal",
        )
    if isinstance(error, ERRORS):
        return PlatformError(
            f"Discord cannot be reached: {error or type(error).__name__}", "check the network, and --api"
        )
    return error


def heard_in(message: discord.Message, me: discord.ClientUser) -> Heard | None:
    """What a message says to the bot, without its mention; None when it is not addressed to it."""
    spoken = message.type in (discord.MessageType.default, discord.MessageType.reply)
    if message.author.bot or message.webhook_id is not None or not spoken:
        return None
    mine = {me.id}
    if message.guild is not None and (role := message.guild.self_role) is not None:
        mine.add(role.id)  # also has the bot's name, and is easily mistaken for it
    mentioned = not mine.isdisjoint(one.id for one in (*message.mentions, *message.role_mentions))
    answered = message.reference.resolved if message.reference is not None else None
    replied = isinstance(answered, discord.Message) and answered.author.id == me.id
    private = message.guild is None
    if not (private or mentioned or replied):
        return None
    names = {user.id: user.display_name for user in message.mentions}
    said = _plain(message.content, mine, names).strip()
    if not said and not (private or mentioned):
        return None
    bare = mentioned and not (message.attachments or message.stickers)
    return Heard(
        chat=f"discord/{message.channel.id}",
        user=f"discord/{message.author.id}",
        known_as=_known_as(
            message.author, message.channel.id, message.channel, message.guild.id if message.guild else None
        ),
        text=said or ("/help" if bare else ""),
    )


def _known_as(author: Any, channel_id: int | None, channel: Any, guild_id: int | None) -> frozenset[str]:
    """The ids of a message's author, channel, thread's channel and server, and the author's name."""
    ids = (author.id, channel_id, getattr(channel, "parent_id", None), guild_id)
    # Names from before 2023, which a number follows, belong to several people.
    name = {f"@{author.name}"} if author.discriminator == "0" else set()
    return frozenset(str(one) for one in ids if one is not None) | name


def _plain(content: str, mine: set[int], names: dict[int, str]) -> str:
    """A message's text as people read it: without the bot's mentions, those of others as names."""

    def plain(found: re.Match[str]) -> str:
        if found["id"]:
            return "" if int(found["id"]) in mine else names.get(int(found["id"]), "")
        return f":{found['emoji']}:" if found["emoji"] else f"/{found['command']}" if found["command"] else ""

    return _MARKUP.sub(plain, content)
