"""The bot on Discord: discord.py against an API and a gateway on loopback."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any
from unittest.mock import AsyncMock, MagicMock, Mock

import pytest

from dialogpt.chat.bots.words import ARABIC, ENGLISH
from dialogpt.chat.store import Conversations, default_path
from dialogpt.errors import UsageError

Start = Callable[..., Any]
GENERAL, SERVER = "500", "100"
ME = {"id": "7", "username": "tester", "discriminator": "0", "avatar": None, "bot": True}


def ready(discord: Any, fakes: Any) -> None:
    fakes.until(lambda: discord._events)


def test_a_private_chat(discord: Any, start: Start, fakes: Any) -> None:
    start(discord)
    ready(discord, fakes)
    discord.say("does money buy happiness?")
    fakes.until(discord.texts)
    (call,) = discord.called("POST channels/42/messages")
    assert call["content"]
    assert "message_reference" not in call
    assert call["allowed_mentions"]["parse"] == []
    assert call["flags"] == 4  # without previews of links


def test_in_a_server_only_what_is_addressed_to_it(discord: Any, start: Start, fakes: Any) -> None:
    start(discord)
    ready(discord, fakes)
    ann, mine = {"id": "5", "username": "ann", "discriminator": "0", "avatar": None}, discord.message("x", GENERAL, ME)
    theirs = mine | {"author": ann}
    reference = {"message_id": mine["id"], "channel_id": GENERAL}
    discord.say("nobody is meant", GENERAL)
    discord.say("@everyone look", GENERAL, mention_everyone=True)
    discord.say("<@5> hi", GENERAL, mentions=[ann])
    discord.say("to another", GENERAL, message_reference=reference, referenced_message=theirs, type=19)
    discord.say("<@7> hi", GENERAL, mentions=[ME], author={"bot": True})
    discord.say("<@7> hi", GENERAL, mentions=[ME], webhook_id="9")
    discord.say("", GENERAL, type=7)  # somebody has come
    discord.say("<@7> ask <@5> <:wave:99> صباح الخير", GENERAL, mentions=[ME, ann])
    discord.say("and you?", GENERAL, message_reference=reference, referenced_message=mine, type=19)
    discord.say("<@&70> I took you for a role", GENERAL, mention_roles=["70"])
    discord.say("<@!7>", GENERAL, mentions=[ME])
    fakes.until(lambda: len(discord.texts(GENERAL)) == 4)
    assert discord.texts(GENERAL)[3] == ENGLISH.help
    calls = discord.called(f"POST channels/{GENERAL}/messages")
    assert all(call["message_reference"]["fail_if_not_exists"] is False for call in calls)
    assert all(call["allowed_mentions"] == {"parse": [], "replied_user": False} for call in calls)
    with Conversations(default_path()) as store:
        (kept,) = store.listed()
        said = [turn.text for turn in store.session(kept.id).turns[::2]]
    assert said == ["ask ann :wave: صباح الخير", "and you?", "I took you for a role"]


def test_slash_commands(discord: Any, start: Start, fakes: Any) -> None:
    start(discord, per_user=5)
    ready(discord, fakes)
    (commands,) = discord.called("PUT applications/7/commands")
    assert [command["name"] for command in commands] == ["help", "reset", "retry", "undo"]
    discord.say("hello")
    fakes.until(discord.texts)

    def told() -> list[str]:
        return [call["content"] for name, call in list(discord.calls) if name.startswith("POST webhooks/7/token-")]

    for number, name in enumerate(("retry", "undo", "reset", "help"), 1):
        discord.command(name)
        fakes.until(lambda number=number: len(told()) == number)
    assert told()[1:] == [ENGLISH.undone, ENGLISH.reset, ENGLISH.help]
    callbacks = [call for name, call in list(discord.calls) if name.endswith("/callback")]
    assert [call["type"] for call in callbacks] == [5] * 4  # it is being worked on
    discord.command("help")
    fakes.until(lambda: len(told()) == 5)
    discord.command("help")
    fakes.until(lambda: [name for name, _ in list(discord.calls) if name.startswith("DELETE webhooks/7/token-")])
    assert told()[4:] == [ENGLISH.slower]
    discord.say("/reset", channel="43", user="43")
    fakes.until(lambda: discord.texts("43"))
    assert discord.texts("43") == [ENGLISH.reset]


def test_a_slash_command_while_the_bot_ends() -> None:
    """The bot stops to listen while Discord is told that a reply is being made."""
    pytest.importorskip("discord")
    from dialogpt.chat.bots.discord import _Client

    async def command() -> list[Any]:
        client, heard = _Client(), AsyncMock()
        client.core = Mock(hear=heard)
        interaction = MagicMock(delete_original_response=AsyncMock())
        interaction.response.defer = AsyncMock(side_effect=lambda **_: setattr(client, "core", None))
        await client._command("help")(interaction)
        return heard.await_args_list

    (called,) = asyncio.run(command())
    assert called.args[0].text == "/help"


@pytest.mark.parametrize("allow", ["5", "@ann", GENERAL, SERVER], ids=["user", "name", "channel", "server"])
def test_whom_it_answers(discord: Any, start: Start, fakes: Any, caplog: pytest.LogCaptureFixture, allow: str) -> None:
    caplog.set_level(logging.INFO, "dialogpt")
    bot = start(discord, allow=(allow,), per_user=0, per_chat=0)
    ready(discord, fakes)
    for author in ({"username": "5"}, {"username": "ann", "discriminator": "1234"}):  # another one's number, and name
        discord.say("hello", "46", "6", author=author)
    if allow != "@ann":  # who gives the command
        discord.command("help", "47", "6")
    discord.say("<@7> hi", GENERAL, "5", mentions=[ME])
    fakes.until(lambda: discord.texts(GENERAL))
    bot.end()
    assert discord.texts("46") == []
    assert not [name for name, _ in discord.calls if "token-" in name or name.endswith("/callback")]
    assert caplog.text.count("ignored: discord/6 in discord/46 is not among --allow") == 1
    assert f"ignored: not among --allow: {2 + (allow != '@ann')}" in caplog.text


def test_slash_commands_of_whom_it_answers(discord: Any, start: Start, fakes: Any) -> None:
    start(discord, allow=("6",))
    ready(discord, fakes)
    discord.command("help", "47", "6")
    fakes.until(lambda: [name for name, _ in list(discord.calls) if name.startswith("POST webhooks/7/token-")])


def test_a_reply_that_takes_time_shows_typing(
    discord: Any, start: Start, fakes: Any, slowed: Callable[[Any, float], None]
) -> None:
    bot = start(discord, min_new_tokens=6)
    ready(discord, fakes)
    slowed(bot.batcher.engine, 0.2)
    discord.say("hello")
    fakes.until(discord.texts)
    names = [name for name, _ in discord.calls]
    assert names.index("POST channels/42/typing") < names.index("POST channels/42/messages")


def test_a_lost_connection_is_resumed(discord: Any, start: Start, fakes: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "dialogpt")
    start(discord)
    ready(discord, fakes)
    fakes.until(lambda: [said for said in discord.received if said["op"] == 1])
    discord.drop()
    discord.say("said while it was away")
    fakes.until(discord.texts)
    resumed = [said["d"] for said in discord.received if said["op"] == 6]
    assert [(one["session_id"], one["token"]) for one in resumed] == [("session", discord.TOKEN)]
    assert len([said for said in discord.received if said["op"] == 2]) == 1
    fakes.until(lambda: "was resumed" in caplog.text)


def test_a_session_that_is_gone_is_begun_anew(discord: Any, start: Start, fakes: Any) -> None:
    start(discord)
    ready(discord, fakes)
    discord.resumable = False
    discord.drop()
    fakes.until(lambda: len([said for said in discord.received if said["op"] == 2]) == 2)
    fakes.until(lambda: len(discord._events) == 2)
    discord.say("hello")
    fakes.until(discord.texts)


def test_discord_asks_for_patience(discord: Any, start: Start, fakes: Any) -> None:
    name = "POST channels/42/messages"
    flood = fakes.status(
        429, {"Via": "1.1"}, message="You are being rate limited.", retry_after=0.3, **{"global": False}
    )
    discord.fail(name, flood, fakes.status(502), fakes.dropped, fakes.status(503, message="unavailable"))
    start(discord)
    ready(discord, fakes)
    discord.say("hello")
    fakes.until(lambda: len(discord.called(name)) == 5)
    assert len({call["content"] for call in discord.called(name)}) == 1


def test_what_cannot_be_sent_takes_no_other_along(
    discord: Any, start: Start, fakes: Any, caplog: pytest.LogCaptureFixture
) -> None:
    discord.fail("POST channels/1/messages", fakes.status(403, code=50007, message="Cannot send messages to this user"))
    start(discord)
    ready(discord, fakes)
    discord.say("hello", "1", "1")
    discord.say("hello", "2", "2")
    fakes.until(lambda: discord.texts("2") and "Cannot send messages to this user" in caplog.text)
    assert "could not be sent to discord/1" in caplog.text


def test_a_long_reply_comes_in_pieces(discord: Any, start: Start, fakes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dialogpt.chat.bots.discord.LONGEST", 90)
    start(discord)
    ready(discord, fakes)
    discord.say("/help")
    fakes.until(lambda: "".join(discord.texts()).endswith("exchange"))
    assert max(map(len, discord.texts())) <= 90
    assert " ".join(discord.texts()).split() == ENGLISH.help.split()


def test_what_is_no_text(discord: Any, start: Start, fakes: Any) -> None:
    start(discord)
    ready(discord, fakes)
    picture = {"id": "1", "filename": "a.png", "size": 1, "url": "", "proxy_url": ""}
    discord.say("", attachments=[picture])
    discord.say("مرحبا", attachments=[picture])
    discord.say("/help مرحبا بك")
    fakes.until(lambda: len(discord.texts()) == 3)
    assert discord.texts()[0] == ENGLISH.text_only
    assert discord.texts()[2] == ARABIC.help


def test_the_history_outlives_the_bot(discord: Any, start: Start, fakes: Any) -> None:
    for number in (1, 2):
        bot = start(discord)
        ready(discord, fakes)
        discord.say(f"message {number}")
        fakes.until(lambda number=number: len(discord.texts()) == number)
        bot.end()
        discord._events.clear()
    with Conversations(default_path()) as store:
        (kept,) = store.listed()
        said = [turn.text for turn in store.session(kept.id).turns]
    assert (said[::2], said[1::2], kept.chat) == (["message 1", "message 2"], discord.texts(), "discord/42")


@pytest.mark.parametrize(
    "code, message",
    [(4014, "Discord does not let the bot read messages"), (4004, "Discord rejects the token"),
     (4013, "Discord cannot be reached: ")],
)  # fmt: skip
def test_a_gateway_that_refuses(discord: Any, start: Start, fakes: Any, code: int, message: str) -> None:
    discord.intents_close = code
    bot = start(discord)
    fakes.until(lambda: not bot.alive)
    assert bot.error is not None
    assert getattr(bot.error, "message", "").startswith(message), bot.error
    assert isinstance(bot.error, UsageError) == (code != 4013)
