"""A folder on a local disk or on any file system that fsspec knows, for jobs whose workers may be other machines.

Names are relative to the folder, with `/` between their parts. A file is written whole or not at all: beside its place
first, then moved (an object store's move is a copy within it).
"""

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from dialogpt.errors import DataError
from dialogpt.files import file_system, is_url


class Storage:
    """The folder at a path or URL; it need not exist. Two with the same `url` are the same, on any machine."""

    def __init__(self, url: str | Path) -> None:
        self.url = str(url).rstrip("/") if is_url(url) else str(Path(url).resolve())
        self.is_local = not is_url(url)
        self._fs: Any = file_system(self.url)
        self._root: str = self._fs._strip_protocol(self.url)

    def __truediv__(self, name: str) -> "Storage":
        return Storage(f"{self.url}/{name}")

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def parent(self) -> "Storage":
        return Storage(self.url.rpartition("/")[0] or "/")

    def path(self, name: str = "") -> str:
        return f"{self._root}/{name}" if name else self._root

    def exists(self, name: str = "") -> bool:
        return bool(self._fs.exists(self.path(name)))

    def names(self, folder: str = "") -> list[str]:
        """The names of the files and folders in a folder, in order; none when it is not there."""
        try:
            return sorted(str(found).rstrip("/").rpartition("/")[2] for found in self._fs.ls(self.path(folder), False))
        except FileNotFoundError:
            return []

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
        """A file to write to, which takes its place when the block ends well; else nothing is left of it."""
        place = self.path(name)
        folder, _, last = place.rpartition("/")
        partial = f"{folder}/.{last}.{secrets.token_hex(4)}"
        try:
            self._fs.makedirs(folder, exist_ok=True)
            with self._fs.open(partial, "wb") as file:
                yield file
            self._fs.mv(partial, place)
        except OSError as error:
            raise DataError(
                f"{place} cannot be written: {error.strerror or error}", "check space and rights"
            ) from error
        finally:
            if self._fs.exists(partial):
                self._fs.rm_file(partial)

    def move(self, name: str, to: "Storage") -> None:
        """Give one of the folder's files or folders the place of `to`, which must be free and in the same system."""
        self._fs.makedirs(self._fs._parent(to.path()), exist_ok=True)
        self._fs.mv(self.path(name), to.path(), recursive=True)

    def remove(self) -> None:
        """Remove the folder with all that is in it, if it is there."""
        if self.exists():
            self._fs.rm(self._root, recursive=True)
