"""A real month of Reddit dumps -> a month as large as you like, with as many threads of the same shapes.

    python bench/enlarge.py RC_2006-02.bz2 RS_2006-02.zst --comments 500000 --out DIR

The month's records are repeated; copy k adds k times a step to every id, link_id and parent_id, read as base-36
numbers. The step is beyond every id that the month holds or names, so ids stay unique, threads stay threads, a parent
outside the month stays outside, and the order of ids within a copy is kept; copy 0 is the month itself. All other
fields and the order of keys are untouched. Lines that are not JSON objects, and ids that are not base-36
numbers, are repeated as they are.

`--long 31` writes one frame with a window of 2 GiB, as monthly dumps have. The compressor then finds the copies, so
such a file is small: it tests reading with that window, not reading much.
"""

import argparse
import bz2
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any

import msgspec
import zstandard

from dialogpt.artifact import atomic_file
from dialogpt.errors import DialoGPTError, UsageError
from dialogpt.files import read_lines

ZSTD_LEVEL = 3
BUFFER_BYTES = 1 << 20
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
ID_FIELDS = ("id", "link_id", "parent_id")
_ID = re.compile(rb'"(t[0-9]_)?([0-9a-z]+)"')  # as it stands in JSON: an id, or a full name
_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
Record = dict[str, msgspec.Raw]


def enlarge(
    dumps: list[Path], comments: int, out: Path, suffix: str = "zst", long: int = 0
) -> dict[Path, Counter[str]]:
    """Write each dump, enlarged, to `out`; returns the counts of each file written.

    The dumps together get at least `comments` comments, by whole copies. long: the base-2 logarithm of the window of
    Zstandard, 0 for the level's own. Dumps are read once for their ids and once a copy; memory does not grow with them.
    """
    written = {path: out / f"{path.name.split('.')[0]}.{suffix}" for path in dumps}
    if len(set(written.values())) < len(dumps) or {path.resolve() for path in written.values()} & {
        path.resolve() for path in dumps
    }:
        raise UsageError("two dumps would be written to one file, or onto themselves", "name another --out")
    found, step = survey(dumps)
    if not found:
        raise UsageError("no comments in these dumps", "name an RC_ file")
    copies = -(-comments // found)
    out.mkdir(parents=True, exist_ok=True)
    return {target: _write(path, target, copies, step, long) for path, target in written.items()}


def survey(dumps: list[Path]) -> tuple[int, int]:
    """The number of comments in the dumps, and the step: a number beyond every id they hold or name."""
    found = highest = 0
    for path in dumps:
        for line in read_lines(path):
            if record := parse(line):
                found += "body" in record
                numbers = (_ID.fullmatch(bytes(record[name])) for name in ID_FIELDS if name in record)
                highest = max([highest, *(int(match[2], 36) for match in numbers if match)])
    return found, highest + 1


def parse(line: bytes) -> Record | None:
    """The line's fields, their values as they stand; None when it is not a JSON object."""
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def shifted(record: Record, shift: int) -> Record:
    """The record with its ids moved up by `shift`; a field that holds no id is left as it is."""
    moved = dict(record)
    for name in ID_FIELDS:
        if name in record and (match := _ID.fullmatch(bytes(record[name]))):
            kind = (match[1] or b"").decode()
            moved[name] = msgspec.Raw(f'"{kind}{base36(int(match[2], 36) + shift)}"'.encode())
    return moved


def base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = DIGITS[digit] + digits
    return digits or "0"


def _write(path: Path, target: Path, copies: int, step: int, long: int) -> Counter[str]:
    counts: Counter[str] = Counter(copies=copies)
    buffer = bytearray()
    with atomic_file(target) as partial, partial.open("wb") as file:
        with closing(_compressor(file, target.suffix, long)) as stream:
            for line in _lines(path, copies, step, counts):
                buffer += line + b"\n"
                if len(buffer) >= BUFFER_BYTES:
                    stream.write(buffer)
                    buffer.clear()
            stream.write(buffer)
        counts["bytes on disk"] = file.tell()
    return counts


def _lines(path: Path, copies: int, step: int, counts: Counter[str]) -> Iterator[bytes]:
    encoder = msgspec.json.Encoder()
    for copy in range(copies):
        for line in read_lines(path):
            if (record := parse(line)) is None:
                counts["other lines"] += 1
            else:
                counts["comments" if "body" in record else "submissions"] += 1
                line = encoder.encode(shifted(record, copy * step)) if copy else line
            counts["bytes"] += len(line) + 1
            yield line


def _compressor(file: IO[bytes], suffix: str, long: int) -> Any:
    """A stream to write to; closing it leaves the file open."""
    if suffix == ".bz2":
        return bz2.BZ2File(file, "wb")
    parameters = zstandard.ZstdCompressionParameters.from_level(
        ZSTD_LEVEL, **({"window_log": long, "enable_ldm": True} if long else {})
    )
    return zstandard.ZstdCompressor(compression_params=parameters).stream_writer(file, closefd=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("dumps", type=Path, nargs="+", help="RC_ and RS_ files of one month, in any compression")
    parser.add_argument("--comments", type=int, required=True, help="fewest comments to write, in whole copies")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the files to")
    parser.add_argument("--format", choices=("zst", "bz2"), default="zst")
    parser.add_argument(
        "--long", type=int, choices=range(10, 32), metavar="10..31", default=0, help="zst: log2 of window"
    )
    arguments = parser.parse_args()
    try:
        if arguments.long and arguments.format != "zst":
            raise UsageError("--long is for zst files", "leave out --format bz2")
        made = enlarge(arguments.dumps, arguments.comments, arguments.out, arguments.format, arguments.long)
    except DialoGPTError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    for path, counts in made.items():
        sys.stdout.write(f"{path}: {', '.join(f'{count:,} {name}' for name, count in counts.items())}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
