"""A file of text in any encoding and compression -> its lines; what is wrong with it is named with file and line.

UTF-8 is the default, with or without a byte order mark; UTF-16 is known by its mark; anything else has to be named.
"""

import codecs
import io
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, starmap
from pathlib import Path

from dialogpt.data.normalize import ARABIC_HAMZA, ARABIC_LETTERS, ARABIC_SIGNS, INVISIBLE
from dialogpt.errors import DataError, UsageError
from dialogpt.files import LINE_BYTES, read_chunks, read_lines

HEAD_BYTES = 1 << 16
_JUNK = re.compile(f"[{INVISIBLE}\ud800-\udfff]")
_SIGNS = re.compile(f"[{ARABIC_SIGNS}]")
_LETTERS = ARABIC_LETTERS | ARABIC_HAMZA


def tidy(text: str) -> str:
    """Fold white space, drop what is invisible (direction marks) and lone surrogates; words are kept as written (NFC).

    A text that is tidy comes back as the same object: a long file is not held twice.
    """
    if text.isascii() and text.isprintable():  # then blanks are its only white space
        return text if "  " not in text and text[:1] != " " != text[-1:] else " ".join(text.split())
    clean = unicodedata.normalize("NFC", _JUNK.sub("", text))
    folded = " ".join(clean.split())
    return text if folded == text else folded


def fold(text: str) -> str:
    """A text without what people write or leave out: case; of Arabic vowel signs, tatweel, hamza and the like."""
    return text.casefold() if text.isascii() else _SIGNS.sub("", text.casefold()).translate(_LETTERS)


class TextFile:
    """A file that may be read more than once; `on_read` is told the bytes read from disk by `lines` and `whole`.

    `encoding` is one of Python's names, "" for UTF-8 or what the byte order mark says; UsageError when it is unknown.
    `later` are the files that go on where this one ends.
    """

    def __init__(
        self,
        path: Path,
        encoding: str = "",
        on_read: Callable[[int], object] = lambda _: None,
        later: Sequence[Path] = (),
    ) -> None:
        self.path, self.on_read = path, on_read
        self._later = [(each, encoding, on_read) for each in later]
        self.source = path.name.split(".")[0] or path.name
        self._start = next(read_chunks(path), b"")[:HEAD_BYTES]
        self.encoding = _known(encoding) if encoding else _marked(self._start)

    def parts(self) -> Iterator["TextFile"]:
        """This file and those that go on where it ends."""
        yield self
        yield from starmap(TextFile, self._later)

    @property
    def is_utf8(self) -> bool:
        return self.encoding == "utf-8-sig"

    def head(self) -> list[str]:
        """The lines in the first 64 KiB; the last one may be cut."""
        self._check_text()
        return (
            self._decode(codecs.getincrementaldecoder(self.encoding)(), self._start, 1)
            .removeprefix("\ufeff")
            .split("\n")
        )

    def begins_with(self, magic: bytes, at: int = 0) -> bool:
        return self._start.startswith(magic, at)

    @property
    def is_blank(self) -> bool:
        """Whether its first 64 KiB hold nothing but white space."""
        return not self._start.strip(b"\0 \t\r\n" + codecs.BOM_UTF8 + codecs.BOM_UTF16)

    def lines(self, on_read: Callable[[int], object] | None = None) -> Iterator[tuple[int, str]]:
        """Number, from 1, and text of every line, without line ends; a wrong byte is a DataError with its line."""
        on_read = on_read or self.on_read
        self._check_text()
        if not self.is_utf8:
            yield from self._decoded_lines(on_read)
            return
        for number, line in enumerate(read_lines(self.path, on_read), 1):
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise self._error(number, error) from error
            yield number, text.removeprefix("\ufeff") if number == 1 else text

    def whole(self) -> bytes:
        """All of it in UTF-8, without a byte order mark; wrong bytes in a file of UTF-8 are left as they are."""
        buffer = io.BytesIO()  # its value is its own memory: a large file is not held twice
        for chunk in read_chunks(self.path, self.on_read):
            buffer.write(chunk)
        data = buffer.getvalue()
        if not self.is_utf8:
            data = self.decode(data).encode("utf-8", "surrogatepass")
        return data.removeprefix(codecs.BOM_UTF8)

    def decode(self, data: bytes) -> str:
        """Decode what begins with the file's first line; a wrong byte is a DataError with its line."""
        return self._decode(codecs.getincrementaldecoder(self.encoding)(), data, 1, final=True)

    def _check_text(self) -> None:
        if b"\0" in self._start and self.is_utf8:
            message = f"{self.path}:1: zero bytes: UTF-16 without its mark, or not text at all"
            raise DataError(message, "try --encoding utf-16-le")

    def _decoded_lines(self, on_read: Callable[[int], object]) -> Iterator[tuple[int, str]]:
        decoder = codecs.getincrementaldecoder(self.encoding)()
        rest, number = "", 0
        for chunk in chain(read_chunks(self.path, on_read), [b""]):
            lines = (rest + self._decode(decoder, chunk, number + 1, final=not chunk)).split("\n")
            rest = lines.pop()
            for line in lines:
                number += 1
                yield number, line.removesuffix("\r").removeprefix("\ufeff" if number == 1 else "")
            if len(rest) > LINE_BYTES:
                raise DataError(f"{self.path}: no line end in {LINE_BYTES >> 20} MiB", "name a file of lines")
        if rest:
            yield number + 1, rest.removesuffix("\r").removeprefix("\ufeff" if number == 0 else "")

    def _decode(self, decoder: codecs.IncrementalDecoder, data: bytes, number: int, *, final: bool = False) -> str:
        """Decode bytes that begin in line `number`."""
        try:
            return decoder.decode(data, final)
        except UnicodeDecodeError as error:
            before = bytes(error.object[: error.start])
            raise self._error(number + before.decode(self.encoding, "replace").count("\n"), error) from error
        except UnicodeError as error:  # UTF-16 without its mark
            message = f"{self.path}:{number}: not {self.encoding.upper()}: {error}"
            raise DataError(message, f"name it {self.encoding}-le or {self.encoding}-be") from error

    def _error(self, number: int, error: UnicodeDecodeError) -> DataError:
        name = "UTF-8" if self.is_utf8 else self.encoding.upper()
        line = bytes(error.object[: error.start]).rpartition(b"\n")[2]
        return DataError(
            f"{self.path}:{number}: not {name} (byte 0x{error.object[error.start]:02x} at column {len(line) + 1})",
            "name its encoding (--encoding windows-1256), or convert it: iconv -f WINDOWS-1256 -t UTF-8",
        )


def _known(encoding: str) -> str:
    try:
        b"\xff".decode(encoding, "replace")
    except (LookupError, UnicodeError) as error:
        raise UsageError(
            f"--encoding {encoding} is not known", "such as utf-16-le, windows-1252, windows-1256, shift_jis"
        ) from error
    name = codecs.lookup(encoding).name
    return "utf-8-sig" if name == "utf-8" else name


def _marked(start: bytes) -> str:
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        if start.startswith(mark):
            return encoding
    return "utf-8-sig"
