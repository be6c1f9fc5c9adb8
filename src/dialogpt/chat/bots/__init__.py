"""Bots: one model, many chats, on Telegram and Discord.

`core` answers messages of both platforms (`chats` are their histories, `allowing` whom it answers, `limits` how much,
`words` what the bot itself says); `telegram` and `discord` (extra `bots`) tell it what was said to it; `run` is the
command. All replies are decoded together by the worker of `chat/serving`.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from dialogpt.chat.serving import WorkerConfig

TOKENS = {  # the environment's names of a platform's token; the first that is set
    "telegram": ("DIALOGPT_TELEGRAM_TOKEN", "TELEGRAM_BOT_TOKEN", "TELEGRAM_TOKEN"),
    "discord": ("DIALOGPT_DISCORD_TOKEN", "DISCORD_BOT_TOKEN", "DISCORD_TOKEN"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BotConfig(WorkerConfig):
    """Settings of `bot`: a model -> a bot on Telegram or Discord, whose token is in the environment."""

    platform: Annotated[
        Literal["telegram", "discord"], "telegram or discord; set DIALOGPT_TELEGRAM_TOKEN or DIALOGPT_DISCORD_TOKEN"
    ]
    allow: Annotated[
        tuple[str, ...], "ids, and names with @, of the people and chats to answer (default: everybody)"
    ] = ()
    per_user: Annotated[int, "most messages of one person answered in a minute (0: all)"] = 10
    per_chat: Annotated[int, "most messages of one chat answered in a minute (0: all)"] = 20
    log: Annotated[bool, "keep what is said, for the next start (see `dialogpt conversations`)"] = True
    api: Annotated[str, "address of the platform's API, if not the public one: your own server or proxy"] = ""
