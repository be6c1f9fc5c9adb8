"""A folder on a local disk or on any file system that fsspec knows, for jobs whose workers may be other machines.

Names are relative to the folder, with `/` between their parts. A file is written whole or not at all: under a hidden
name in the folder itself first, then moved (an object store's move is a copy within it). So what a killed process
leaves half-written is never among the files of a folder in it.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from dialogpt.errors import DataError, UsageError
from dialogpt.files import file_system, is_url

PARTIAL = ".partial-"


class Storage:
    """The folder at a path or URL; it need not exist. Two with the same `url` are the same, on any machine."""

    def __init__(self, url: str | Path) -> None:
        self._fs: Any = _Disk()
        if is_url(url):  # a path may hold what URLs give a meaning
            from fsspec.implementations.local import LocalFileSystem

            system = file_system(str(url))
            if isinstance(system, LocalFileSystem):
                url = system._strip_protocol(str(url))
            else:
                self._fs = system
        self.is_local = isinstance(self._fs, _Disk)
        if self.is_local:
            self.url = self._root = str(Path(url).resolve())
        else:
            if any(sign in str(url) for sign in "*?["):
                raise UsageError(f"{url} holds *, ? or [, which name many files in a URL", "name a folder without them")
            self.url = str(url).rstrip("/")
            self._root = self._fs._strip_protocol(self.url)

    def __truediv__(self, name: str) -> "Storage":
        return Storage(f"{self.url}/{name}")

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def parent(self) -> "Storage":
        """The folder that this one is in; UsageError for a whole bucket or machine, which is in none."""
        above = self.url.rpartition("/")[0]
        if not self.is_local and above.endswith(":/"):
            raise UsageError(f"{self.url} is not a folder to write to", f"name one in it: {self.url}/sessions")
        return Storage(above or "/")

    def path(self, name: str = "") -> str:
        return f"{self._root}/{name}" if name else self._root

    def exists(self, name: str = "") -> bool:
        """Whether the file or folder is there; an OSError when that cannot be told."""
        try:
            self._fresh().info(self.path(name))  # fsspec's own `exists` takes every error for a no
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def names(self, folder: str = "") -> list[str]:
        """The names of the files and folders in a folder, in order; none when it is not there."""
        try:
            found = self._fresh().ls(self.path(folder), False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(str(path).rstrip("/").rpartition("/")[2] for path in found)

    def open(self, name: str) -> IO[bytes]:
        return cast(IO[bytes], self._fs.open(self.path(name), "rb"))

    @contextmanager
    def local_copy(self, name: str) -> Iterator[Path]:
        """A path of this machine with the file's content: the file itself when it lies here, else a copy of it."""
        if self.is_local:
            yield Path(self.path(name))
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "copy"
            self._fs.get_file(self.path(name), str(path))
            yield path

    def read(self, name: str) -> bytes:
        return bytes(self._fs.cat_file(self.path(name)))

    def write(self, name: str, content: bytes) -> None:
        with self.new_file(name) as file:
            file.write(content)

    @contextmanager
    def new_file(self, name: str) -> Iterator[IO[bytes]]:
        """A file to write to, which is moved to its place when the block succeeds; else nothing is left of it.

        An OSError of the block becomes a DataError, as one of the disk's.
        """
        place, partial = self.path(name), self.path(PARTIAL + os.urandom(6).hex())
        try:
            self._fs.makedirs(place.rpartition("/")[0], exist_ok=True)
            with self._fs.open(partial, "wb") as file:
                yield file
            if self.is_local:
                Path(partial).replace(place)
            else:
                self._fs.mv(partial, place)
        except OSError as error:
            raise DataError(
                f"{place} cannot be written: {error.strerror or error}", "check disk space and permissions"
            ) from error
        finally:
            self.remove(partial.rpartition("/")[2])

    def remove_partials(self) -> None:
        """Remove what killed writers left half-written."""
        for name in self.names():
            if name.startswith(PARTIAL):
                self.remove(name)

    def move(self, name: str, to: "Storage", *, last: str = "") -> None:
        """Give a folder in this one the place of `to`, which must be free or empty and in the same file system.

        Locally that is one step. Elsewhere the files are copied, the one named `last` after all others, and the source
        stays: killed half-way, the move can be made again.
        """
        if self.is_local:
            Path(to.path()).parent.mkdir(parents=True, exist_ok=True)
            Path(self.path(name)).rename(to.path())
            return
        source = self.path(name)
        found = [path[len(source) + 1 :] for path in self._fresh().find(source)]
        for names in ([name for name in found if name != last], [name for name in found if name == last]):
            for folder in {to.path(name).rpartition("/")[0] for name in names}:
                self._fs.makedirs(folder, exist_ok=True)
            # two lists: many at once, and taken literally, with any stars and brackets
            self._fs.copy([f"{source}/{name}" for name in names], [to.path(name) for name in names])

    def remove(self, name: str = "") -> None:
        """Remove the folder, or the file or folder named in it, with all that is in it, if it is there."""
        place = self.path(name)
        if not self.exists(name):
            return
        if self.is_local and Path(place).is_dir():
            shutil.rmtree(place)  # fsspec's refuses the current folder, which may have been moved here
        else:
            self._fs.rm(place, recursive=True)

    def _fresh(self) -> Any:
        """The file system without its cached listings, which other processes may have outdated."""
        self._fs.invalidate_cache()
        return self._fs


class _Disk:
    """This machine's disks, as far as `Storage` needs; importing fsspec's own takes as long as reading 15,000 lines."""

    def open(self, path: str, mode: str) -> IO[Any]:
        return Path(path).open(mode)

    def cat_file(self, path: str) -> bytes:
        return Path(path).read_bytes()

    def info(self, path: str) -> object:
        return Path(path).stat()

    def ls(self, path: str, _: bool) -> list[Path]:
        return list(Path(path).iterdir())

    def makedirs(self, path: str, *, exist_ok: bool) -> None:
        Path(path).mkdir(parents=True, exist_ok=exist_ok)

    def rm(self, path: str, **_: object) -> None:
        Path(path).unlink()

    def invalidate_cache(self) -> None:
        """Nothing is remembered."""
