"""Lines out of any file: plain, gzip, bzip2, xz or zstd, recognised by their first bytes, not by their name.

A file is a path, a URL of any file system that fsspec knows (`s3://bucket/RC_2015-01.zst`), or the path of a file in a
zip archive, as if that were a folder (`export.zip/general/2024-01-05.json`). Monthly Reddit dumps are one zstd frame
with a window of up to 2 GiB; an archive that ends early is an error, never a shorter file.
"""

import bz2
import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Protocol, cast

import zstandard

from dialogpt import bzip2
from dialogpt.errors import DataError

CHUNK_BYTES = 1 << 15  # read at once: what comes of it fits the processor's cache, twice as fast as a megabyte
LINE_BYTES = 1 << 26  # far beyond any line of data; without a bound, a binary file would be read whole as one line
ZSTD_WINDOW_BYTES = 1 << 31  # what `zstd --long=31`, the dumps' setting, may demand


# Escapes in JSON: a backslash, a surrogate pair, or half of one (group 1).
_ESCAPED = re.compile(rb"\\(?:\\|u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F]..))")


class Decompressor(Protocol):
    """What bz2, lzma, zlib and zstandard decompression objects share; one object reads one frame."""

    def decompress(self, data: bytes, /) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


_BY_MAGIC: dict[bytes, tuple[str, Callable[[], Decompressor]]] = {
    b"\x28\xb5\x2f\xfd": (
        "zstd",
        lambda: zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES).decompressobj(read_across_frames=False),
    ),
    b"\xfd7zXZ\x00": ("xz", lzma.LZMADecompressor),
    b"BZh": ("bzip2", bz2.BZ2Decompressor),
    b"\x1f\x8b": ("gzip", lambda: zlib.decompressobj(wbits=31)),
}


def is_url(path: Path | str) -> bool:
    return "://" in str(path)


def read_lines(path: Path | str, on_read: Callable[[int], object] = lambda _: None) -> Iterator[bytes]:
    """Yield the file's lines without their line ends; the last one may lack its own.

    `on_read` is told the bytes read from disk since its last call (for progress bars: the compressed size is known).
    Raises DataError when the path is missing, a folder, unreadable, or an archive that is damaged or ends early.
    """
    rest = b""
    for block in read_blocks(path, on_read):
        lines = block.split(b"\n")
        rest = lines.pop()  # empty, but for the last block
        yield from (line.removesuffix(b"\r") for line in lines)
    if rest:
        yield rest.removesuffix(b"\r")


def read_blocks(path: Path | str, on_read: Callable[[int], object] = lambda _: None) -> Iterator[bytes]:
    """Yield the file's content as blocks of whole lines, each with its line end (the last one may lack it).

    Where a block ends depends on the file alone. Errors as `read_lines`.
    """
    rest: list[bytes] = []
    for chunk in read_chunks(path, on_read):
        end = chunk.rfind(b"\n") + 1
        if end:
            yield b"".join([*rest, memoryview(chunk)[:end]])
            rest = [chunk[end:]]
        else:
            rest.append(chunk)
            if sum(map(len, rest)) > LINE_BYTES:
                raise DataError(
                    f"{path}: no line end in {LINE_BYTES >> 20} MiB", "a file of lines is needed, such as JSONL"
                )
    if last := b"".join(rest):
        yield last


