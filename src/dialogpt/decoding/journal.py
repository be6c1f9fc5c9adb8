"""What `generate` has done, kept beside its output until all is done: `.NAME.part`, a header and then a line per entry.

A kill loses only the entry that was being written. The header is a digest of settings and
contexts, the seed, and a version; an entry is a JSON object, number of the context -> reply. Without an output file,
or if it is a stream, nothing is kept.
"""

import dataclasses
import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import IO, Any, Self

import msgspec
import numpy as np

from dialogpt.artifact import is_stream, lock_file
from dialogpt.decoding import GenerateConfig, Reply
from dialogpt.errors import DataError, UsageError
from dialogpt.session import EvalItem

log = logging.getLogger(__name__)

# Settings that change no reply; the seed stands beside the others.
FREE = ("out", "overwrite", "report", "format", "show_hypotheses", "batch_size", "device", "seed")
VERSION = 2  # raise it when the same settings give other replies; 1, without a number, had other seeds

_DAMAGED = (msgspec.DecodeError, UnicodeDecodeError)


class Journal:
    """The replies so far, by the number of their context, and the seed that they were drawn with.

    Without `overwrite`, entering is a UsageError if `config.out` is another run's or the journal another version's.
    """

    def __init__(self, config: GenerateConfig, items: Sequence[EvalItem]) -> None:
        self.replies: dict[int, Reply] = {}
        self.seed = config.seed if config.seed is not None else int(np.random.default_rng().integers(2**31))
        self._out, self._overwrite = config.out, config.overwrite
        if config.out is None or is_stream(config.out):
            self._path = None
        else:
            self._path = config.out.parent / f".{config.out.name}.part"
        self._file: IO[bytes] | None = None
        self._asked_seed = config.seed
        self._key = _digest(config, items)

    def __enter__(self) -> Self:
        if self._path is not None and self._out is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            new = not self._path.exists()
            with ExitStack() as failed:
                self._file = failed.enter_context(self._path.open("ab"))
                lock_file(self._file.fileno(), self._out)  # the name that users gave
                if new:
                    failed.callback(self._path.unlink)
                    failed.callback(self._file.close)  # first, as Windows requires
                self._read()
                if not self.replies:
                    self._file.truncate(0)
                    self._append(_Header(self._key, self.seed, VERSION))
                failed.pop_all()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._file is not None and self._path is not None:
            with suppress(OSError):  # what a full disk refused is refused again; all else was flushed
                self._file.close()
            if error is None or not self.replies:
                self._path.unlink(missing_ok=True)
            else:
                log.info("%d replies are kept; the same command resumes", len(self.replies))

    def add(self, replies: Mapping[int, Reply]) -> None:
        """Keep some more replies."""
        self._append(replies)
        self.replies.update(replies)

    def _append(self, entry: Any) -> None:
        if self._file is None:
            return
        try:
            self._file.write(msgspec.json.encode(entry) + b"\n")
            self._file.flush()
        except OSError as error:
            message = f"{self._path} cannot be written: {error.strerror or error}"
            raise DataError(message, "check disk space and permissions; the same command resumes") from error

    def _read(self) -> None:
        """Take over what an earlier start with the same settings did, up to a line that is cut short or damaged."""
        assert self._path is not None
        header, *lines = self._path.read_bytes().split(b"\n") if self._path.is_file() else [b""]
        if (begun := self._begun(header)) is None:
            return
        self.seed = begun.seed
        whole = [header]
        for line in lines[:-1]:  # the last one has no end of line
            try:
                self.replies.update(msgspec.json.decode(line, type=dict[int, Reply]))
            except _DAMAGED:
                log.warning("%s:%d is damaged: what follows is done again", self._path, len(whole) + 1)
                break
            whole.append(line)
        if self.replies:  # else the file is started again
            os.truncate(self._path, sum(len(line) + 1 for line in whole))
            log.info("going on: %d replies are there", len(self.replies))

    def _begun(self, header: bytes) -> "_Header | None":
        """The header to resume from, or None; UsageError if starting again would replace something."""
        begun = None
        with suppress(*_DAMAGED):
            begun = msgspec.json.decode(header, type=_Header)
        if begun is not None and (begun.key != self._key or self._asked_seed not in (None, begun.seed)):
            self._check_out()
            log.warning("%s has other settings or contexts: starting again", self._path)
            return None
        if begun is not None and begun.version != VERSION:
            if not self._overwrite:
                raise UsageError(
                    f"{self._path} was begun by another version of dialogpt, which drew its replies from other seeds",
                    "finish it with that version, name another --out, or start again with --overwrite",
                )
            log.warning("%s was begun by another version of dialogpt: starting again", self._path)
            return None
        if begun is None:
            self._check_out()
        return begun

    def _check_out(self) -> None:
        if self._out is not None and self._out.is_file() and not self._overwrite:
            raise UsageError(f"{self._out} exists", "name another --out, or add --overwrite")


class _Header(msgspec.Struct, frozen=True, array_like=True):
    """The first line of a journal."""

    key: str
    seed: int
    version: int = 1


def _digest(config: GenerateConfig, items: Sequence[EvalItem]) -> str:
    """Equal for equal settings and contexts."""
    settings = {name: value for name, value in dataclasses.asdict(config).items() if name not in FREE}
    return hashlib.sha256(msgspec.json.encode([settings, items], enc_hook=str)).hexdigest()
