"""The bot on Telegram: python-telegram-bot against a Bot API on loopback."""

import logging
from collections.abc import Callable
from typing import Any

import pytest

from dialogpt.chat.bots.words import ARABIC, ENGLISH
from dialogpt.chat.store import Conversations, default_path
from dialogpt.errors import UsageError

Start = Callable[..., Any]
GROUP = -100
STICKER = {"file_id": "1", "file_unique_id": "1", "type": "regular", "width": 1, "height": 1, "is_animated": False,
           "is_video": False}  # fmt: skip


def test_a_private_chat(telegram: Any, start: Start, fakes: Any) -> None:
    start(telegram)
    telegram.say("does money buy happiness?")
    fakes.until(telegram.texts)
    (call,) = telegram.called("sendMessage")
    assert call["text"]
    assert "reply_parameters" not in call
    assert call["link_preview_options"].replace(" ", "") == '{"is_disabled":true}'


def test_in_a_group_only_what_is_addressed_to_it(telegram: Any, start: Start, fakes: Any) -> None:
    start(telegram)
    mine = telegram.message("hello", GROUP, 7, sender={"is_bot": True, "username": "tester"})
    theirs = telegram.message("hello", GROUP, 5)
    telegram.say("nobody is meant", GROUP)
    telegram.say("@another how are you?", GROUP)
    telegram.say("/reset@another", GROUP)
    telegram.say("/weather", GROUP)
    telegram.say("to another", GROUP, reply_to_message=theirs)
    telegram.say("@tester hi", GROUP, sender={"is_bot": True})
    telegram.say(None, GROUP, sticker=STICKER, reply_to_message=mine)
    telegram.say("😀 @Tester صباح الخير", GROUP)
    telegram.say("and you?", GROUP, reply_to_message=mine)
    telegram.say("/reset@tester", GROUP)
    fakes.until(lambda: len(telegram.texts(GROUP)) == 3)
    assert telegram.texts(GROUP)[2] == ENGLISH.reset
    quoted = [call["reply_parameters"] for call in telegram.called("sendMessage")]
    assert [f'"message_id": {number}' in text.replace('":', '": ').replace(":  ", ": ")
            for number, text in zip((8, 9, 10), quoted, strict=True)] == [True] * 3  # fmt: skip
    with Conversations(default_path()) as store:
        (first,) = [store.session(one.id) for one in store.listed()]
    assert [turn.text for turn in first.turns[::2]] == ["😀 صباح الخير", "and you?"]


def test_each_chat_has_its_history(telegram: Any, start: Start, fakes: Any) -> None:
    start(telegram)
    for chat in (1, 2):
        telegram.say(f"I am number {chat}", chat, chat)
    telegram.say("in a topic", GROUP, 1, is_topic_message=True, message_thread_id=9, reply_to_message=None,
                 entities=[{"type": "text_mention", "offset": 0, "length": 2, "user": {
                     "id": 7, "is_bot": True, "first_name": "Tester"}}])  # fmt: skip
    fakes.until(lambda: telegram.texts(1) and telegram.texts(2) and telegram.texts(GROUP))
    assert telegram.called("sendMessage")[-1].get("message_thread_id", "9") == "9"
    with Conversations(default_path()) as store:
        kept = {one.chat: next(iter(store.session(one.id).turns)).text for one in store.listed()}
    assert kept == {"telegram/1": "I am number 1", "telegram/2": "I am number 2", f"telegram/{GROUP}/9": "a topic"}


def test_commands(telegram: Any, start: Start, fakes: Any) -> None:
    bot = start(telegram)
    for text in ("/start", "/undo", "hello", "/retry", "/undo", "/undo", "/nonsense", "again", "/RESET now", "/retry"):
        before = len(telegram.texts())
        telegram.say(text)
        fakes.until(lambda before=before: len(telegram.texts()) > before)
    said = telegram.texts()
    assert said[:2] == [ENGLISH.help, ENGLISH.nothing]
    assert said[4:7] == [ENGLISH.undone, ENGLISH.nothing, ENGLISH.unknown]
    assert said[8:] == [ENGLISH.reset, ENGLISH.nothing]
    bot.end()
    with Conversations(default_path()) as store:
        assert [[turn.text for turn in store.session(one.id).turns] for one in store.listed()] == [["again", said[7]]]


