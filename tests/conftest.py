"""Fixtures that several test modules use."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Recipes run last, the smoke recipe at the very end."""
    items.sort(key=lambda item: ("recipe" in item.keywords) + ("smoke" in item.nodeid and "recipe" in item.keywords))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data, beside the repository or named in DIALOGPT_SHARED; skips where there is none."""
    folder = Path(os.environ.get("DIALOGPT_SHARED") or ROOT.parent / "shared")
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} does not exist (set DIALOGPT_SHARED)")
    return folder
