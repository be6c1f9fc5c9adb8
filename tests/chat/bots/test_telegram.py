"""The bot on Telegram: python-telegram-bot against a Bot API on loopback."""

from collections.abc import Callable
from typing import Any

import pytest

from dialogpt.chat.bots.words import ARABIC, ENGLISH
from dialogpt.chat.store import Conversations, default_path

Start = Callable[..., Any]


def test_a_private_chat(telegram: Any, start: Start, fakes: Any) -> None:
    start(telegram)
    telegram.say("does money buy happiness?")
    (said,) = fakes.until(telegram.texts)
    assert said
    (call,) = telegram.called("sendMessage")
    assert "reply_parameters" not in call
    assert '"is_disabled": true' in call["link_preview_options"].replace(":true", ": true")
