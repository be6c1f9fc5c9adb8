"""The model that ships: it loads, it is small, and it holds a conversation."""

from pathlib import Path

import pytest

from dialogpt import Chatbot
from dialogpt.artifact import read_manifest
from dialogpt.decoding import ReplyConfig
from dialogpt.hub import BUNDLED

PROMPTS = [
    "Hello, how are you?",
    "Hi!",
    "Good morning",
    "What is your favorite movie?",
    "Do you like music?",
    "Did you watch the game last night?",
    "Where are you from?",
    "I love pizza.",
    "Thank you!",
    "Have a nice day, bye!",
]


@pytest.fixture(scope="module")
def replies() -> dict[str, list[str]]:
    """Three replies to each prompt, each in a conversation of its own."""
    bot = Chatbot.load(settings=ReplyConfig(seed=0))
    found: dict[str, list[str]] = {}
    for prompt in PROMPTS:
        for _ in range(3):
            bot.reset()
            found.setdefault(prompt, []).append(bot.reply(prompt))
    return found


def test_every_prompt_gets_an_answer_that_ends(replies: dict[str, list[str]]) -> None:
    everything = [reply for found in replies.values() for reply in found]
    assert all(everything)
    ended = sum(reply[-1] in ".!?)" for reply in everything)
    assert ended >= 0.8 * len(everything), everything


def test_replies_neither_loop_nor_copy(replies: dict[str, list[str]]) -> None:
    everything = [reply for found in replies.values() for reply in found]
    assert len(set(everything)) >= 0.8 * len(everything), everything
    for prompt, found in replies.items():
        assert all(reply.casefold() != prompt.casefold() for reply in found) or prompt in ("Hi!", "Good morning")
        for reply in found:
            words = reply.casefold().split()
            assert not any(a == b == c for a, b, c in zip(words, words[1:], words[2:], strict=False)), reply


def test_a_long_conversation_outgrows_the_context_and_goes_on() -> None:
    bot = Chatbot.load(settings=ReplyConfig(seed=1))
    for turn in range(24):
        assert bot.reply(f"That is interesting, tell me more about number {turn} on your list of films.")
    assert len(bot.history) == 48


def test_it_is_small_and_says_what_it_is() -> None:
    assert sum(file.stat().st_size for file in BUNDLED.iterdir()) < 40e6
    manifest = read_manifest(BUNDLED)
    assert manifest is not None
    assert manifest.kind == "checkpoint"
    assert not any(Path(path).is_absolute() for path in manifest.inputs)
    card = (BUNDLED / "README.md").read_text(encoding="utf-8")
    for source in ("self_dialogue", "Topical-Chat", "CABNC", "PersuasionForGood", "CaSiNo"):
        assert source in card
