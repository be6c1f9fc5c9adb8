"""A conversation in Python: its history, its pieces, its seeds."""

import asyncio
import copy
import os
import pickle
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialogpt import GPT, Chatbot, Tokenizer, Turn
from dialogpt.decoding import ReplyConfig
from dialogpt.decoding.responder import Responder
from dialogpt.errors import CheckpointError, DataError, UsageError
from dialogpt.model.engine import TorchEngine

Pair = tuple[GPT, Tokenizer]
SAID = ["does money buy happiness?", "صباح الخير", "are you sure?", "😀"]
GREEDY = ReplyConfig(temperature=0, min_new_tokens=0, no_repeat_ngram=0, max_new_tokens=100)


def bot_of(pair: Pair, **config: Any) -> Chatbot:
    return Chatbot(Responder(TorchEngine(pair[0]), pair[1], ReplyConfig(**{"max_new_tokens": 8, **config})))


@pytest.fixture(scope="session")
def bytes_tokenizer() -> Tokenizer:
    """Every byte is a token of its own."""
    return Tokenizer.train(["x"], 257)


@pytest.fixture(scope="session")
def scripted_bot(scripted_engine: Callable[..., Any], bytes_tokenizer: Tokenizer) -> Callable[..., Chatbot]:
    """A bot whose model says the given tokens, or spells a text byte by byte, then ends."""

    def make(says: str | list[int], config: ReplyConfig = GREEDY) -> Chatbot:
        script = bytes_tokenizer.encode(says) if isinstance(says, str) else says
        script = [*script, bytes_tokenizer.end_id]
        return Chatbot(Responder(scripted_engine([script], bytes_tokenizer.vocab_size), bytes_tokenizer, config))

    return make


def test_reply_and_stream_are_the_same_for_the_same_seed(tiny_model: Pair) -> None:
    replying, streaming, other = bot_of(tiny_model, seed=5), bot_of(tiny_model, seed=5), bot_of(tiny_model, seed=6)
    replies = [replying.reply(text) for text in SAID]
    assert ["".join(streaming.stream(text)) for text in SAID] == replies
    assert replying.history == streaming.history
    assert [other.reply(text) for text in SAID] != replies


def test_without_a_seed_every_conversation_is_another(tiny_model: Pair) -> None:
    assert len({tuple(map(bot_of(tiny_model).reply, SAID)) for _ in range(4)}) == 4


def test_the_history_is_kept(tiny_model: Pair) -> None:
    bot = bot_of(tiny_model, seed=1)
    first, second = bot.reply("  hello\u0000 \n there "), bot.reply("😀")
    assert bot.history == [Turn("hello there", "user"), Turn(first, "bot"), Turn("😀", "user"), Turn(second, "bot")]
    bot.reset()
    assert bot.history == []


def test_a_reset_bot_reads_nothing_old(scripted_bot: Callable[..., Chatbot], bytes_tokenizer: Tokenizer) -> None:
    bot = scripted_bot("ok")
    bot.reply("one")
    bot.reply("two")
    bot.reset()
    bot.reply("three")
    read = [
        bytes_tokenizer.decode([64 if t == bytes_tokenizer.end_id else t for t in c])
        for c in bot.responder.engine.contexts
    ]
    end = bytes_tokenizer.decode([64])
    assert read == [f"one{end}", f"one{end}ok{end}two{end}", f"three{end}"]


class RecordingEngine(TorchEngine):
    def resume(self, context: Sequence[int], kept: Any) -> Any:
        self.contexts = [*getattr(self, "contexts", []), list(context)]
        return super().resume(context, kept)