def test_the_menu_is_in_two_languages(telegram: Any, start: Start, fakes: Any) -> None:
    start(telegram)
    fakes.until(lambda: len(telegram.called("setMyCommands")) == 2)
    english, arabic = telegram.called("setMyCommands")
    assert "language_code" not in english
    assert arabic["language_code"] == "ar"
    assert all(f'"{name}"' in english["commands"] and f'"{name}"' in arabic["commands"] for name in ENGLISH.about)


def test_a_reply_that_takes_time_shows_typing(
    telegram: Any, start: Start, fakes: Any, slowed: Callable[[Any, float], None]
) -> None:
    bot = start(telegram, min_new_tokens=6)
    slowed(bot.batcher.engine, 0.2)
    telegram.say("hello")
    fakes.until(telegram.texts)
    names = [name for name, _ in telegram.calls]
    assert names.index("sendChatAction") < names.index("sendMessage")
    (call,) = telegram.called("sendChatAction")
    assert (call["chat_id"], call["action"]) == ("42", "typing")


def test_what_is_no_text(telegram: Any, start: Start, fakes: Any) -> None:
    start(telegram)
    telegram.update(edited_message=telegram.message("edited"))
    telegram.update(channel_post=telegram.message("posted"))
    telegram.say(None, new_chat_title="a service message")
    telegram.say(None, photo=[], media_group_id="1")
    telegram.say(None, sticker=STICKER)
    telegram.say(None, photo=[], caption="what is this?")
    fakes.until(lambda: len(telegram.texts()) == 2)
    assert telegram.texts()[0] == ENGLISH.text_only
    assert telegram.texts()[1] != ENGLISH.text_only


def test_arabic_gets_arabic(telegram: Any, start: Start, fakes: Any) -> None:
    start(telegram)
    telegram.say("/help", sender={"language_code": "ar"})
    telegram.say("كيف حالك؟ 😀")
    fakes.until(lambda: len(telegram.texts()) == 2)
    assert telegram.texts()[0] == ARABIC.help
    with Conversations(default_path()) as store:
        (kept,) = store.listed("كيف حالك؟ 😀")
        assert store.session(kept.id).turns[1].text == telegram.texts()[1]


def test_a_command_is_answered_in_the_language_of_the_conversation(telegram: Any, start: Start, fakes: Any) -> None:
    start(telegram)
    for text in ("كيف حالك", "/reset", "مرحبا", "/undo", "/undo"):  # those of one chat are answered in order
        telegram.say(text, sender={"language_code": "en"})
    fakes.until(lambda: len(telegram.texts()) == 5)
    assert telegram.texts()[3] == ARABIC.undone
    assert telegram.texts()[1] == ARABIC.reset
    assert telegram.texts()[4] == ENGLISH.nothing  # nothing is left that is in a language


def test_the_history_outlives_the_bot(telegram: Any, start: Start, fakes: Any) -> None:
    for number in (1, 2):
        bot = start(telegram)
        telegram.say(f"message {number}")
        fakes.until(lambda number=number: len(telegram.texts()) == number)
        bot.end()
    with Conversations(default_path()) as store:
        (kept,) = store.listed()
        said = [turn.text for turn in store.session(kept.id).turns]
    assert said[::2] == ["message 1", "message 2"]
    assert said[1::2] == telegram.texts()
    bot = start(telegram)
    telegram.say("/reset")
    fakes.until(lambda: len(telegram.texts()) == 3)
    bot.end()
    start(telegram)
    telegram.say("/retry")
    fakes.until(lambda: len(telegram.texts()) == 4)
    assert telegram.texts()[3] == ENGLISH.nothing


