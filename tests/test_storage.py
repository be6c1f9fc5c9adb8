"""Folders on disks and URLs: whole files, moves, names of every kind, and file systems that remember too much."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from dialogpt.errors import DataError, UsageError
from dialogpt.storage import Storage


class ForgetfulFileSystem(MemoryFileSystem):  # type: ignore[misc]
    """As object stores do, it lists a folder once and believes that for ever."""

    protocol = "listed"
    cachable = True

    @classmethod
    def _strip_protocol(cls, path: Any) -> str:
        return str(MemoryFileSystem._strip_protocol(str(path).removeprefix("listed://")))

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> Any:
        path = self._strip_protocol(path)
        if path not in self.dircache:
            self.dircache[path] = super().ls(path, True)
        return [found if detail else found["name"] for found in self.dircache[path]]

    def invalidate_cache(self, path: str | None = None) -> None:
        self.dircache.clear()


@pytest.fixture(params=["disk", "file", "memory", "listed"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """A folder of each kind, in a folder that is not there yet."""
    fsspec.register_implementation("listed", ForgetfulFileSystem, clobber=True)
    base = {"disk": str(tmp_path), "file": f"file://{tmp_path}"}.get(request.param, f"{request.param}://bucket")
    special = "[x]*" if request.param == "disk" else "x"
    yield Storage(f"{base}/{secrets.token_hex(4)}/a b {special} عربي")
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


def test_what_is_written_is_there(storage: Storage) -> None:
    assert not storage.exists()
    assert storage.names() == storage.names("deep") == []
    storage.write("deep/er/ملف", b"1")
    storage.write("b", b"2")
    storage.write("b", b"3")
    assert storage.names() == ["b", "deep"]
    assert storage.names("deep/er") == ["ملف"]
    assert storage.read("b") == b"3"
    with storage.open("deep/er/ملف") as file:
        assert file.read() == b"1"
    assert storage.exists("deep")
    assert storage.exists("deep/er/ملف")
    assert not storage.exists("b/c")
    assert (storage / "deep").names("er") == ["ملف"]
    assert (storage / "deep").parent.url == storage.url
    assert storage.name.startswith("a b ")


def test_a_file_is_whole_or_not_there(storage: Storage) -> None:
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), storage.new_file("out/a") as file:  # noqa: PT012
            file.write(b"half")
            assert "a" not in storage.names("out")
            raise error
    assert storage.names("out") == []
    with pytest.raises(DataError, match=r"out/a cannot be written: No space"), storage.new_file("out/a") as file:
        raise OSError(28, "No space left on device")
    assert [name for name in storage.names() if name != "out"] == []


def test_the_old_file_stays_until_the_new_one_is_whole(storage: Storage) -> None:
    storage.write("a", b"old")
    with pytest.raises(ValueError, match="no"), storage.new_file("a") as file:  # noqa: PT012
        file.write(b"new")
        raise ValueError("no")
    assert storage.read("a") == b"old"


def test_what_a_killed_writer_left_is_no_file_of_a_folder(storage: Storage) -> None:
    writer = storage.new_file("out/a")
    writer.__enter__().write(b"half")
    storage.write("out/b", b"whole")
    assert storage.names("out") == ["b"]
    storage.remove_partials()
    assert storage.names() == ["out"]
    assert storage.names("out") == ["b"]


def test_folders_move_and_go(storage: Storage) -> None:
    for name in ("manifest", "z", "deep/y"):
        storage.write(f"out/{name}", name.encode())
    to = storage.parent / "moved" / "here"
    storage.move("out", to, last="manifest")
    assert to.names() == ["deep", "manifest", "z"]
    assert to.read("deep/y") == b"deep/y"
    storage.remove("out/z")
    storage.remove("out")
    storage.remove("none")
    assert storage.names() == []
    storage.remove()
    storage.remove()
    assert not storage.exists()


def test_a_move_spares_a_folder_that_is_in_the_way(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "a")
    storage.write("out/new", b"")
    Storage(tmp_path / "b").write("old", b"")
    with pytest.raises(OSError, match="not empty"):
        storage.move("out", Storage(tmp_path / "b"))
    assert Storage(tmp_path / "b").names() == ["old"]


def test_the_last_file_comes_last(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage("memory://bucket/last")
    for name in ("a", "manifest", "z"):
        storage.write(f"out/{name}", b"")
    copied: list[str] = []
    copy_file = MemoryFileSystem.cp_file

    def noted(self: Any, source: str, to: str, **options: Any) -> None:
        copied.append(to.rpartition("/")[2])
        copy_file(self, source, to, **options)

    monkeypatch.setattr(MemoryFileSystem, "cp_file", noted)
    storage.move("out", Storage("memory://bucket/here"), last="manifest")
    assert copied == ["a", "z", "manifest"]
    for url in (storage.url, "memory://bucket/here"):
        Storage(url).remove()


def test_others_files_are_seen(storage: Storage) -> None:
    """Another object of the same folder stands for another machine."""
    other = Storage(storage.url)
    storage.write("stage/a", b"")
    assert storage.names("stage") == ["a"]
    assert not storage.exists("stage/b")
    other.write("stage/b", b"")
    assert storage.names("stage") == ["a", "b"]
    assert storage.exists("stage/b")
    assert Storage(f"{storage.url}/").url == storage.url


def test_names_of_a_folder_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path / "real")
    names = (".", "", "../real/", "../link", f"file://{tmp_path}/real/", f"{tmp_path}//real")
    assert {Storage(name).url for name in names} == {str(tmp_path / "real")}
    assert Storage("a::b").url == str(tmp_path / "real" / "a::b")
    assert Storage("c:\\x y").name == "c:\\x y"
    assert Storage("/").parent.url == "/"


@pytest.mark.parametrize("url", ["s3://bucket", "memory://out/", "gs://bucket"])
def test_a_whole_bucket_is_no_folder(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dialogpt.storage.file_system", lambda url: MemoryFileSystem())
    with pytest.raises(UsageError, match="not a folder to write to") as caught:
        _ = Storage(url).parent
    assert caught.value.hint == f"name one in it: {url.rstrip('/')}/sessions"


def test_an_unknown_file_system_is_a_data_error() -> None:
    with pytest.raises(DataError, match="nosuch://a/b cannot be opened"):
        Storage("nosuch://a/b")


@pytest.mark.parametrize("name", ["*", "a?", "[x]"])
def test_a_url_of_many_files_is_no_folder(name: str) -> None:
    with pytest.raises(UsageError, match="many files"):
        Storage(f"memory://bucket/{name}")


def test_what_cannot_be_asked_is_not_taken_for_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage("memory://bucket/out")

    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(MemoryFileSystem, "info", refuse)
    monkeypatch.setattr(MemoryFileSystem, "ls", refuse)
    for ask in (storage.exists, storage.names):
        with pytest.raises(PermissionError):
            ask()


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        Storage(tmp_path / "file" / "deep").write("a", b"")
    assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208