def test_a_full_context_loses_its_oldest_whole_turns(tiny_model: Pair) -> None:
    model, tokenizer = tiny_model
    bot = Chatbot(Responder(RecordingEngine(model), tokenizer, ReplyConfig(max_new_tokens=8, seed=3)))
    texts = [f"{i} does money buy happiness?" for i in range(12)]
    for text in texts:
        bot.reply(text)
    assert [turn.text for turn in bot.history[::2]] == texts  # nothing said is forgotten, only not read
    cut = 0
    for i, context in enumerate(bot.responder.engine.contexts):
        turns = tokenizer.encode_turns(bot.history[: 2 * i + 1])
        suffixes = [[token for turn in turns[start:] for token in turn] for start in range(len(turns))]
        assert context == max((suffix for suffix in suffixes if len(suffix) <= 64 - 8), key=len)
        cut += context != suffixes[0]
    assert cut > 6


@pytest.mark.parametrize("text", ["", " \n\t", "\u0000\x07", "\ud800", "\u202e\u200f"])
def test_an_empty_message_is_an_error(tiny_model: Pair, text: str) -> None:
    bot = bot_of(tiny_model)
    with pytest.raises(DataError, match="message is empty"):
        bot.reply(text)
    assert bot.history == []


@pytest.mark.parametrize(
    "text", ["\ud83d hello", "<|endoftext|>", "a<|endoftext|>b", "x" * 5000, "\u202eمرحبا\u200f", "ﷺ" * 99]
)
def test_whatever_is_typed_is_answered(tiny_model: Pair, text: str) -> None:
    bot = Chatbot(Responder(RecordingEngine(tiny_model[0]), tiny_model[1], ReplyConfig(max_new_tokens=8, seed=3)))
    bot.reply(text)
    bot.reply("and now?")
    assert [turn.speaker for turn in bot.history] == ["user", "bot"] * 2
    assert bot.responder.engine.contexts[0].count(tiny_model[1].end_id) == 1


@pytest.mark.parametrize(
    "text, pieces",
    [
        ("é😀ب", ["é", "😀", "ب"]),
        ("نعم 👍🏽", ["ن", "ع", "م", " 👍", "🏽"]),
        (" hi  you \n", ["h", "i", "  y", "o", "u"]),
        ("👨‍👩‍👧", ["👨", "\u200d", "👩", "\u200d", "👧"]),
    ],
)
def test_a_piece_is_whole_code_points_as_soon_as_they_are_whole(
    scripted_bot: Callable[..., Chatbot], text: str, pieces: list[str]
) -> None:
    bot = scripted_bot(text)
    assert list(bot.stream("hi")) == pieces
    assert bot.history[-1] == Turn("".join(pieces), "bot")


@settings(max_examples=60, deadline=None)
@given(
    text=st.text(
        st.characters(max_codepoint=0x24F, exclude_categories=["Cc"]) | st.sampled_from("صباحنعم،؟😀👍🏽\u200d❤️東京"),
        max_size=20,
    )
)
def test_no_piece_holds_half_a_code_point(scripted_bot: Callable[..., Chatbot], text: str) -> None:
    pieces = list(scripted_bot(text).stream("hi"))
    assert "".join(pieces) == text.strip()
    assert not any("\ufffd" in piece for piece in pieces)
    assert all(pieces)
    assert scripted_bot(text).reply("hi") == text.strip()


def test_bytes_that_are_no_text_are_not_said(scripted_bot: Callable[..., Chatbot], bytes_tokenizer: Tokenizer) -> None:
    a, b, emoji = map(bytes_tokenizer.encode, ("a", "b", "😀"))
    assert scripted_bot(a + emoji[:2] + b).reply("hi") == "ab"
    assert list(scripted_bot(a + emoji[:2] + emoji).stream("hi")) == ["a", "😀"]
    assert scripted_bot(a + emoji[:2]).reply("hi") == "a"
    cut_short = ReplyConfig(temperature=0, max_new_tokens=3, no_repeat_ngram=0)
    assert scripted_bot("نعم", cut_short).reply("hi") == "ن"
    assert scripted_bot("\x1b[2J\x07line\r\n\x9bA\ttab\x7f").reply("hi") == "[2Jline\nA\ttab"
    assert list(scripted_bot("a\x1bb").stream("hi")) == ["a", "b"]


