"""The `chat` command: in a pipe, on a terminal, and interrupted."""

import builtins
import io
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dialogpt import Chatbot, Tokenizer, Turn
from dialogpt.chat import ChatConfig, ConversationsConfig
from dialogpt.chat.conversations import conversations
from dialogpt.chat.store import Conversations, default_path
from dialogpt.chat.terminal import chat
from dialogpt.decoding import ReplyConfig
from dialogpt.decoding.responder import Responder
from dialogpt.errors import DataError, UsageError
from dialogpt.hub import BUNDLED
from dialogpt.session import read_sessions

SETTINGS = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TERM": "dumb", "LC_ALL": "C.UTF-8"}


def run(arguments: list[str], data: bytes) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(arguments, input=data, env=os.environ | SETTINGS, capture_output=True, check=False)


def command(folder: Path, *more: str) -> list[str]:
    given = ["chat", str(folder), "--seed", "1", "--max-new-tokens", "8", "--device", "cpu", *more]
    return [sys.executable, "-m", "dialogpt", *given]


def test_a_pipe_gets_a_line_for_each_line(tiny_checkpoint: Path) -> None:
    lines = ["does money buy happiness?", "", "صباح الخير", "\t ", "😀 are you sure?"]
    data = "\n".join(lines).encode() + b"\nnot utf-8: \xe9\xff\n"
    result = subprocess.run(
        command(tiny_checkpoint), input=data, env=os.environ | SETTINGS, capture_output=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, b"")
    settings = ReplyConfig(seed=1, max_new_tokens=8)
    bot = Chatbot.load(tiny_checkpoint, settings=settings, device="cpu")
    said = [*lines, "not utf-8: \ufffd\ufffd"]
    replies = [" ".join(bot.reply(text).split()) if text.strip() else "" for text in said]
    assert result.stdout.decode() == "".join(f"{reply}\n" for reply in replies)


@pytest.mark.parametrize(
    ("more", "hypotheses", "scores"),
    [((), 64, {"mmi", "forward a token", "unsaid"}), (("--no-mmi",), 1, set()), (("--mmi",), 16, {"mmi"}),
     (("--temperature", "0"), 1, set()), (("--num-hypotheses", "3"), 3, set())],
     ids=["by default", "no-mmi", "mmi", "greedy", "three"],
)  # fmt: skip
def test_the_companion_of_a_model_is_asked_unless_told_otherwise(
    more: tuple[str, ...], hypotheses: int, scores: set[str]
) -> None:
    result = run(command(BUNDLED, "--json", *more), b"What do you do on a rainy day?\n")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)["hypotheses"]
    assert len(found) == hypotheses
    assert set(found[0].get("scores", {})) == scores


def test_a_pipe_without_a_line_is_silent(tiny_checkpoint: Path) -> None:
    result = subprocess.run(
        command(tiny_checkpoint), input=b"", env=os.environ | SETTINGS, capture_output=True, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


class Terminal:
    """A process on a pseudo-terminal; `until` reads what it shows."""

    def __init__(self, arguments: list[str]) -> None:
        self.screen, inside = pty.openpty()
        self.process = subprocess.Popen(
            arguments, stdin=inside, stdout=inside, stderr=inside, env=os.environ | SETTINGS, start_new_session=True
        )
        os.close(inside)

    def until(self, ending: str) -> str:
        """What is shown until `ending` stands at the end."""
        shown, deadline = b"", time.monotonic() + 120
        while not shown.endswith(ending.encode()):
            if not select.select([self.screen], [], [], max(deadline - time.monotonic(), 0))[0]:
                raise AssertionError(f"waited for {ending!r}, the screen shows {shown!r}")
            try:
                shown += os.read(self.screen, 4096)
            except OSError as error:  # the process has closed it
                raise AssertionError(f"ended before {ending!r}, the screen shows {shown!r}") from error
        return shown.decode().replace("\r\n", "\n")

    def type(self, text: str) -> None:
        os.write(self.screen, text.encode())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.screen)


