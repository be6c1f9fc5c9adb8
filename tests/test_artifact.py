"""Files and folders that are whole or not there, and manifests."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from dialogpt.artifact import (
    MANIFEST,
    Manifest,
    atomic_file,
    atomic_folder,
    make_manifest,
    read_json,
    read_manifest,
    write_json,
    write_manifest,
)
from dialogpt.data import ExtractConfig
from dialogpt.errors import DataError, UsageError
from dialogpt.jobs import Job


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with atomic_folder(out) as folder:
        (folder / "a").write_text("1")
        assert not out.exists()
    assert names(out) == ["a"]
    assert names(out.parent) == ["out"]


def test_nothing_stays_of_a_folder_that_failed(tmp_path: Path) -> None:
    with pytest.raises(TypeError), atomic_folder(tmp_path / "out") as folder, (folder / "a").open("wb") as file:
        file.writelines([b"half", None])  # type: ignore[list-item]
    assert names(tmp_path) == []


def test_an_existing_folder_is_kept_until_the_new_one_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with atomic_folder(out) as folder:
        (folder / MANIFEST).touch()
    with pytest.raises(UsageError, match="not empty"), atomic_folder(out):
        pass
    with pytest.raises(KeyError), atomic_folder(out, overwrite=True):
        raise KeyError
    assert names(out) == [MANIFEST]
    with atomic_folder(out, overwrite=True) as folder:
        (folder / "new").touch()
    assert names(out) == ["new"]
    assert names(tmp_path) == ["out"]


def test_an_empty_folder_may_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    with atomic_folder(Path()) as folder:
        (folder / "a").touch()
    monkeypatch.chdir(tmp_path)
    assert names(tmp_path / "out") == ["a"]


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    for name in "ab":
        with atomic_folder(tmp_path / "out", overwrite=True) as folder:
            (folder / name).touch()
            (folder / MANIFEST).touch()
    assert (tmp_path / "out").is_symlink()
    assert names(tmp_path / "disk") == ["b", MANIFEST]


def test_a_file_in_the_way_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(UsageError, match="is a file"), atomic_folder(tmp_path / "out", overwrite=True):
        pass
    with pytest.raises(DataError, match="cannot be written"), atomic_folder(tmp_path / "out" / "in"):
        pass


def test_two_writers_of_one_folder_do_not_meet(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "out", overwrite=True) as one:
        with atomic_folder(tmp_path / "out", overwrite=True) as two:
            (two / MANIFEST).touch()
        (one / "one").touch()
    assert names(tmp_path / "out") == ["one"]


@pytest.mark.parametrize("overwrite, message", [(False, "is not empty"), (True, "dialogpt wrote")])
def test_what_was_put_there_meanwhile_is_kept(tmp_path: Path, overwrite: bool, message: str) -> None:
    def put_something_there() -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine").touch()

    with pytest.raises(UsageError, match=message), atomic_folder(tmp_path / "out", overwrite=overwrite):
        put_something_there()
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["mine"]


def test_what_killed_processes_left_goes_and_what_others_write_stays(tmp_path: Path) -> None:
    out = tmp_path / "out[1]"
    for name in (".out[1].partial-dead", ".out[1].partial-0", ".out1.partial-0", ".out[1].job"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").touch()
    with atomic_folder(out) as living:
        (living / "a").touch()
        with pytest.raises(KeyError), atomic_folder(out):
            raise KeyError
        assert names(living) == ["a"]
        assert names(tmp_path) == sorted([living.name, ".out1.partial-0", ".out[1].job"])
    assert names(out) == ["a"]


def test_of_files_too(tmp_path: Path) -> None:
    (tmp_path / ".file.partial-dead").write_text("half")
    with atomic_file(tmp_path / "file") as living:
        living.write_text("new")
        with pytest.raises(KeyError), atomic_file(tmp_path / "file"):
            raise KeyError
        assert names(tmp_path) == [living.name]
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "new"


def test_a_file_is_whole_or_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic_file(path) as partial:
        partial.write_text("old")
    with pytest.raises(TypeError), atomic_file(path) as partial, partial.open("wb") as file:
        file.writelines([b"half", None])  # type: ignore[list-item]
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_link_to_a_file_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "file")
    for text in ("old", "new"):
        with atomic_file(tmp_path / "link") as partial:
            partial.write_text(text)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "disk" / "file").read_text() == "new"
    assert names(tmp_path / "disk") == ["file"]


WRITE = """
import sys
from pathlib import Path
from dialogpt.artifact import atomic_file
print("before")
with atomic_file(Path(sys.argv[1])) as partial:
    partial.write_text("content\\n")
"""


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="no /dev/stdout")
@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1"])
def test_standard_output_is_written_to_whatever_it_is(name: str, tmp_path: Path) -> None:
    """A pipe, and a file, of which nothing is cut off; the name stays the device's."""
    command = [sys.executable, "-c", WRITE, name]
    assert subprocess.run(command, capture_output=True, check=True, cwd=tmp_path).stdout == b"before\ncontent\n"
    (tmp_path / "log").write_text("earlier\n")
    with (tmp_path / "log").open("a") as log:
        subprocess.run(command, stdout=log, check=True, cwd=tmp_path)
    assert (tmp_path / "log").read_text() == "earlier\nbefore\ncontent\n"
    assert names(tmp_path) == ["log"]
    assert Path("/dev/stdout").is_symlink()


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no /dev/full")
def test_a_full_device_is_an_error_and_stays_a_device() -> None:
    refused = pytest.raises(DataError, match="/dev/full cannot be written: No space left")
    with refused, atomic_file(Path("/dev/full")) as partial:
        partial.write_text("content")
    assert Path("/dev/full").is_char_device()


@pytest.mark.skipif(not Path("/dev/null").is_char_device(), reason="no /dev/null")
@pytest.mark.parametrize("name", ["-", "/dev/null"])
def test_a_folder_is_not_written_to_a_stream(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=f"{name} is a stream, but a folder"), atomic_folder(Path(name)):
        pass
    with pytest.raises(UsageError, match=f"{name} is a stream, but a folder"):
        Job(name, {}, overwrite=False)
    assert names(tmp_path) == []


def test_a_manifest_comes_back_as_it_was(tmp_path: Path) -> None:
    config = ExtractConfig(dumps=(Path("RC.zst"),), out=Path("out"))
    dropped = Counter({"few": 1, "many": 9})
    manifest = make_manifest("sessions", config=config, inputs=config.dumps, counts={"sessions": 3}, dropped=dropped)
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest
    assert list(manifest.dropped) == ["many", "few"]
    assert manifest.config["dumps"] == ["RC.zst"]
    assert manifest.config["max_turns"] == config.max_turns


def test_missing_and_damaged_manifests(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None
    (tmp_path / MANIFEST).write_text('{"kind": 3}')
    with pytest.raises(DataError, match=r"manifest\.json.*kind"):
        read_manifest(tmp_path)
    (tmp_path / MANIFEST).write_bytes(b'{"kind": "\xff"}')
    with pytest.raises(DataError, match="damaged"):
        read_manifest(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        read_json(tmp_path / "none", Manifest)


def test_json_keeps_every_script_readable(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"name": "مرحبا", "path": Path("x")})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "name": "مرحبا",\n  "path": "x"\n}\n'


def test_overwrite_spares_a_folder_that_is_not_ours(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="dialogpt wrote"), atomic_folder(home, overwrite=True):
        pass
    assert (home / "letter.txt").read_text() == "dear"
