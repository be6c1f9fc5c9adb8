"""Commands of the chat, each by itself."""

import re

import pytest

from dialogpt import Chatbot
from dialogpt.chat import ChatConfig
from dialogpt.chat.commands import Commands
from dialogpt.chat.keeping import Keeper
from dialogpt.decoding import ReplyConfig


def test_what_was_drawn_several_times_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    bot = Chatbot.load(settings=ReplyConfig(seed=1, mmi=True, forward_weight=20, num_hypotheses=32), device="cpu")
    bot.reply("Hello, how are you?")
    Commands(bot, Keeper(None, "", ChatConfig()), print, lambda _: None).do_hypotheses("")
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    times = [int(found[1]) if (found := re.search(r"\[drawn (\d+) times\]", line)) else 1 for line in lines]
    assert sum(times) == 32
    assert len(lines) == len({hypothesis.text for hypothesis in bot.hypotheses}) < 32
