"""Files and folders that are whole or not there, and the manifest that says what they are.

Every folder the commands write holds `manifest.json`: who made it, from what, with which settings, how many items,
and how many were dropped for each reason. A folder is filled beside its place and moved there when it is complete.
"""

import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from glob import escape
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from dialogpt import __version__
from dialogpt.errors import DataError, UsageError

MANIFEST = "manifest.json"
STDOUT = Path("-")
T = TypeVar("T")


class Manifest(msgspec.Struct, kw_only=True):
    """The content of `manifest.json`; `counts` and `dropped` are numbers of items by name and by reason."""

    kind: str
    dialogpt: str = "(unknown)"
    created: str = ""
    config: dict[str, Any] = {}
    inputs: list[str] = []
    counts: dict[str, int] = {}
    dropped: dict[str, int] = {}


def make_manifest(
    kind: str,
    *,
    config: Any = None,
    inputs: Iterable[Path | str] = (),
    counts: Mapping[str, int] | None = None,
    dropped: Counter[str] | None = None,
) -> Manifest:
    """A manifest made now; `config` is a command's configuration dataclass."""
    return Manifest(
        kind=kind,
        dialogpt=__version__,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        config=msgspec.json.decode(msgspec.json.encode(asdict(config), enc_hook=str)) if config is not None else {},
        inputs=[str(path) for path in inputs],
        counts=dict(counts or {}),
        dropped=dict((dropped or Counter()).most_common()),
    )


def describe_manifest(manifest: Manifest) -> str:
    """A manifest as lines: kind, counts, drops with their share, inputs."""
    made = f"{manifest.kind}, made {manifest.created} by dialogpt {manifest.dialogpt}"
    lines = [made, *(f"  {name:<12} {count:>14,}" for name, count in manifest.counts.items())]
    if manifest.dropped:
        width = max(map(len, manifest.dropped))
        lines.append("dropped:")
        lines += [
            f"  {reason:<{width}}  {count:>12,}{_share(reason, count, manifest.counts)}"
            for reason, count in manifest.dropped.items()
        ]
    if manifest.inputs:
        lines.append("from: " + ", ".join(manifest.inputs))
    return "\n".join(lines)


def _share(reason: str, count: int, counts: dict[str, int]) -> str:
    """` 3.1% of comments` for a reason like `comment: url`, when the manifest counts them."""
    whole = {
        "line": "lines",
        "comment": "comments",
        "title": "submissions",
        "path": "paths",
        "submission": "submissions",
    }
    unit = whole.get(reason.partition(":")[0], "")
    return f"  {count / counts[unit]:6.1%} of {unit}" if counts.get(unit) else ""


def write_manifest(folder: Path, manifest: Manifest) -> None:
    write_json(folder / MANIFEST, manifest)


def read_manifest(folder: Path) -> Manifest | None:
    """The folder's manifest, or None when it has none; a damaged one is a DataError."""
    path = folder / MANIFEST
    if not path.is_file():
        return None
    return read_json(path, Manifest)


def is_backward(folder: Path) -> bool | None:
    """Whether a checkpoint's or run's manifest says that it reads turns last to first; None if it says neither."""
    try:
        manifest = read_manifest(folder)
    except DataError:  # another program's
        return None
    found = manifest.config.get("reverse") if manifest is not None else None
    return found if isinstance(found, bool) else None


def write_json(path: Path, value: Any) -> None:
    """Write as indented JSON, atomically; paths and the like become strings."""
    with atomic_file(path) as partial:
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2) + b"\n")


def read_json(path: Path, type: type[T]) -> T:
    """Decode a JSON file into `type`; DataError names the file and what is wrong in it."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=type)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", "check the path") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {error}", "the file is damaged or of another kind") from error


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a path to write to; the file there replaces `path` when the block succeeds, else it is deleted.

    A link to a file stays a link. A stream (see `is_stream`) stays what it is: the content is written to it at the end.
    Leftovers of killed processes are removed.
    """
    try:
        with _held(path) if is_stream(path) else _beside(path.resolve()) as partial:
            yield partial
    except BrokenPipeError:  # the stream's reader has stopped
        raise
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {error.strerror or error}", "check disk space and permissions"
        ) from error


def is_stream(path: Path) -> bool:
    """Whether `path` cannot be replaced by a file: `-` (standard output), a pipe, a device, `/dev/stdout` and such."""
    if path == STDOUT:
        return True
    if not path.exists() or path.is_dir():
        return False
    # Standard output may be a file, by `>`; replacing its name in /dev would lose the device.
    opened = path.parent.resolve().parts[:2] == ("/", "proc") or path.parent.resolve() == Path("/dev")
    return opened or not path.is_file()


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A file in `path`'s folder, empty and locked, moved to `path` at the end."""
    remove_left(path)
    partial = _partial(path)
    with ExitStack() as ends:
        ends.callback(partial.unlink, missing_ok=True)
        with partial.open("wb") as file, suppress(UsageError):  # a process that removes leftovers holds it for a moment
            if lock_file(file.fileno(), path):
                ends.callback(os.close, os.dup(file.fileno()))
        yield partial
        partial.replace(path)


