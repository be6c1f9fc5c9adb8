"""Native engines of random models, for each kind of kernels that this processor runs; the library built anew."""

import shutil
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from dialogpt.native import library

ROOT = Path(__file__).parents[2]
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


@pytest.fixture(scope="session")
def build() -> Any:
    """The module that builds the library."""
    pytest.importorskip("hatchling")
    spec = spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def emulated(build: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[str, ...]]:
    """The sources and flags of a library whose AMX tiles are emulated, and permitted everywhere."""
    sources = tmp_path_factory.mktemp("emulated") / "csrc"
    shutil.copytree(ROOT / build.SOURCES, sources)
    (sources / "tiles.cpp").write_text(
        '#ifdef DIALOGPT_AMX\n#include "kernels.h"\nstd::string dialogpt::tiles_refusal() { return ""; }\n#endif\n'
    )
    return sources, ("-include", str(Path(__file__).with_name("emulated_tiles.h")))
