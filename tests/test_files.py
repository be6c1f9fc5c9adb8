"""Lines out of plain and compressed files, whole or damaged."""

import bz2
import gzip
import lzma
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from dialogpt import files
from dialogpt.errors import DataError
from dialogpt.files import decode_text, read_lines

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}
archives = pytest.mark.parametrize("kind", [kind for kind in COMPRESS if kind != "plain"])


@pytest.mark.parametrize("kind", COMPRESS)
def test_lines_are_the_same_from_every_compression(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "data.txt"  # the name says nothing
    path.write_bytes(COMPRESS[kind]("سلام\nsecond\r\n\nlast".encode()))
    assert list(read_lines(path)) == ["سلام".encode(), b"second", b"", b"last"]


@archives
def test_frames_one_after_the_other_are_one_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "two"
    path.write_bytes(COMPRESS[kind](b"a\nhalf ") + COMPRESS[kind](b"line\nc\n"))
    assert list(read_lines(path)) == [b"a", b"half line", b"c"]


@archives
@pytest.mark.parametrize("keep", [0.3, 0.7, 0.99])
def test_an_archive_that_ends_early_is_an_error(tmp_path: Path, kind: str, keep: float) -> None:
    path = tmp_path / "cut"
    data = COMPRESS[kind](b"".join(b"line %d %d\n" % (n, n * n) for n in range(20_000)))
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(DataError, match=f"{kind} archive ends early|damaged {kind}"):
        list(read_lines(path))


@archives
def test_damage_inside_an_archive_is_an_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bad"
    data = bytearray(COMPRESS[kind](b"".join(b"line %d %d\n" % (n, n * n) for n in range(20_000))))
    data[len(data) // 2 : len(data) // 2 + 40] = b"\xff" * 40
    path.write_bytes(data)
    with pytest.raises(DataError):
        list(read_lines(path))


def test_paths_that_are_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        list(read_lines(tmp_path / "missing"))
    with pytest.raises(DataError, match="is a folder"):
        list(read_lines(tmp_path))
    os.mkfifo(tmp_path / "pipe")  # not waited for
    with pytest.raises(DataError, match="is a pipe or device"):
        list(read_lines(tmp_path / "pipe"))


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert list(read_lines(tmp_path / "empty")) == []


def test_progress_adds_up_to_the_size_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(zstandard.compress(b"line\n" * 100_000))
    told: list[int] = []
    assert sum(1 for _ in read_lines(path, told.append)) == 100_000
    assert sum(told) == path.stat().st_size


def test_a_file_without_line_ends_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LINE_BYTES", 1 << 21)
    path = tmp_path / "binary"
    path.write_bytes(bytes(5 << 20))
    with pytest.raises(DataError, match="no line end"):
        list(read_lines(path))


@given(
    text=st.lists(st.binary(max_size=40).filter(lambda b: b"\n" not in b and b"\r" not in b)), chunk=st.integers(1, 9)
)
def test_lines_do_not_depend_on_chunks(tmp_path_factory: pytest.TempPathFactory, text: list[bytes], chunk: int) -> None:
    path = tmp_path_factory.getbasetemp() / "chunks"
    path.write_bytes(b"plain\n" + b"".join(line + b"\n" for line in text))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "CHUNK_BYTES", chunk)
        assert list(read_lines(path)) == [b"plain", *text]


def test_decode_text_names_file_and_line() -> None:
    assert decode_text(b"\xef\xbb\xbfa", Path("x"), 1) == "a"
    with pytest.raises(DataError, match=r"x:7: not UTF-8 \(byte 0xc7 at column 2\)"):
        decode_text(b"a\xc7\xe1", Path("x"), 7)
    with pytest.raises(DataError, match="iconv -f UTF-16"):  # as Windows' PowerShell writes by `>`
        decode_text("a".encode("utf-16"), Path("x"), 1)
