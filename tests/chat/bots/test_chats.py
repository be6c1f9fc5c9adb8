"""The histories of chats: bounded in memory, whole in the store, and gone on with when the store fails."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from dialogpt.chat.bots.chats import Chats
from dialogpt.chat.store import Conversations
from dialogpt.decoding import ReplyConfig
from dialogpt.errors import DataError
from dialogpt.session import Turn


def chats(path: Path | None, **limits: int) -> Chats:
    return Chats(path, "m", ReplyConfig(), **{"most_turns": 4, **limits})


def test_a_quiet_chat_is_recalled_from_the_store(tmp_path: Path) -> None:
    async def talk() -> tuple[list[str], int]:
        async with chats(tmp_path / "c.sqlite", most_chats=2) as all_chats:
            first = all_chats.of("t/1")
            await all_chats.history(first)
            for number in range(6):
                await all_chats.add(first, Turn(str(number)))
            assert [turn.text for turn in first.history] == list("2345")
            for number in range(2, 9):
                await all_chats.add(all_chats.of(f"t/{number}"), Turn("x"))
            again = all_chats.of("t/1")
            assert again is not first
            return [turn.text for turn in await all_chats.history(again)], len(all_chats._chats)

    assert asyncio.run(talk()) == (list("2345"), 2)
    with Conversations(tmp_path / "c.sqlite") as store:
        assert [turn.text for turn in store.session(1).turns] == list("012345")


def test_a_chat_that_is_being_answered_is_not_forgotten() -> None:
    async def talk() -> bool:
        async with chats(None, most_chats=1) as all_chats:
            first = all_chats.of("t/1")
            async with first.lock:
                all_chats.of("t/2")
                return all_chats.of("t/1") is first

    assert asyncio.run(talk())


def test_a_store_that_fails_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "c.sqlite"

    async def talk() -> list[str]:
        async with chats(path) as all_chats:
            chat = all_chats.of("t/1")
            await all_chats.history(chat)
            await all_chats.add(chat, Turn("kept"))
            with sqlite3.connect(path) as db:
                db.execute("ALTER TABLE turns RENAME TO gone")
            await all_chats.add(chat, Turn("lost"))
            await all_chats.take_back(chat, 1)
            await all_chats.add(chat, Turn("lost too"))
            assert caplog.text.count("until this is mended, what is said is not kept") == 1
            with db:
                db.execute("ALTER TABLE gone RENAME TO turns")
            db.close()
            await all_chats.add(chat, Turn("kept again"))
            return [turn.text for turn in chat.history]

    assert asyncio.run(talk()) == ["kept", "lost too", "kept again"]
    with Conversations(path) as store:
        assert [turn.text for turn in store.session(1).turns] == ["kept", "kept again"]


def test_a_store_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "c.sqlite").write_text("no database " * 100)

    async def talk() -> None:
        async with chats(tmp_path / "c.sqlite"):
            pass

    with pytest.raises(DataError, match="cannot be used"):
        asyncio.run(talk())