@contextmanager
def _held(stream: Path) -> Iterator[Path]:
    """A temporary file, poured into the stream at the end; of a file behind it nothing is cut off."""
    import tempfile  # 6 ms, which `--help` need not spend

    with tempfile.TemporaryDirectory() as folder:
        partial = Path(folder) / "content"
        yield partial
        if stream == STDOUT:
            sys.stdout.write(partial.read_text(encoding="utf-8"))
        sys.stdout.flush()
        if stream != STDOUT:
            with partial.open("rb") as content, stream.open("ab") as target:
                shutil.copyfileobj(content, target)


def refuse_stream(path: Path) -> None:
    """UsageError when a folder is to be written where `is_stream` holds."""
    if is_stream(path):
        raise UsageError(f"{path} is a stream, but a folder is to be written there", "name another --out")


def check_folder(path: Path | str, *, overwrite: bool) -> None:
    """UsageError when a command may not write a folder at `path`: it is a file, not empty, or not one of ours."""
    path = Path(path)
    refuse_stream(path)
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file, but a folder is to be written there", "name another --out")
    if not overwrite and path.is_dir() and any(path.iterdir()):
        raise UsageError(f"{path} exists and is not empty", "name another --out, or add --overwrite")
    if path.is_dir() and any(path.iterdir()) and not (path / MANIFEST).is_file():
        raise UsageError(f"{path} is not a folder that dialogpt wrote: it has no {MANIFEST}", "name another --out")
    if (path / "settings.json").is_file():
        raise UsageError(f"{path} holds a training run, which is not overwritten", "name another --out")


@contextmanager
def atomic_folder(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give an empty folder beside `path` to fill; it replaces `path` when the block succeeds, else it is deleted.

    An existing `path` that is not empty is a UsageError unless `overwrite`, and is kept until the new one is whole.
    Only a folder with a manifest is ever overwritten: nobody's home folder is lost to a mistyped --out. Leftovers
    of killed processes are removed.
    """
    check_folder(path, overwrite=overwrite)
    path = path.resolve()  # a link to a folder stays a link, and "." has a name
    remove_left(path)
    partial, lock = _partial(path), None
    try:
        partial.mkdir(parents=True)
        lock = lock_folder(partial)
        yield partial
        check_folder(path, overwrite=overwrite)  # something may have been put there since the start
        if path.exists():
            old = partial.with_name(partial.name.replace(".partial-", ".old-"))
            path.rename(old)
            partial.rename(path)
            shutil.rmtree(old)
        else:
            partial.rename(path)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {error.strerror or error}", "check disk space and permissions"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def lock_folder(path: Path) -> int | None:
    """Make a folder and lock it while this process lives, or until the number returned is closed as a file.

    Two at once would mistake each other's work for their own. UsageError when another process has it; None if the
    file system has no locks.
    """
    while os.name != "nt":
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise DataError(f"{path} cannot be written: {error.strerror}", "name another --out") from error
        try:
            held = lock_file(lock, path)
        except UsageError:
            os.close(lock)
            raise
        if held and path.exists() and path.stat().st_ino == os.fstat(lock).st_ino:
            return lock
        os.close(lock)
        if not held:
            break  # else it was removed meanwhile
    return None


def lock_file(opened: int, path: Path) -> bool:
    """Lock an open file or folder until it is closed; False without locks. UsageError when another has it."""
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(f"another process is working in {path}", "wait for it, or name another --out") from error
    except OSError:  # a network's file system without locks
        return False
    return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a folder's lock; a folder made for it is removed if still empty. What is not a folder is not locked."""
    new = not path.exists()
    lock = lock_folder(path) if new or path.is_dir() else None
    try:
        yield
    finally:
        if lock is not None:
            if new and not any(path.iterdir()):
                path.rmdir()
            os.close(lock)


def remove_left(path: Path) -> None:
    """Remove what killed processes left beside a file or folder that its writers lock while they write it."""
    for left in path.parent.glob(f".{escape(path.name)}.partial-*"):
        with suppress(OSError, UsageError):
            opened = os.open(left, os.O_RDONLY)
            try:
                if lock_file(opened, left):
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
            finally:
                os.close(opened)


def _partial(path: Path) -> Path:
    # Random, not the process id: in a container that is the same at every start, and a killed run leaves its folder.
    return path.with_name(f".{path.name}.partial-{os.urandom(4).hex()}")