@pytest.fixture
def terminal(tiny_checkpoint: Path) -> Iterator[Terminal]:
    terminal = Terminal(command(tiny_checkpoint))
    yield terminal
    terminal.close()


def test_a_session_at_a_terminal(terminal: Terminal, tiny_checkpoint: Path) -> None:
    bot = Chatbot.load(tiny_checkpoint, settings=ReplyConfig(seed=1, max_new_tokens=8), device="cpu")
    greeting = terminal.until("you: ")
    assert greeting.startswith(f"Talking with {tiny_checkpoint}. /help lists the commands, /quit (or Ctrl-D) ends.")
    assert f"kept in {os.environ['DIALOGPT_DATA']}" in " ".join(greeting.split())

    terminal.type("does money buy happiness?\n")
    assert f"bot: {bot.reply('does money buy happiness?')}\n" in terminal.until("you: ")
    terminal.type("صباح الخير 😀\n")
    assert f"bot: {bot.reply('صباح الخير 😀')}\n" in terminal.until("you: ")

    terminal.type("/help\n")
    assert "/settings    how replies are chosen; `/settings temperature" in terminal.until("you: ")
    terminal.type("   \n")
    assert "bot:" not in terminal.until("you: ")

    terminal.type("/new\n")
    bot.reset()
    assert "A new conversation." in terminal.until("you: ")
    terminal.type("are you sure?\n")
    assert f"bot: {bot.reply('are you sure?')}\n" in terminal.until("you: ")

    terminal.type("/quit\n")
    assert terminal.process.wait(60) == 0