def read_part(
    path: Path | str, part: int, parts: int, on_read: Callable[[int], object] = lambda _: None
) -> Iterator[tuple[int, bytes]]:
    """Yield one of `parts` shares of the file's blocks of whole lines, each with a number that grows through the file.

    Of a bzip2 file only the share is decompressed, of others the whole file; `on_read` gets the share of the bytes
    either way. Errors as `read_lines`.
    """
    if parts > 1 and compression(path) == "bzip2":
        with open_input(path) as file:
            yield from bzip2.read_part(file, str(path), part, parts, on_read)
    else:
        for number, block in enumerate(read_blocks(path, lambda count: on_read(count // parts))):
            if number % parts == part:
                yield number, block


def read_chunks(path: Path | str, on_read: Callable[[int], object] = lambda _: None) -> Iterator[bytes]:
    """Yield the file's decompressed content in pieces of some 100 kB; errors as `read_lines`."""
    with open_input(path) as file:
        name = "zip"  # of a file in an archive, even its first bytes may be damaged
        try:
            name, new_decompressor = _compression(file)
            yield from _decompress(path, file, name, new_decompressor, on_read)
        except (zstandard.ZstdError, lzma.LZMAError, OSError, zlib.error, zipfile.BadZipFile) as error:
            raise DataError(f"{path}: damaged {name} data: {error}", "fetch or compress the file again") from error


def open_input(path: Path | str) -> IO[bytes]:
    """Open a file or URL for reading in binary, or raise DataError that says why not."""
    try:
        if is_url(path):
            return cast(IO[bytes], file_system(str(path)).open(path, "rb"))
        path = Path(path)
        if member := _member(path):
            return _open_member(*member)
        if path.is_dir():
            first = min((each for each in path.glob("*.*") if each.name != "manifest.json"), default="")
            raise DataError(
                f"{path} is a folder, but a file is needed", f"name the files in it{first and f': {first}'}"
            )
        if path.exists() and not path.is_file():  # opening a pipe might wait forever
            raise DataError(f"{path} is a pipe or device, which can be read only once", "save it as a file first")
        return path.open("rb")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{path} does not exist", "check the path") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}", "check its permissions") from error


def input_bytes(path: Path | str) -> int:
    """The bytes to be read of a file or URL; DataError now, not hours later, when it cannot be opened."""
    with open_input(path) as file:
        if not is_url(path) and (member := _member(Path(path))):
            return zip_archive(member[0]).getinfo(member[1]).file_size  # to seek to its end is to decompress it
        return int(file.seek(0, os.SEEK_END))


def is_input(path: Path) -> bool:
    """Whether there is such a file, on disk or in a zip archive."""
    member = _member(path)
    return path.is_file() if member is None else member[1] in zip_archive(member[0]).NameToInfo


def zip_archive(path: Path) -> zipfile.ZipFile:
    """The archive, open for reading, or a DataError. The last one stays open: its table may be long."""
    if _member(path):
        raise DataError(f"{path} is a zip archive in another one", "unpack that one first")
    try:
        found = path.stat()
        return _zip_archive(path, found.st_mtime_ns, found.st_size)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is a damaged zip archive: {error}", "fetch it again") from error


@lru_cache(1)
def _zip_archive(path: Path, _mtime_ns: int, _size: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


def _member(path: Path) -> tuple[Path, str] | None:
    """The archive and the name in it, when a path leads into a zip archive."""
    if path.exists():
        return None
    found = (above for above in path.parents if above.is_file() and zipfile.is_zipfile(above))
    return next(((archive, path.relative_to(archive).as_posix()) for archive in found), None)


def _open_member(archive: Path, name: str) -> IO[bytes]:
    try:
        return zip_archive(archive).open(name)
    except KeyError as error:
        raise DataError(f"{archive} holds no {name}", "check the path") from error
    except (RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:  # it has a password, say
        raise DataError(f"{archive}/{name} cannot be read: {error}", "unpack it and name its files") from error


def file_system(url: str) -> Any:
    """fsspec's file system of a URL; one that it does not know, or whose package is missing, is a DataError."""
    import fsspec

    try:
        return fsspec.core.url_to_fs(url)[0]
    except (ImportError, ValueError) as error:
        raise DataError(f"{url} cannot be opened: {error}", "name a path, or a URL that fsspec knows") from error


def decode_text(line: bytes, path: Path, number: int) -> str:
    """Decode UTF-8 (a byte order mark is dropped); a line in another encoding is a DataError naming file and line."""
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        encoding = "UTF-16" if line.startswith((b"\xff\xfe", b"\xfe\xff")) else "WINDOWS-1256"
        raise DataError(
            f"{path}:{number}: not UTF-8 (byte 0x{line[error.start]:02x} at column {error.start + 1})",
            f"convert it, for example: iconv -f {encoding} -t UTF-8",
        ) from error


def without_halves(data: bytes) -> bytes:
    """JSON with U+200B, which is not seen, for each half of a surrogate pair: parsers refuse such a half.

    A program that cuts a text inside an emoji leaves one. The length stays, so that errors find their places.
    """
    return _ESCAPED.sub(lambda found: rb"\u200b" if found[1] else found[0], data)


def compression(path: Path | str) -> str:
    """How the file is compressed, by its first bytes: plain, gzip, bzip2, xz or zstd."""
    with open_input(path) as file:
        return _compression(file)[0]


def _compression(file: IO[bytes]) -> tuple[str, Callable[[], Decompressor] | None]:
    head = file.read(6)
    file.seek(0)
    for magic, found in _BY_MAGIC.items():
        if head.startswith(magic):
            return found
    return "plain", None


def _decompress(
    path: Path | str,
    file: IO[bytes],
    name: str,
    new_decompressor: Callable[[], Decompressor] | None,
    on_read: Callable[[int], object],
) -> Iterator[bytes]:
    decompressor: Decompressor | None = None
    while data := file.read(CHUNK_BYTES):
        on_read(len(data))
        if new_decompressor is None:
            yield data
            continue
        while data:  # an archive may be several frames, one after the other
            if decompressor is None:
                decompressor = new_decompressor()
            chunk = decompressor.decompress(data)
            data = b""
            if decompressor.eof:
                data, decompressor = decompressor.unused_data, None
            if chunk:
                yield chunk
    if decompressor is not None:
        raise DataError(f"{path}: the {name} archive ends early", "it was cut in transfer; fetch it again")
