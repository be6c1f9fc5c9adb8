"""What is said in tests is kept in a folder of their own; engines that take their time."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's data folder."""
    folder = tmp_path / "data"
    monkeypatch.setenv("DIALOGPT_DATA", str(folder))
    return folder


@pytest.fixture
def slowed() -> Iterator[Callable[[Any, float], None]]:
    """Makes each token of an engine take its time, for the length of a test."""
    engines: list[tuple[Any, Any]] = []

    def slow_down(engine: Any, seconds: float) -> None:
        decode = engine.decode
        engines.append((engine, decode))

        def slow(*given: Any) -> Any:
            time.sleep(seconds)
            return decode(*given)

        engine.decode = slow

    yield slow_down
    for engine, decode in engines:
        engine.decode = decode
