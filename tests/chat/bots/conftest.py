"""Bots in a thread of this process or in one of their own, with the platforms' servers on loopback."""

import asyncio
import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="session")
def fakes() -> ModuleType:
    """The platforms' servers; see fakes.py."""
    for library in ("telegram", "discord"):
        pytest.importorskip(library)
    spec = importlib.util.spec_from_file_location("fakes", Path(__file__).with_name("fakes.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def telegram(fakes: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    server = fakes.FakeTelegram()
    monkeypatch.setenv("DIALOGPT_TELEGRAM_TOKEN", server.TOKEN)
    yield server
    server.close()


@pytest.fixture
def discord(fakes: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from discord.gateway import DiscordWebSocket
    from discord.http import Route

    monkeypatch.setattr(Route, "BASE", Route.BASE)  # put back at the end
    monkeypatch.setattr(DiscordWebSocket, "DEFAULT_GATEWAY", DiscordWebSocket.DEFAULT_GATEWAY)
    server = fakes.FakeDiscord()
    monkeypatch.setenv("DIALOGPT_DISCORD_TOKEN", server.TOKEN)
    yield server
    server.close()


class Bot:
    """A bot in a thread of this process, and its batcher."""

    def __init__(self, config: Any, platform: Any, loaded: list[Any], until: Callable[..., Any]) -> None:
        self.error: BaseException | None = None
        self._loop = asyncio.new_event_loop()
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, args=(config, platform))
        self._thread.start()
        until(lambda: loaded or not self._thread.is_alive())
        self.batcher = loaded[-1] if loaded else None

    def _run(self, config: Any, platform: Any) -> None:
        from dialogpt.chat.bots.run import answer

        async def run() -> None:
            self._stop = asyncio.Event()
            await answer(config, platform(), self._stop)

        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(run())
        except BaseException as error:
            self.error = error

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def tell(self) -> None:
        """Tell it to end."""
        if self._thread.is_alive() and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)

    def end(self) -> None:
        """Tell it to end, and wait for that."""
        self.tell()
        self._thread.join(60)
        assert not self._thread.is_alive()


@pytest.fixture
def start(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, fakes: Any) -> Iterator[Callable[..., Bot]]:
    """Start a bot of the tiny model on a fake platform."""
    from dialogpt.chat.bots import BotConfig, run

    loaded: list[Any] = []
    load = run.load_batcher

    def load_and_tell(config: Any) -> Any:
        loaded.append(load(config))
        return loaded[-1]

    monkeypatch.setattr(run, "load_batcher", load_and_tell)
    running: list[Bot] = []

    def start(server: Any, **settings: Any) -> Bot:
        name = "telegram" if isinstance(server, fakes.FakeTelegram) else "discord"
        config = BotConfig(
            **{"model": str(tiny_checkpoint), "max_new_tokens": 12, "device": "cpu", "platform": name, "seed": 1,
               "api": server.api if name == "discord" else server.url, **settings}
        )  # fmt: skip
        loaded.clear()
        running.append(Bot(config, lambda: run._platform(config), loaded, fakes.until))
        return running[-1]

    yield start
    for bot in running:
        bot.end()


Process = subprocess.Popen[str]


@pytest.fixture
def process(tiny_checkpoint: Path) -> Iterator[Callable[..., Process]]:
    """Start `dialogpt bot` as a user does."""
    processes: list[Process] = []

    def start(server: Any, *arguments: str, within: Sequence[str] = (), **environment: str) -> Process:
        name, api = ("discord", server.api) if hasattr(server, "api") else ("telegram", server.url)
        bot = [sys.executable, "-m", "dialogpt", "bot", name, "--model", str(tiny_checkpoint), "--device", "cpu"]
        processes.append(subprocess.Popen(
            [*within, *bot, "--api", api, "--max-new-tokens", "12", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        ))  # fmt: skip
        return processes[-1]

    yield start
    for one in processes:
        one.kill()
        one.communicate()