def test_without_a_log_nothing_is_kept(telegram: Any, start: Start, fakes: Any) -> None:
    start(telegram, log=False)
    telegram.say("hello")
    telegram.say("/undo")
    fakes.until(lambda: len(telegram.texts()) == 2)
    assert telegram.texts()[1] == ENGLISH.undone
    assert not default_path().exists()


def test_too_many_messages_are_refused_once(telegram: Any, start: Start, fakes: Any) -> None:
    start(telegram, per_user=2, per_chat=5)
    for _ in range(5):
        telegram.say("hello")
    for user in (2, 3, 4, 5, 6, 7):
        telegram.say("@tester hello", GROUP, user)
    telegram.say("the end", 1, 1)
    fakes.until(lambda: telegram.texts(1))
    fakes.until(lambda: len(telegram.texts(GROUP)) == 6)
    fakes.until(lambda: len(telegram.texts()) == 3)
    assert [text == ENGLISH.slower for text in telegram.texts()].count(True) == 1
    assert telegram.texts(GROUP).count(ENGLISH.slower) == 1


def test_telegram_asks_for_patience(telegram: Any, start: Start, fakes: Any) -> None:
    telegram.fail("sendMessage", fakes.flood(1), fakes.status(502, ok=False, error_code=502), fakes.dropped)
    telegram.fail("getUpdates", fakes.flood(1))
    start(telegram)
    telegram.say("hello")
    fakes.until(lambda: len(telegram.called("sendMessage")) == 4)
    assert len({call["text"] for call in telegram.called("sendMessage")}) == 1


