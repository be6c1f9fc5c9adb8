"""Native engines of random models, for each kind of kernels that this processor runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dialogpt.native import library

HERE = library.library().dialogpt_choices().decode().split() if library.missing() is None else []


@pytest.fixture(autouse=True)
def _there() -> None:
    if why := library.missing():
        pytest.skip(f"no native engine: {why}")


@pytest.fixture(params=HERE)
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A kind of kernels, forced."""
    monkeypatch.setenv("DIALOGPT_CPU", request.param)
    return str(request.param)


@pytest.fixture(scope="session")
def save(tiny_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], Path]:
    """A model -> its checkpoint folder."""
    from dialogpt.artifact import make_manifest
    from dialogpt.model import checkpoint

    def saved(model: Any) -> Path:
        folder = tmp_path_factory.mktemp("native") / "model"
        checkpoint.save(model, tiny_tokenizer, folder, make_manifest("checkpoint"))
        return folder

    return saved
