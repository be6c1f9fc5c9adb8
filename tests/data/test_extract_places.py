"""Where `extract` reads and writes: URLs that cannot be opened, odd names, links, the current folder."""

import sys
from pathlib import Path
from typing import Any

import pytest

from dialogpt.artifact import read_manifest
from dialogpt.data import ExtractConfig
from dialogpt.data.extract import extract
from dialogpt.errors import DataError


@pytest.fixture
def small(dumps: Any) -> list[Path]:
    """A dump of a thread."""
    return [dumps.write(*dumps.chain("one", "two", "three"))]


def run(dumps: list[Path] | list[str], out: Path | str, **options: Any) -> Any:
    return extract(ExtractConfig(dumps=tuple(dumps), out=out, **options))


@pytest.mark.parametrize(
    "url, why",
    [
        ("nosuch://a/b", "cannot be opened.*nosuch"),
        ("s3://bucket/b", "cannot be opened.*s3fs"),
        ("memory://bucket/none", "does not exist"),
        ("file:///none/at/all", "does not exist"),
    ],
)
def test_urls_that_cannot_be_read(tmp_path: Path, url: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(DataError, match=why):
        run([url], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["nosuch://a/b", "s3://bucket/b"])
def test_urls_that_cannot_be_written(small: list[Path], url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(DataError, match="cannot be opened"):
        run(small, url)


@pytest.mark.parametrize(
    "name", ["out", "deep/er/out/", "with blanks ", "مجلد", "a::b", "[x]*?", "c:\\x", "~", "😀", "-o"]
)
def test_odd_names(tmp_path: Path, small: list[Path], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for overwrite in (False, True):
        run(small, name, overwrite=overwrite)
        assert read_manifest(tmp_path / "here" / name)
        (only,) = (tmp_path / "here").iterdir()
        assert only.name == name.split("/")[0]


def test_a_link_stays_a_link(tmp_path: Path, small: list[Path]) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "dangling").symlink_to("new")
    for overwrite in (False, True):
        for name in ("link", "dangling"):
            run(small, tmp_path / name, overwrite=overwrite)
            assert (tmp_path / name).is_symlink()
    assert read_manifest(tmp_path / "real")
    assert read_manifest(tmp_path / "new")
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_current_folder(
    tmp_path: Path, small: list[Path], overwrite: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    if overwrite:
        run(small, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    run(small, ".", overwrite=overwrite)
    assert read_manifest(tmp_path / "here")
    assert not list(tmp_path.glob(".*"))
