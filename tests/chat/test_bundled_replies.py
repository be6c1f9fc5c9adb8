"""What the model that ships says, at its likeliest: to its name, to good and bad news, to what people ask first."""

import re

import pytest

from dialogpt import Chatbot
from dialogpt.decoding import ReplyConfig
from dialogpt.decoding.loading import with_companion


@pytest.fixture(scope="module")
def bot() -> Chatbot:
    return Chatbot.load(settings=with_companion(ReplyConfig(seed=1), None), device="cpu")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Who are you?", "dialo|program|chatbot"),
        ("What is your name?", "dialo"),
        ("Are you a human or a machine?", "program|machine|chatbot"),
        ("My grandmother died last week.", "sorry"),
        ("I failed my driving test.", "sorry|oh no|pity"),
        ("We are getting married in June!", "congratulations|wonderful|lovely|how nice|great|happy"),
        ("I have a new puppy!", "puppy|dog|name|cute|sweet|nice|lovely"),
        ("Thank you for the nice chat.", "welcome|thank|glad"),
        ("Good night!", "night|sleep|dream"),
        ("What's your favourite colour?", "blue|green|red|yellow|orange|purple|colour"),
    ],
)
def test_it_answers_what_was_said(bot: Chatbot, said: str, expected: str) -> None:
    bot.reset()
    reply = bot.reply(said)
    assert re.search(expected, reply.casefold()), reply


@pytest.mark.parametrize("name", ["Samira", "Omar", "Lena"])
def test_it_remembers_a_name(bot: Chatbot, name: str) -> None:
    bot.reset()
    for said in (f"Hello, my name is {name}.", "I had soup for lunch."):
        bot.reply(said)
    assert name in bot.reply("What is my name?")


def test_it_writes_with_capitals_to_those_who_do_not(bot: Chatbot) -> None:
    bot.reset()
    replies = [bot.reply(said) for said in ("i just came back from the beach", "my sister was there too", "nope")]
    assert all(reply[0].isupper() for reply in replies), replies


def test_it_follows_when_the_subject_changes(bot: Chatbot) -> None:
    bot.reset()
    for said in ("I made lentil soup.", "It was too salty.", "My brother liked it."):
        bot.reply(said)
    reply = bot.reply("My girlfriend left me.").casefold()
    assert re.search("sorry|hurt|hard|oh no|sad", reply), reply
