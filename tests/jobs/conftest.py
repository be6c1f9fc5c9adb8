"""What tests of jobs share: the module of their tasks, a folder of flags, a file system in memory."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from fsspec.implementations.memory import MemoryFileSystem


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of the tasks, where worker processes find it too."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    import toy_tasks

    return toy_tasks


@pytest.fixture
def flags(tmp_path: Path) -> Path:
    (tmp_path / "flags").mkdir()
    return tmp_path / "flags"


@pytest.fixture
def memory() -> Iterator[str]:
    yield "memory://bucket/jobs"
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