@pytest.mark.parametrize("config", [{"safety": False}, {"num_hypotheses": 2}], ids=["pieces", "chosen"])
def test_a_reply_that_is_left_halfway_is_not_in_the_history(tiny_model: Pair, config: dict[str, Any]) -> None:
    bot = bot_of(tiny_model, seed=1, **config)
    stream = bot.stream("hello")
    next(stream)
    stream.close()
    assert (bot.history, bot.hypotheses) == ([], ())
    assert isinstance(bot.reply("hello"), str)
    before = bot.history, bot.hypotheses
    again = bot.stream_retry()
    next(again)
    again.close()
    assert (bot.history, bot.hypotheses) == before


@pytest.mark.parametrize("way", ["areply", "astream"])
def test_a_reply_whose_task_is_cancelled_is_not_in_the_history(
    tiny_model: Pair, slowed: Callable[[Any, float], None], way: str
) -> None:
    bot = bot_of(tiny_model, seed=1, num_hypotheses=2)
    slowed(bot.responder.engine, 0.02)

    async def say() -> None:
        if way == "areply":
            await bot.areply("hello")
        else:
            _ = [piece async for piece in bot.astream("hello")]

    async def talk() -> None:
        task = asyncio.ensure_future(say())
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await bot.areply("again")  # which waits for the other one to end

    asyncio.run(talk())
    assert [turn.text for turn in bot.history[::2]] == ["again"]


def test_arabic_is_read_composed(scripted_bot: Callable[..., Chatbot]) -> None:
    bot = scripted_bot("ok")
    bot.reply("e\u0301\u0627\u0654")
    assert bot.history[0].text == unicodedata.normalize("NFC", "e\u0301\u0627\u0654") == "é\u0623"


def test_loading_what_is_not_there() -> None:
    with pytest.raises(CheckpointError, match="no/such/model"):
        Chatbot.load("no/such/model")


def test_a_bot_in_less_than_ten_lines(tiny_checkpoint: Path) -> None:
    program = """
import sys
from dialogpt import Chatbot
bot = Chatbot.load(sys.argv[1])
print("reply:", bot.reply("Does money buy happiness?"))
for piece in bot.stream("Are you sure?"):
    print(piece, end="", flush=True)
"""
    result = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", program, str(tiny_checkpoint)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"},
        capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("reply: ")


def test_an_exchange_is_taken_back(tiny_model: Pair) -> None:
    bot = bot_of(tiny_model, seed=1)
    with pytest.raises(DataError, match="nothing to take back"):
        bot.undo()
    bot.reply("one")
    before = list(bot.history)
    bot.reply("two")
    assert bot.undo() == "two"
    assert bot.history == before
    assert bot.hypotheses == ()


def test_another_reply_takes_the_place_of_the_last(tiny_model: Pair) -> None:
    bot = bot_of(tiny_model, seed=1, safety=False)
    first = bot.reply("does money buy happiness?")
    others = {bot.retry() for _ in range(5)} | {"".join(bot.stream_retry())}
    assert others != {first}
    assert len(bot.history) == 2
    assert bot.history[0].text == "does money buy happiness?"
    before = list(bot.history)
    left = bot.stream_retry()
    next(left)
    left.close()
    assert bot.history == before


def test_a_conversation_is_saved_and_gone_on_with(tiny_model: Pair, tmp_path: Path) -> None:
    bot, other = bot_of(tiny_model, seed=1), bot_of(tiny_model, seed=1)
    for text in SAID:
        bot.reply(text)
    bot.save(tmp_path / "talk.jsonl")
    other.load_history(tmp_path / "talk.jsonl")
    assert other.history == bot.history
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "other.jsonl").write_text('{"version": 7}\n')
    for name, message in (("empty", "holds no conversation"), ("other", "not a session"), ("missing", "missing")):
        with pytest.raises(DataError, match=message):
            other.load_history(tmp_path / f"{name}.jsonl")
        assert other.history == bot.history


