"""The `bot` command: a model -> a bot that answers until Ctrl-C or SIGTERM, which completes the replies under way."""

import asyncio
import contextlib
import logging
import os
import signal
from typing import TYPE_CHECKING

from dialogpt.chat.bots import TOKENS, BotConfig
from dialogpt.chat.bots.allowing import check_allowed
from dialogpt.chat.bots.chats import Chats
from dialogpt.chat.bots.core import Core
from dialogpt.chat.serving.serve import check_draws, load_batcher
from dialogpt.chat.serving.worker import Worker
from dialogpt.chat.store import default_path
from dialogpt.decoding.loading import with_companion
from dialogpt.errors import UsageError, check_least
from dialogpt.model.memory import frugal_with_memory
from dialogpt.process import end_at_once

if TYPE_CHECKING:
    from dialogpt.chat.bots.discord import Discord
    from dialogpt.chat.bots.telegram import Telegram

log = logging.getLogger(__name__)

LIBRARIES = ("telegram", "discord", "httpx", "aiohttp")


def bot(config: BotConfig) -> None:
    """Answer on the platform until told to end. A second Ctrl-C ends it at once."""
    platform = _platform(config)
    _check(config)
    _shorten_log(log_text=config.log_text)
    asyncio.run(_until_told(config, platform))


async def _until_told(config: BotConfig, platform: "Telegram | Discord") -> None:
    stop = asyncio.Event()
    _stop_by_signals(stop)
    await answer(config, platform, stop)


async def answer(config: BotConfig, platform: "Telegram | Discord", stop: asyncio.Event) -> None:
    """Log in, load the model, and answer until `stop` is set."""
    path = default_path() if config.log else None
    async with platform:  # first, so that a wrong token is reported at once
        frugal_with_memory()
        config = await asyncio.to_thread(with_companion, config, config.model or None)
        config.check_all_is_read()
        batcher = await asyncio.to_thread(load_batcher, config)
        worker = Worker(batcher, config)
        try:
            # A turn has at least two tokens, so no more turns than these can be read.
            chats = Chats(path, config.model or "bundled", config, most_turns=batcher.engine.n_ctx // 2)
            async with chats:
                where = f"what is said is kept in {path} (--no-log)" if path else "what is said is not kept"
                log.info("%s: %s", platform.name, where)
                core = Core(config, worker, chats)
                await platform.serve(core, stop)
        finally:
            await asyncio.to_thread(worker.close)
    for name, count in sorted((core.counts + batcher.counts).items()):
        log.info("%s: %d", name, count)


def _platform(config: BotConfig) -> "Telegram | Discord":
    """The platform's account; UsageError without its library or token."""
    name = config.platform
    try:
        if name == "telegram":
            from dialogpt.chat.bots.telegram import Telegram as Platform
        else:
            from dialogpt.chat.bots.discord import Discord as Platform  # type: ignore[assignment]
    except ImportError as error:
        library = {"telegram": "python-telegram-bot", "discord": "discord.py"}[name]
        raise UsageError(f"bot {name} needs {library}", 'pip install "dialogpt[bots]"') from error
    token = next((value for key in TOKENS[name] if (value := os.environ.get(key, "").strip())), "")
    if not token:
        giver = {"telegram": "@BotFather", "discord": "the Developer Portal"}[name]
        raise UsageError(f"bot {name} needs a token, which {giver} gives you", f"set {TOKENS[name][0]} to it")
    return Platform(token, config.api)


def _check(config: BotConfig) -> None:
    check_least(config, rows=1, queue=1, cache_mb=0, per_user=0, per_chat=0)
    check_allowed(config.allow)
    check_draws(config, "bot")
    if config.api and not config.api.startswith(("http://", "https://")):
        raise UsageError(f"--api {config.api} is not an address", "it begins with https:// or http://")


def _stop_by_signals(stop: asyncio.Event) -> None:
    """Set `stop` at the first Ctrl-C or SIGTERM; a second one ends the process, even if decoding hangs."""
    loop = asyncio.get_running_loop()

    def told() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
            end_at_once(number)
        log.info("ending; replies under way are completed")
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # on Windows Ctrl-C ends it as it does any program
            loop.add_signal_handler(number, told)


def _shorten_log(*, log_text: bool) -> None:
    """The libraries log only errors, one line each, without what was said unless `log_text`."""

    def one_line(record: logging.LogRecord) -> bool:
        if record.name.partition(".")[0] in LIBRARIES and record.exc_info:
            error = record.exc_info[1]
            if not log_text and isinstance(record.args, tuple):
                record.args = tuple(a if isinstance(a, int | float) else "\N{HORIZONTAL ELLIPSIS}" for a in record.args)
            record.msg, record.args = f"{record.getMessage()}: {error or type(error).__name__}", ()
            record.exc_info = record.exc_text = None
        return True

    for library in LIBRARIES:
        logging.getLogger(library).setLevel(logging.WARNING)
    for handler in logging.getLogger().handlers:
        handler.addFilter(one_line)
