"""The command as a user starts it: a real process, its log, its end."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dialogpt.chat.bots import TOKENS, BotConfig
from dialogpt.chat.bots.run import bot
from dialogpt.errors import UsageError

Process = subprocess.Popen[str]
AS_FIRST = ("unshare", "--map-root-user", "--pid", "--fork", "--kill-child")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_replies_under_way_are_completed_at_the_end(
    telegram: Any, process: Callable[..., Process], fakes: Any, number: int
) -> None:
    telegram.fail("sendMessage", fakes.flood(2))  # so that it is still to be said when the end comes
    running = process(telegram)
    telegram.say("a secret")
    fakes.until(lambda: telegram.called("sendMessage") or running.poll() is not None)
    running.send_signal(number)
    stdout, stderr = running.communicate(timeout=60)
    assert running.returncode == 0, stderr
    assert stdout == ""
    assert len(telegram.called("sendMessage")) == 2
    assert telegram.called("getUpdates")[-1]["offset"] == "2"  # it does not come again
    assert "@tester answers on Telegram" in stderr
    assert "replies: 1" in stderr
    assert "Traceback" not in stderr
    for private in ("a secret", telegram.texts()[0], telegram.TOKEN):
        assert private not in stderr


def can_be_first() -> bool:
    """Whether a process can be the first one of a container here."""
    return bool(shutil.which("unshare")) and not subprocess.run([*AS_FIRST, "true"], check=False).returncode


@pytest.mark.skipif(os.name == "nt", reason="there Ctrl-C ends it as it does any program")
@pytest.mark.parametrize(
    "within, code",
    [
        ((), -signal.SIGINT),
        pytest.param(
            AS_FIRST, 128 + signal.SIGINT, id="container",
            marks=pytest.mark.skipif("not can_be_first()", reason="unshare makes no namespaces here"),
        ),
    ],
)  # fmt: skip
def test_a_second_interrupt_waits_for_nothing(
    telegram: Any, process: Callable[..., Process], fakes: Any, within: tuple[str, ...], code: int
) -> None:
    telegram.fail("sendMessage", fakes.flood(3600))
    running = process(telegram, within=within)
    telegram.say("hello")
    fakes.until(lambda: telegram.called("sendMessage") or running.poll() is not None)
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
    told = int(children.read_text()) if within else running.pid
    os.kill(told, signal.SIGINT)
    assert running.stderr is not None
    while "ending; replies under way are completed" not in running.stderr.readline():
        assert running.poll() is None
    os.kill(told, signal.SIGINT)
    _, stderr = running.communicate(timeout=60)
    assert running.returncode == code
    assert "Traceback" not in stderr


def test_discord_until_it_is_told_to_end(discord: Any, process: Callable[..., Process], fakes: Any) -> None:
    running = process(discord, "--log-text", "--no-log")
    fakes.until(lambda: discord._events or running.poll() is not None)
    discord.say("no secret")
    fakes.until(discord.texts)
    running.send_signal(signal.SIGTERM)
    stdout, stderr = running.communicate(timeout=60)
    assert (running.returncode, stdout) == (0, ""), stderr
    assert f"discord/42: no secret -> {discord.texts()[0]}" in stderr
    assert "what is said is not kept" in stderr
    assert "Traceback" not in stderr
    assert discord.TOKEN + "." not in stderr


@pytest.mark.parametrize("name", TOKENS)
def test_a_wrong_token(request: pytest.FixtureRequest, process: Callable[..., Process], name: str) -> None:
    server = request.getfixturevalue(name)
    running = process(server, **{TOKENS[name][0]: "5:wrong-token"})
    stdout, stderr = running.communicate(timeout=60)
    assert (running.returncode, stdout) == (2, "")
    assert stderr.startswith(f"error: {name.title()} rejects the token\nhint: ")
    assert len(stderr.splitlines()) == 2
    assert "wrong-token" not in stderr


@pytest.mark.parametrize("name", TOKENS)
def test_a_platform_that_cannot_be_reached(process: Callable[..., Process], name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dialogpt", "bot", name, "--api", "http://127.0.0.1:9"]
    done = subprocess.run(
        command, env={TOKENS[name][1]: "5:token", "PATH": ""}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {name.title()} cannot be reached: ")
    assert "Traceback" not in done.stderr
    assert "5:token" not in done.stderr


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"rows": 0}, "--rows 0 is below 1"),
        ({"per_user": -1}, "--per-user -1 is below 0"),
        ({"num_beams": 4}, "bot draws its replies"),
        ({"api": "localhost"}, "--api localhost is not an address"),
        ({"allow": ("42", "ann")}, "--allow 'ann' is neither an id nor a name"),
        ({"allow": ("",)}, "--allow '' is neither an id nor a name"),
        ({"allow": ("telegram/42",)}, "--allow 'telegram/42' is neither an id nor a name"),
    ],
)
def test_what_cannot_be(telegram: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        bot(BotConfig(platform="telegram", **settings))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"blocklist": Path("list"), "safety": False}, "--blocklist list is not used with --no-safety"),
        ({"backward": "other", "mmi": False}, "--backward other is not used without --mmi"),
        ({"forward_weight": 5.0, "mmi": False}, "--forward-weight 5 is not used without --mmi"),
    ],
)
def test_what_no_reply_would_use(telegram: Any, settings: dict[str, Any], message: str) -> None:
    """It is told once the model's backward companion has been looked for."""
    with pytest.raises(UsageError, match=message):
        bot(BotConfig(platform="telegram", api=telegram.url, **settings))