def test_what_is_logged_is_a_line_without_what_steers_a_terminal(
    telegram: Any, start: Start, fakes: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dialogpt")
    start(telegram, log_text=True)
    telegram.say("hello\x1b[2J\ntelegram/1: forged")
    fakes.until(telegram.texts)
    assert "telegram/42: hello[2J telegram/1: forged -> " in caplog.text


def test_polling_goes_on_after_faults(
    telegram: Any, start: Start, fakes: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dialogpt")
    start(telegram)
    telegram.fail("getUpdates", fakes.status(500, ok=False), fakes.dropped, fakes.status(502, ok=False))
    fakes.until(lambda: "polling Telegram works again" in caplog.text)
    assert caplog.text.count("cannot be polled") == 1
    telegram.say("hello")
    fakes.until(telegram.texts)


def test_one_chat_that_fails_takes_no_other_along(
    telegram: Any, start: Start, fakes: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bot = start(telegram)

    def guard(context: Any, text: str) -> str | None:
        if context[-1].text == "boom":
            raise ValueError("internal matters")
        return None

    bot.batcher.guards = [guard]
    telegram.fail("sendMessage", fakes.status(403, ok=False, error_code=403, description="bot was blocked by the user"))
    telegram.say("I block you", 1, 1)
    fakes.until(lambda: telegram.texts(1))
    telegram.say("boom", 2, 2)
    telegram.say("fine", 3, 3)
    fakes.until(lambda: telegram.texts(2) and telegram.texts(3))
    assert telegram.texts(2) == [ENGLISH.failed]
    assert telegram.texts(3) != [ENGLISH.failed]
    assert "telegram/1: bot was blocked by the user" in caplog.text
    telegram.say("better now", 2, 2)
    fakes.until(lambda: len(telegram.texts(2)) == 2)
    with Conversations(default_path()) as store:
        assert not store.listed("boom")


def test_a_long_reply_comes_in_pieces(telegram: Any, start: Start, fakes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dialogpt.chat.bots.telegram.LONGEST", 100)
    start(telegram)
    telegram.say("/help")
    fakes.until(lambda: "".join(telegram.texts()).endswith("exchange"))
    assert max(map(len, telegram.texts())) <= 100
    assert " ".join(telegram.texts()).split() == ENGLISH.help.split()


def test_a_group_that_becomes_a_supergroup(telegram: Any, start: Start, fakes: Any) -> None:
    start(telegram)
    telegram.say("@tester hello", GROUP)
    fakes.until(lambda: telegram.texts(GROUP))
    telegram.say(None, GROUP, migrate_to_chat_id=-1000)
    telegram.say("/undo@tester", -1000)
    fakes.until(lambda: telegram.texts(-1000))
    assert telegram.texts(-1000) == [ENGLISH.undone]


def test_whom_it_answers(telegram: Any, start: Start, fakes: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "dialogpt")
    bot = start(telegram, allow=("5", "@Ann", str(GROUP)), per_user=0, per_chat=0)
    for _ in range(3):
        telegram.say("a stranger", 6, 6)
    telegram.say("@tester one with the number as a name", -300, 8, sender={"username": "5"})
    telegram.say("/help@tester", -300, 5)
    telegram.say("/help", 9, 9, sender={"username": "ANN"})
    telegram.say("/help@tester", GROUP, 6)
    telegram.say("/help@tester", GROUP, 10, is_topic_message=True, message_thread_id=9)
    channel = {"id": -77, "type": "channel", "title": "of a channel"}
    telegram.say("/help@tester", -300, 5, sender={"is_bot": True, "id": 136817688}, sender_chat=channel)
    telegram.say("/help", 5, 5)
    fakes.until(lambda: telegram.texts(5))
    bot.end()
    assert [len(telegram.texts(chat)) for chat in (6, -300, 9, GROUP, 5)] == [0, 1, 1, 2, 1]
    assert caplog.text.count("ignored: telegram/6 in telegram/6 is not among --allow") == 1
    assert "ignored: telegram/8 in telegram/-300" in caplog.text
    assert "ignored: telegram/-77 in telegram/-300" in caplog.text
    assert "ignored: not among --allow: 5" in caplog.text


def test_a_group_that_is_allowed_stays_so_as_a_supergroup(
    telegram: Any, start: Start, fakes: Any, caplog: pytest.LogCaptureFixture
) -> None:
    start(telegram, allow=(str(GROUP),))
    telegram.say(None, GROUP, migrate_to_chat_id=-1000)
    telegram.say("/help@tester", -1000)
    fakes.until(lambda: telegram.texts(-1000))
    assert f"the chat {GROUP} is now -1000: put that into --allow" in caplog.text


def test_many_chats_at_once(telegram: Any, start: Start, fakes: Any) -> None:
    bot = start(telegram, rows=16)
    for chat in range(1, 41):
        telegram.say(f"hello from {chat}", chat, chat)
        telegram.say("and how are you?", chat, chat)
    fakes.until(lambda: len(telegram.called("sendMessage")) == 80)
    assert all(len(telegram.texts(chat)) == 2 for chat in range(1, 41))
    assert bot.batcher.caches.hits >= 40  # the second turn of each costs what is new in it


def test_a_busy_bot_says_so(telegram: Any, start: Start, fakes: Any, slowed: Callable[[Any, float], None]) -> None:
    bot = start(telegram, rows=1, queue=1, min_new_tokens=6)
    slowed(bot.batcher.engine, 0.1)
    for chat in range(1, 7):
        telegram.say("hello", chat, chat)
    fakes.until(lambda: len(telegram.called("sendMessage")) == 6)
    busy = [call["text"] == ENGLISH.busy for call in telegram.called("sendMessage")]
    assert 3 <= busy.count(True) <= 5


def test_a_token_that_holds_no_longer(telegram: Any, start: Start, fakes: Any) -> None:
    bot = start(telegram)
    fakes.until(lambda: telegram.called("getUpdates"))
    telegram.TOKEN = "another"
    fakes.until(lambda: not bot.alive)
    assert isinstance(bot.error, UsageError)
    assert bot.error.message == "Telegram no longer accepts the token"


def test_an_update_that_cannot_be_read_is_passed_over(
    telegram: Any, start: Start, fakes: Any, caplog: pytest.LogCaptureFixture
) -> None:
    start(telegram)
    telegram.say(None, sticker={"of": "another form"})
    telegram.say("hello")
    fakes.until(telegram.texts)
    assert caplog.text.count("an update from Telegram cannot be read: TypeError") == 1
    fakes.until(lambda: telegram.called("getUpdates")[-1].get("offset") == "3")