@pytest.mark.parametrize("key", ["\x04", "\x03"], ids=["Ctrl-D", "Ctrl-C"])
def test_keys_that_end_the_chat(
    key: str, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ends: list[str | BaseException] = [EOFError()] if key == "\x04" else [KeyboardInterrupt(), KeyboardInterrupt()]
    typed = at_a_terminal(monkeypatch, [KeyboardInterrupt(), "", *ends])  # the first one is for the line alone
    chat(ChatConfig(model=str(tiny_checkpoint), device="cpu"))
    assert not typed
    assert capsys.readouterr().out.count("Ctrl-C again ends the chat.\n") == len(ends)


def at_a_terminal(monkeypatch: pytest.MonkeyPatch, typed: list[str | BaseException]) -> list[str | BaseException]:
    """Make input() return, or raise, one after the other."""

    class Keyboard(io.StringIO):
        def isatty(self) -> bool:
            return True

    def type_next(prompt: str) -> str:
        value = typed.pop(0)
        if isinstance(value, BaseException):
            raise value
        return value

    monkeypatch.setattr(sys, "stdin", Keyboard())
    monkeypatch.setattr(builtins, "input", type_next)
    return typed


def test_ctrl_c_ends_the_reply_and_not_the_chat(
    scripted_engine: Callable[..., Any], tiny_tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    script = [*tiny_tokenizer.encode("money buys happiness"), tiny_tokenizer.end_id]
    engine = scripted_engine([script], tiny_tokenizer.vocab_size)
    decode, calls = engine.decode, iter(range(100))

    def interrupted(*arguments: Any) -> Any:
        if next(calls) == 1:
            raise KeyboardInterrupt
        return decode(*arguments)

    monkeypatch.setattr(engine, "decode", interrupted)
    bot = Chatbot(Responder(engine, tiny_tokenizer, ReplyConfig(temperature=0)))
    monkeypatch.setattr(Chatbot, "load", lambda *_, **__: bot)
    typed = at_a_terminal(monkeypatch, ["hi", "again", "/exit"])
    chat(ChatConfig())
    assert not typed
    shown = capsys.readouterr().out
    broken, whole = re.findall("bot: (.*)\n", shown)
    assert whole == "money buys happiness"
    assert whole.startswith(broken)
    assert broken != whole
    assert [turn.text for turn in bot.history] == ["again", "money buys happiness"]


def test_scripts_get_an_object_for_each_line(tiny_checkpoint: Path) -> None:
    lines = ["hi", "x" * (2**20 + 2), "", "صباح الخير", "/new"]
    result = run(command(tiny_checkpoint, "--json", "--num-hypotheses", "2"), "\n".join(lines).encode())
    assert (result.returncode, result.stderr) == (0, b"")
    first, error, nothing, *others = map(json.loads, result.stdout.decode().splitlines())
    assert len(first["hypotheses"]) >= 2
    assert first["hypotheses"][0]["text"] == first["text"] or first["hypotheses"][0]["rejected"]
    assert error == {"error": "the message has 1,048,578 characters"}
    assert nothing == {"error": "the message is empty"}
    assert [set(each) for each in others] == [{"text", "hypotheses"}] * 2
    plain = run(command(tiny_checkpoint), "\n".join(lines).encode())
    assert plain.returncode == 0
    said = plain.stdout.decode().splitlines()
    assert [bool(line) for line in said] == [True, False, False, True, True]
    assert plain.stderr == b"error: the message has 1,048,578 characters\n"


def typed_at(folder: Path, lines: list[str | BaseException], monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
    typed = at_a_terminal(monkeypatch, [*lines, EOFError()])
    chat(ChatConfig(**{"model": str(folder), "device": "cpu", "seed": 1, "max_new_tokens": 8, **settings}))
    assert not typed


def kept() -> list[list[str]]:
    with Conversations(default_path()) as store:
        return [[turn.text for turn in store.session(one.id).turns] for one in reversed(store.listed())]


def test_commands(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    talk = tmp_path / "talk.jsonl"
    lines: list[str | BaseException] = [
        "hello", "/retry", "what?", "/undo", f"/save {talk}", "/hypotheses", "/settings temperature 0.5 top-k=7",
        "/settings temprature 1", "/settings temperature hot", "/settings temperature", "/settings mmi true", "/nwe",
        "/settings temperature 99", "/settings top_p 0",
        "/load /nowhere/file", "/save ~nobody-of-this-name/x", "/save",
        "/new", "/undo", "/retry", f"/load {talk}", "/help", "/quit",
    ]  # fmt: skip
    typed = at_a_terminal(monkeypatch, list(lines))
    chat(ChatConfig(model=str(tiny_checkpoint), device="cpu", seed=1, max_new_tokens=8))
    assert not typed
    shown = capsys.readouterr().out
    bot = Chatbot.load(tiny_checkpoint, settings=ReplyConfig(seed=1, max_new_tokens=8), device="cpu")
    bot.reply("hello")
    second = bot.retry()
    for expected in (
        f"bot: {second}\n", "Taken back: what?", f"2 turns are in {talk}", "temperature         0.5\n",
        "top_k               7\n", "no setting 'temprature' (did you mean 'temperature'?)",
        "num_hypotheses      1\n", "temperature hot does not fit",
        "temperature 99.0 is out of range (it must be from 0 to 5)",
        "top_p 0.0 is out of range (it must be above 0 and at most 1)",
        "temperature has no value", "mmi is set when the chat starts (start the chat with --mmi)",
        "no command /nwe (did you mean '/new'?)",
        "/nowhere/file", "~nobody-of-this-name/x names a home folder that does not exist",
        "no file is named", "A new conversation.", "bot: \nthere is nothing to take back",
        f"you: hello\nbot: {second}\n", "/undo        take back the last exchange",
    ):  # fmt: skip
        assert expected in shown, expected
    assert kept() == [["hello", second], ["hello", second]]
    assert [session.turns for session in read_sessions(talk)] == [(Turn("hello", "user"), Turn(second, "bot"))]


def test_a_conversation_that_is_loaded_does_not_steer_the_terminal(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    talk = tmp_path / "talk.jsonl"
    talk.write_text(json.dumps({"turns": [{"text": "\x1b]0;hello\x07"}, {"text": "\x1b[2Jhi\r"}]}))
    typed_at(tiny_checkpoint, [f"/load {talk}"], monkeypatch)
    shown = [capsys.readouterr().out, conversations(ConversationsConfig()), conversations(ConversationsConfig(show=1))]
    assert all("\ufffd]0;hello\ufffd" in (text or "") and not {"\x1b", "\r"} & {*(text or "")} for text in shown)


def test_the_last_conversation_goes_on(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError, match="no conversation to continue"):
        typed_at(tiny_checkpoint, [], monkeypatch, continue_=True)
    typed_at(tiny_checkpoint, ["hello"], monkeypatch)
    capsys.readouterr()
    typed_at(tiny_checkpoint, ["and now?"], monkeypatch, continue_=True)
    assert capsys.readouterr().out.partition("\n")[2].startswith("you: hello\nbot: ")
    ((first, _, third, _),) = kept()
    assert (first, third) == ("hello", "and now?")
    typed_at(tiny_checkpoint, ["not kept"], monkeypatch, log=False)
    assert len(kept()) == 1
    with pytest.raises(UsageError, match="--continue and --no-log"):
        typed_at(tiny_checkpoint, [], monkeypatch, continue_=True, log=False)


def test_several_lines_are_one_message(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed_at(tiny_checkpoint, ['"""one', "  two", "صباح", 'three"""', '"""four"""'], monkeypatch)
    assert kept()[0][::2] == ["one two صباح three", "four"]


def test_a_store_that_cannot_be_used_is_a_warning(
    tiny_checkpoint: Path, data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    data.write_text("a file where the folder should be")
    typed_at(tiny_checkpoint, ["hello"], monkeypatch)
    assert "what is said is not kept" in caplog.text
    assert "bot: " in capsys.readouterr().out


@pytest.mark.parametrize("other", ["same", "another"])
def test_two_models_talk(
    other: str, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "same" if other == "same" else str(tiny_checkpoint)
    settings: dict[str, Any] = {"self_play": name, "turns": 5, "opening": "صباح الخير", "seed": 3}
    chat(ChatConfig(model=str(tiny_checkpoint), device="cpu", max_new_tokens=8, **settings))
    lines = capsys.readouterr().out.splitlines()
    assert [line[:2] for line in lines] == ["A:", "B:", "A:", "B:", "A:"]
    assert lines[0] == "A: صباح الخير"
    assert [" ".join(text.split()) for text in kept()[0]] == [line[3:] for line in lines]
    with pytest.raises(UsageError, match="--turns 1 is below 2"):
        chat(ChatConfig(model=str(tiny_checkpoint), device="cpu", **{**settings, "turns": 1}))


def test_a_model_with_a_companion_talks_with_one_that_has_none(
    tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chat(ChatConfig(self_play=str(tiny_checkpoint), device="cpu", max_new_tokens=8, turns=3, seed=1))
    assert [line[:2] for line in capsys.readouterr().out.splitlines()] == ["A:", "B:", "A:"]


def test_a_killed_chat_has_lost_nothing_that_was_answered(tiny_checkpoint: Path) -> None:
    terminal = Terminal(command(tiny_checkpoint))
    try:
        terminal.until("you: ")
        terminal.type("صباح الخير\n")
        terminal.until("you: ")
        terminal.process.kill()
    finally:
        terminal.close()
    assert kept()[0][0] == "صباح الخير"


def test_a_pasted_text_is_one_message(terminal: Terminal) -> None:
    terminal.until("you: ")
    terminal.type("\x1b[200~one\ntwo\nthree\x1b[201~\n")
    terminal.until("you: ")
    terminal.type("/quit\n")
    assert terminal.process.wait(60) == 0
    assert kept()[0][0] == "one two three"


def test_what_goes_on_is_not_between_two_models() -> None:
    with pytest.raises(UsageError, match="--continue and --self-play together"):
        chat(ChatConfig(continue_=True, self_play="same"))
