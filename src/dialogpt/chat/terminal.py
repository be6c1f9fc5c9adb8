"""The `chat` command: on a terminal a prompt with streamed replies, in a pipe a line of reply for each input line."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Any

import msgspec

from dialogpt.chat import ChatConfig
from dialogpt.chat.bot import Chatbot
from dialogpt.chat.commands import Commands
from dialogpt.chat.keeping import Keeper
from dialogpt.chat.selfplay import self_play
from dialogpt.chat.store import Conversations, data_folder, default_path
from dialogpt.data.readers import tidy
from dialogpt.decoding.loading import with_companion
from dialogpt.errors import DataError, DialoGPTError, UsageError, given
from dialogpt.model.memory import frugal_with_memory
from dialogpt.process import printable

log = logging.getLogger(__name__)

HELP = "/help lists the commands, /quit (or Ctrl-D) ends."
BLOCK = '"""'  # a message of several lines is typed between two lines of it
REMEMBERED = 1000  # lines kept for the arrow keys


def chat(config: ChatConfig) -> None:
    """Talk until the input ends."""
    if config.continue_ and not config.log:
        raise UsageError(
            "--continue and --no-log together", "--continue resumes a conversation that was kept: leave one out"
        )
    if config.continue_ and config.self_play:
        raise UsageError("--continue and --self-play together", "two models start a new conversation: leave one out")
    at_terminal = sys.stdin.isatty() and not config.json
    _check(config, at_terminal=at_terminal)
    frugal_with_memory()
    settings = with_companion(config, config.model or None)
    bot = Chatbot.load(config.model or None, settings=settings, device=config.device)
    with _store(config, at_terminal=at_terminal) as store:
        keeper = Keeper(store, config.model or "bundled", config)
        if config.self_play:
            self_play(bot, config, keeper, _say)
        elif at_terminal:
            if config.continue_:
                bot.history = keeper.go_on()
            _talk(bot, config, keeper, kept=store is not None)
        else:
            _pipe(bot, config)
    for reason, count in sorted(bot.responder.counts.items()):
        log.info("safety: %s: %d", reason, count)


def _check(config: ChatConfig, *, at_terminal: bool) -> None:
    """UsageError for settings that would be ignored."""
    if config.self_play:
        if config.json:
            raise UsageError("--json and --self-play together", "--json is for answering input lines: leave one out")
        if config.show_hypotheses:
            raise UsageError("--show-hypotheses and --self-play together", "only replies are shown: leave one out")
        return
    if idle := given(config, "turns", "opening"):
        raise UsageError(f"--{idle[0]} is for --self-play", "add --self-play, or leave it out")
    if config.continue_ and not at_terminal:
        raise UsageError("--continue is for a terminal, but the input is a pipe or file", "leave it out")


@contextlib.contextmanager
def _store(config: ChatConfig, *, at_terminal: bool) -> Iterator[Conversations | None]:
    """Where what is said is kept; None in a pipe, with --no-log, and where it cannot be."""
    if not config.log or not (at_terminal or config.self_play):
        yield None
        return
    try:
        store = Conversations(default_path())
    except DataError as error:
        if config.continue_:
            raise
        log.warning("%s: what is said is not kept", error.message)
        yield None
        return
    with store:
        yield store


def _pipe(bot: Chatbot, config: ChatConfig) -> None:
    """A reply for each line; with --json an object, and an error is one, too."""
    for line in map(str.rstrip, sys.stdin):
        try:
            text = bot.reply(line)
        except DialoGPTError as error:
            if config.json:
                _say_json(error=error.message)
                continue
            if line:
                log.warning("error: %s", error.message)
            _say("\n")  # so that the n-th reply is on the n-th line
            continue
        if config.json:
            _say_json(text=text, hypotheses=bot.hypotheses)
        else:
            _say(" ".join(text.split()) + "\n")
            if config.show_hypotheses:
                Commands(bot, Keeper(None, "", config), _say, lambda _: None).do_hypotheses("")


def _talk(bot: Chatbot, config: ChatConfig, keeper: Keeper, *, kept: bool) -> None:
    def answer(said: str | None) -> None:
        """Say the reply to a message, or another one to the last."""
        pieces = bot.stream_retry() if said is None else bot.stream(said)
        _say("bot: ")
        complete = False
        try:
            with contextlib.suppress(KeyboardInterrupt), contextlib.closing(pieces):  # Ctrl-C ends it, not the chat
                for piece in pieces:
                    _say(piece)
                complete = True
        finally:
            _say("\n")  # an error is not what the bot says
        if not complete:
            return
        if said is None:
            keeper.take_back(2)
        keeper.add(bot.history[-2:])
        if config.show_hypotheses and bot.hypotheses:
            commands.do_hypotheses("")

    commands = Commands(bot, keeper, _say, answer)
    with _line_editing():
        where = f" What is said is kept in {default_path()} (--no-log)." if kept else ""
        _say(f"Talking with {config.model or 'the bundled model'}. {HELP}{where}\n")
        commands.show_last()
        leaving = False
        while not commands.ended:
            try:
                text = _message()
            except EOFError:
                _say("\n")
                return
            except KeyboardInterrupt:
                _say("\n")
                if leaving:
                    return
                leaving = True
                _say("Ctrl-C again ends the chat.\n")
                continue
            leaving = False
            try:
                if text.startswith("/"):
                    commands.run(text)
                elif text:
                    answer(text)
            except DialoGPTError as error:
                _say(f"{error}\n")


def _message() -> str:
    """One message, perhaps of several lines."""
    line = input("you: ").strip()
    if not line.startswith(BLOCK):
        return line if line.startswith("/") else tidy(line)
    lines = [line.removeprefix(BLOCK)]
    while not lines[-1].rstrip().endswith(BLOCK):
        lines.append(input("...: "))
    return tidy("\n".join(lines).rstrip().removesuffix(BLOCK))


@contextlib.contextmanager
def _line_editing() -> Iterator[None]:
    """Lines can be edited, the arrow keys recall them in the next chat too, and a paste of several is one message."""
    try:
        import readline
    except ImportError:
        yield
        return
    path = None
    with contextlib.suppress(OSError, DataError):
        path = data_folder() / "typed"
        readline.read_history_file(path)
    readline.set_history_length(REMEMBERED)
    if "libedit" not in (readline.__doc__ or ""):
        readline.parse_and_bind("set enable-bracketed-paste on")
    try:
        yield
    finally:
        if path is not None:
            with contextlib.suppress(OSError):
                readline.write_history_file(path)


def _say_json(**fields: Any) -> None:
    _say(msgspec.json.encode(fields).decode() + "\n")


def _say(text: str) -> None:
    sys.stdout.write(printable(text))
    sys.stdout.flush()
