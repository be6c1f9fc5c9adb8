"""The `chat` command: in a pipe, on a terminal, and interrupted."""

import builtins
import io
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

from dialogpt import Chatbot, Tokenizer
from dialogpt.chat import ChatConfig
from dialogpt.chat.terminal import chat
from dialogpt.decoding import ReplyConfig
from dialogpt.decoding.responder import Responder

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TERM": "dumb", "LC_ALL": "C.UTF-8"}


def command(folder: Path, *more: str) -> list[str]:
    given = ["chat", str(folder), "--seed", "1", "--max-new-tokens", "8", "--device", "cpu", *more]
    return [sys.executable, "-m", "dialogpt", *given]


def test_a_pipe_gets_a_line_for_each_line(tiny_checkpoint: Path) -> None:
    lines = ["does money buy happiness?", "", "صباح الخير", "\t ", "😀 are you sure?"]
    data = "\n".join(lines).encode() + b"\nnot utf-8: \xe9\xff\n"
    result = subprocess.run(command(tiny_checkpoint), input=data, env=ENVIRONMENT, capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (0, b"")
    settings = ReplyConfig(seed=1, max_new_tokens=8)
    bot = Chatbot.load(tiny_checkpoint, settings=settings, device="cpu")
    said = [line for line in lines if line.strip()] + ["not utf-8: \ufffd\ufffd"]
    assert result.stdout.decode() == "".join(f"{' '.join(bot.reply(text).split())}\n" for text in said)


def test_a_pipe_without_a_line_is_silent(tiny_checkpoint: Path) -> None:
    result = subprocess.run(command(tiny_checkpoint), input=b"", env=ENVIRONMENT, capture_output=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


class Terminal:
    """A process on a pseudo-terminal; `until` reads what it shows."""

    def __init__(self, arguments: list[str]) -> None:
        self.screen, inside = pty.openpty()
        self.process = subprocess.Popen(
            arguments, stdin=inside, stdout=inside, stderr=inside, env=ENVIRONMENT, start_new_session=True
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
    assert greeting.startswith(f"Talking with {tiny_checkpoint}. /new starts a new conversation")

    terminal.type("does money buy happiness?\n")
    assert f"bot: {bot.reply('does money buy happiness?')}\n" in terminal.until("you: ")
    terminal.type("صباح الخير 😀\n")
    assert f"bot: {bot.reply('صباح الخير 😀')}\n" in terminal.until("you: ")

    terminal.type("/help\n")
    assert "/new starts a new conversation, /quit (or Ctrl-D) ends, /help shows this." in terminal.until("you: ")
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
    typed = at_a_terminal(monkeypatch, [EOFError() if key == "\x04" else KeyboardInterrupt()])
    chat(ChatConfig(model=str(tiny_checkpoint), device="cpu"))
    assert not typed
    assert capsys.readouterr().out.endswith("/help shows this.\n\n")


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
