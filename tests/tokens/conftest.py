"""A small tokenizer and a maker of sessions files, for the tests of this stage."""

from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import pytest

from dialogpt.session import Session
from dialogpt.tokens.bpe import Tokenizer

TEXTS = ["does money buy happiness?", "depends how much money you spend on it", "what is the best way to buy it?"] * 20


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS, 320)


@pytest.fixture(scope="session")
def tokenizer_folder(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(folder)
    return folder


@pytest.fixture
def write_sessions(tmp_path: Path) -> Callable[[Iterable[Session]], Path]:
    """Write sessions to a JSONL file in the test's own folder."""

    def write(sessions: Iterable[Session]) -> Path:
        path = tmp_path / "sessions.jsonl"
        path.write_bytes(b"".join(msgspec.json.encode(session) + b"\n" for session in sessions))
        return path

    return write
