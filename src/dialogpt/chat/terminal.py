"""The `chat` command: on a terminal a prompt with streamed replies, in a pipe a reply line for each line read."""

import contextlib
import logging
import sys

from dialogpt.chat import ChatConfig
from dialogpt.chat.bot import Chatbot
from dialogpt.data.readers import tidy
from dialogpt.model.device import frugal_with_memory

log = logging.getLogger(__name__)

HELP = "/new starts a new conversation, /quit (or Ctrl-D) ends, /help shows this."


def chat(config: ChatConfig) -> None:
    """Talk until the input ends."""
    for stream in (sys.stdin, sys.stdout):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")
    frugal_with_memory()
    bot = Chatbot.load(config.model or None, settings=config, device=config.device)
    if sys.stdin.isatty():
        _talk(bot, config.model or "the bundled model", show=config.show_hypotheses)
    else:
        for line in sys.stdin:
            if tidy(line):
                _say(" ".join(bot.reply(line).split()) + "\n")
                if config.show_hypotheses:
                    _show(bot)
    for reason, count in sorted(bot.responder.counts.items()):
        log.info("safety: %s: %d", reason, count)


def _talk(bot: Chatbot, name: str, *, show: bool) -> None:
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - input() edits lines and keeps a history by it
    _say(f"Talking with {name}. {HELP}\n")
    while True:
        try:
            text = input("you: ")
        except (EOFError, KeyboardInterrupt):
            _say("\n")
            return
        match tidy(text):
            case "":
                continue
            case "/quit" | "/exit":
                return
            case "/new":
                bot.reset()
                _say("A new conversation.\n")
            case "/help":
                _say(f"{HELP}\n")
            case said:
                _say("bot: ")
                with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C ends the reply, not the chat
                    for piece in bot.stream(said):
                        _say(piece)
                _say("\n")
                if show:
                    _show(bot)


def _show(bot: Chatbot) -> None:
    """The hypotheses of the last reply, a line each: log-probability, scores, text, why it was rejected."""
    for hypothesis in bot.hypotheses:
        scores = "".join(f"  {name} {score:.1f}" for name, score in hypothesis.scores.items())
        rejected = f"  [rejected: {hypothesis.rejected}]" if hypothesis.rejected else ""
        _say(f"    forward {hypothesis.logprob:.1f}{scores}  {' '.join(hypothesis.text.split())}{rejected}\n")


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
