"""DialoGPT anew: sessions out of dumps and chats, a GPT-2 trained on them, and a bot that talks.

    from dialogpt import Chatbot

    bot = Chatbot.load()
    print(bot.reply("Does money buy happiness?"))

The public names are loaded on first use, so that `import dialogpt` is instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dialogpt.chat.bot import Chatbot
    from dialogpt.model import GPTConfig
    from dialogpt.model.gpt import GPT
    from dialogpt.session import Session, Turn
    from dialogpt.tokens.bpe import Tokenizer

__version__ = "0.1.0"
__all__ = ["GPT", "Chatbot", "GPTConfig", "Session", "Tokenizer", "Turn", "__version__"]

_HOMES = {
    "Chatbot": "dialogpt.chat.bot",
    "GPT": "dialogpt.model.gpt",
    "GPTConfig": "dialogpt.model",
    "Session": "dialogpt.session",
    "Tokenizer": "dialogpt.tokens.bpe",
    "Turn": "dialogpt.session",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'dialogpt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
