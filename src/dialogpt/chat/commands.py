"""What may be typed instead of a message: /new, /undo, /settings temperature 0.9 and so on.

A command is a method of `Commands` named after it; its docstring is its help. An error is one line; the chat continues.
"""

import dataclasses
import typing
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec

from dialogpt.chat.bot import BOT, Chatbot
from dialogpt.chat.keeping import Keeper
from dialogpt.decoding import DecodingConfig, ReplyConfig, settings_by_name
from dialogpt.errors import DataError, UsageError, did_you_mean

AT_START = (  # of loading
    "mmi", "backward", "mmi_source", "forward_weight", "ranker", "ranker_weight", "safety", "blocklist", "precision",
    "seed",
)  # fmt: skip
NAMES = [field.name for field in dataclasses.fields(ReplyConfig) if field.name not in AT_START]


class Commands:
    """The commands of one chat; `answer` says a reply, `say` anything else."""

    def __init__(
        self, bot: Chatbot, keeper: Keeper, say: Callable[[str], None], answer: Callable[[str | None], None]
    ) -> None:
        self.bot, self.keeper, self._say, self._answer = bot, keeper, say, answer
        self.ended = False

    def run(self, line: str) -> None:
        """Do what a line says that begins with `/`; UsageError for an unknown command."""
        name, _, rest = line[1:].partition(" ")
        command = getattr(type(self), f"do_{name}", None)
        if command is None:
            known = [f"/{known}" for known in self.names()]
            raise UsageError(f"no command /{name}", did_you_mean(f"/{name}", known, "/help lists them"))
        command(self, rest.strip())

    @classmethod
    def names(cls) -> list[str]:
        return [name.removeprefix("do_") for name in vars(cls) if name.startswith("do_")]

    def do_new(self, _: str) -> None:
        """a new conversation"""
        self.bot.reset()
        self.keeper.begin_anew()
        self._say("A new conversation.\n")

    def do_undo(self, _: str) -> None:
        """take back the last exchange"""
        said = self.bot.undo()
        self.keeper.take_back(2)
        self._say(f"Taken back: {said}\n")

    def do_retry(self, _: str) -> None:
        """another reply to your last message"""
        self._answer(None)

    def do_hypotheses(self, _: str) -> None:
        """what the last reply was chosen from"""
        if not self.bot.hypotheses:
            raise DataError(
                "there is nothing to show", "hypotheses are kept for the last reply, if it was chosen from several"
            )
        drawn = Counter((hypothesis.text, hypothesis.rejected) for hypothesis in self.bot.hypotheses)
        for hypothesis in self.bot.hypotheses:
            if times := drawn.pop((hypothesis.text, hypothesis.rejected), 0):
                scores = "".join(f"  {name} {score:.1f}" for name, score in hypothesis.scores.items())
                again = f"  [drawn {times} times]" if times > 1 else ""
                rejected = f"  [rejected: {hypothesis.rejected}]" if hypothesis.rejected else ""
                text = " ".join(hypothesis.text.split())
                self._say(f"    forward {hypothesis.logprob:.1f}{scores}  {text}{again}{rejected}\n")

    def do_settings(self, rest: str) -> None:
        """how replies are chosen; `/settings temperature 0.9 top_k 40` changes it"""
        config = self.bot.responder.config
        if rest:
            self.bot.responder.config = config = changed(config, rest.replace("=", " ").split())
        width = max(map(len, NAMES))
        values = {name: getattr(config, name) for name in NAMES} | {"num_hypotheses": config.hypotheses}
        self._say("".join(f"    {name:<{width}}  {values[name]}\n" for name in NAMES))

    def do_save(self, rest: str) -> None:
        """write the conversation to a file: `/save talk.jsonl`"""
        self.bot.save(_file(rest))
        self._say(f"{len(self.bot.history)} turns are in {rest}\n")

    def do_load(self, rest: str) -> None:
        """continue a conversation from a file: `/load talk.jsonl`"""
        self.bot.load_history(_file(rest))
        self.keeper.begin_anew()
        self.keeper.add(self.bot.history)
        self.show_last()

    def do_help(self, _: str) -> None:
        """this"""
        self._say(help_text())

    def do_quit(self, _: str) -> None:
        """the end (Ctrl-D too)"""
        self.ended = True

    do_exit = do_quit

    def show_last(self, most: int = 6) -> None:
        """The last turns of a conversation that is resumed."""
        for turn in self.bot.history[-most:]:
            self._say(f"{'bot' if turn.speaker == BOT else 'you'}: {turn.text}\n")


def help_text() -> str:
    """All commands, a line each."""
    lines = [
        f"    /{name:<11} {getattr(Commands, f'do_{name}').__doc__}\n" for name in Commands.names() if name != "exit"
    ]
    return "".join(lines) + '    Several lines are one message between lines of """, or pasted.\n'


def changed(config: ReplyConfig, words: list[str]) -> ReplyConfig:
    """The settings with these names changed to these values, checked as on the command line."""
    if len(words) % 2:
        raise UsageError(f"{words[-1]} has no value", "/settings temperature 0.9 top_k 40")
    hints, new = typing.get_type_hints(DecodingConfig) | typing.get_type_hints(ReplyConfig), {}
    for name, value in zip((word.replace("-", "_") for word in words[::2]), words[1::2], strict=True):
        if name in AT_START:
            raise UsageError(f"{name} is set when the chat starts", f"start the chat with --{name.replace('_', '-')}")
        if name not in NAMES:
            raise UsageError(f"no setting {name!r}", did_you_mean(name, NAMES, "/settings lists them"))
        try:
            new[name] = msgspec.convert(value, hints[name], strict=False)
        except msgspec.ValidationError as error:
            raise UsageError(f"{name} {value} does not fit: {error}", "/settings temperature 0.9") from error
    with settings_by_name():
        return dataclasses.replace(config, **new)


def _file(rest: str) -> Path:
    if not rest:
        raise UsageError("no file is named", "/save talk.jsonl")
    try:
        return Path(rest).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{rest} names a home folder that does not exist", "/save talk.jsonl") from error
