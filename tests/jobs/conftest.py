"""What tests of jobs share: the module of their tasks, a folder of flags."""

from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of the tasks, where worker processes find it too."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    import toy_tasks

    return toy_tasks


@pytest.fixture
def flags(tmp_path: Path) -> Path:
    """A folder for what tasks tell each other and the test."""
    (tmp_path / "flags").mkdir()
    return tmp_path / "flags"