def test_an_enormous_message_is_an_error(tiny_model: Pair) -> None:
    with pytest.raises(DataError, match=r"the message has 1,048,577 characters"):
        bot_of(tiny_model).reply("x" * (2**20 + 1))


def test_the_event_loop_goes_on(tiny_model: Pair, slowed: Callable[[Any, float], None]) -> None:
    bot, expected = bot_of(tiny_model, seed=2, safety=False), bot_of(tiny_model, seed=2, safety=False)

    async def talk() -> list[str]:
        said = [await bot.areply(SAID[0])]
        pieces = [piece async for piece in bot.astream(SAID[1])]
        said.append("".join(pieces))
        slowed(bot.responder.engine, 0.01)  # or the reply might be whole before it is left
        stream = bot.astream(SAID[2])
        await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]
        with pytest.raises(DataError, match="the message is empty"):
            _ = [piece async for piece in bot.astream(" ")]
        said += await asyncio.gather(*(bot.areply(text) for text in SAID[2:]))
        return said

    said = asyncio.run(talk())
    assert said[:2] == [expected.reply(text) for text in SAID[:2]]
    assert len(bot.history) == 8
    assert [turn.text for turn in bot.history[::2]] == [SAID[0], SAID[1], *SAID[2:]]


def test_threads_that_share_a_bot_wait_for_each_other(tiny_checkpoint: Path) -> None:
    """Without that turns were lost, and they wrote to one cache at once."""
    bot = Chatbot.load(tiny_checkpoint, settings=ReplyConfig(max_new_tokens=8), device="cpu")
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(bot.reply, ["hello"] * 24))
    assert sorted(turn.text for turn in bot.history[1::2]) == sorted(replies)


@pytest.mark.parametrize("config", [{"safety": False}, {"num_hypotheses": 2}], ids=["pieces", "chosen"])
def test_streams_that_overlap_are_all_in_the_history(tiny_model: Pair, config: dict[str, Any]) -> None:
    bot = bot_of(tiny_model, **config)
    first, second = bot.stream("one"), bot.stream("two")
    begun = next(first), next(second)
    ended = "".join(second), "".join(first)
    said = [("two", begun[1] + ended[0]), ("one", begun[0] + ended[1])]
    assert [turn.text for turn in bot.history] == [text for exchange in said for text in exchange]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_reply_while_a_stream_is_under_way(tiny_checkpoint: Path, precision: str) -> None:
    """The stream keeps the cache to itself: each of both says what it says alone."""
    settings = ReplyConfig(temperature=0, max_new_tokens=8, safety=False, precision=precision)  # type: ignore[arg-type]
    bot = Chatbot.load(tiny_checkpoint, settings=settings, device="cpu")
    alone = [Chatbot(bot.responder).reply(text) for text in ("hello", "does money buy happiness?")]
    pieces = bot.stream("hello")
    first = next(pieces)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(bot.reply, "does money buy happiness?").result() == alone[1]
    assert first + "".join(pieces) == alone[0]
    assert bot.reply("does money buy happiness?") != ""


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps], ids=lambda function: function.__name__)
def test_the_native_engine_is_not_copied(tiny_checkpoint: Path, copied: Callable[[Any], Any]) -> None:
    """A copy would free the library's memory a second time, which killed the process."""
    bot = Chatbot.load(tiny_checkpoint, settings=ReplyConfig(precision="int8", temperature=0), device="cpu")
    before = bot.reply("hello")
    for held in (bot.responder.engine._model, bot._kept.cache):  # type: ignore[union-attr]
        with pytest.raises(UsageError, match="cannot be copied or pickled"):
            copied(held)
    if copied is not copy.copy:  # that of the bot shares what it holds
        with pytest.raises(UsageError, match="cannot be copied or pickled"):
            copied(bot)
    assert Chatbot(bot.responder).reply("hello") == before
