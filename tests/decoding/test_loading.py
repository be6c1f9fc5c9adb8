"""Which engine opens a model; one that was trained for the other direction is warned of, if its manifest says so."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dialogpt.artifact import Manifest, is_backward, write_manifest
from dialogpt.decoding import ReplyConfig
from dialogpt.decoding.loading import load_engine
from dialogpt.decoding.responder import Responder
from dialogpt.errors import UsageError
from dialogpt.export import ExportConfig
from dialogpt.export.export import export
from dialogpt.native.engine import NativeEngine
from dialogpt.native.library import kernels


@pytest.fixture
def model(tiny_checkpoint: Path, tmp_path: Path) -> Callable[[str, bool | None], str]:
    """The tiny model under a name, with a manifest that says its direction, or nothing about it."""

    def make(name: str, reverse: bool | None) -> str:
        folder = tmp_path / name
        shutil.copytree(tiny_checkpoint, folder)
        write_manifest(folder, Manifest(kind="checkpoint", config={} if reverse is None else {"reverse": reverse}))
        return str(folder)

    return make


@pytest.mark.parametrize("reverse", [True, False, None])
def test_the_other_direction_is_warned_of(
    model: Callable[[str, bool | None], str], caplog: pytest.LogCaptureFixture, reverse: bool | None
) -> None:
    name = model("model", reverse)
    Responder.load(name, ReplyConfig(), device="cpu")
    expected = [f"{name} is a backward model, which does not reply: name it with --backward, and a forward one here"]
    assert [record.getMessage() for record in caplog.records] == (expected if reverse else [])
    caplog.clear()
    other = model("other", None)
    Responder.load(other, ReplyConfig(mmi=True, backward=name), device="cpu")
    expected = [f"--backward {name} is a forward model: train a backward one with `dialogpt train --reverse`"]
    assert [record.getMessage() for record in caplog.records] == (expected if reverse is False else [])


def test_another_programs_manifest_says_nothing(
    model: Callable[[str, bool | None], str], caplog: pytest.LogCaptureFixture
) -> None:
    name = model("model", None)
    (Path(name) / "manifest.json").write_text("[1, 2]")
    Responder.load(name, ReplyConfig(), device="cpu")
    assert not caplog.records


@pytest.mark.parametrize("reverse", [True, False, None])
def test_an_export_keeps_its_direction(
    model: Callable[[str, bool | None], str], tmp_path: Path, reverse: bool | None
) -> None:
    assert is_backward(export(ExportConfig(model=model("model", reverse), out=tmp_path / "out"))) is reverse


def test_a_precision_that_is_none(tiny_checkpoint: Path) -> None:
    """On the command line it cannot be asked for, in Python it can."""
    with pytest.raises(UsageError, match="--precision int3 is not known"):
        load_engine(str(tiny_checkpoint), device="cpu", precision="int3")


def test_auto_on_a_mac_is_the_native_engine(monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: Path) -> None:
    if kernels() is None:
        pytest.skip("no native engine")
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert isinstance(load_engine(str(tiny_checkpoint))[0], NativeEngine)