def test_whom_it_answers_as_it_is_typed(telegram: Any, process: Callable[..., Process], fakes: Any) -> None:
    """Ids of groups begin with a hyphen."""
    running = process(telegram, "--no-log", "--allow", "7", "-100", "@Ann", "--allow", "-200")
    for place, (chat, user, name) in enumerate(
        [(-300, 1, "bo"), (-100, 1, "bo"), (-300, 7, "bo"), (-300, 2, "ann"), (-200, 3, "cy")], 1
    ):
        telegram.say("/reset@tester", chat, user, sender={"username": name})
        fakes.until(lambda place=place: len(telegram.called("sendMessage")) == place - 1 or running.poll() is not None)
    fakes.until(lambda: len(telegram.called("sendMessage")) == 4 or running.poll() is not None)
    running.send_signal(signal.SIGTERM)
    _, stderr = running.communicate(timeout=60)
    assert [call["chat_id"] for call in telegram.called("sendMessage")] == ["-100", "-300", "-300", "-200"], stderr
    assert "ignored: telegram/1 in telegram/-300 is not among --allow\n" in stderr
    assert "ignored: not among --allow: 1\n" in stderr


@pytest.mark.parametrize("name", TOKENS)
def test_without_a_token_one_sentence(monkeypatch: pytest.MonkeyPatch, fakes: Any, name: Any) -> None:
    for key in TOKENS[name]:
        monkeypatch.delenv(key, raising=False)
    with pytest.raises(UsageError) as caught:
        bot(BotConfig(platform=name))
    giver = {"telegram": "@BotFather", "discord": "the Developer Portal"}[name]
    assert str(caught.value) == f"bot {name} needs a token, which {giver} gives you (set {TOKENS[name][0]} to it)"


@pytest.mark.parametrize("name, library", [("telegram", "python-telegram-bot"), ("discord", "discord.py")])
def test_without_the_library_one_sentence(monkeypatch: pytest.MonkeyPatch, name: Any, library: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"dialogpt.chat.bots.{name}", raising=False)
    with pytest.raises(UsageError) as caught:
        bot(BotConfig(platform=name))
    assert str(caught.value) == f'bot {name} needs {library} (pip install "dialogpt[bots]")'
