"""Files of references -> segments.

Several text files, one reference a line; or JSONL of evaluation items; or TSV, a context (turns divided by ` EOS `) and
then references, each as it is or as `score|text`; a first line `id<tab>...` or `InstanceID<tab>...` makes the first
column ids. A blank reference is no reference.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from dialogpt.data.overlap import SCORE
from dialogpt.data.references import END_OF_TURN
from dialogpt.errors import DataError
from dialogpt.evaluation.segments import Segment, are_json, decode, lines_of, numbered, texts_of
from dialogpt.session import Turn

_ID_HEADERS = ("id", "instanceid")
_HEADERS = (*_ID_HEADERS, "context", "source")


class _Item(msgspec.Struct):
    """A line of references in JSONL."""

    references: tuple[str, ...]
    context: tuple[Turn | str, ...] = ()
    id: str | int = ""
    human: str | None = None


def read_references(paths: Sequence[Path]) -> list[Segment]:
    """The segments of one or several files of references; a DataError names the file and line that is wrong."""
    if len(paths) == 1:
        path = paths[0]
        lines = lines_of(path)
        if are_json(lines):
            return [_json_segment(path, number, line) for number, line in numbered(lines)]
        if any("\t" in line for line in lines):
            return _tsv_segments(path, lines)
    files = [lines_of(path) for path in paths]
    for path, lines in zip(paths, files, strict=True):
        if len(lines) != len(files[0]):
            raise DataError(
                f"{path} has {len(lines)} lines, {paths[0]} has {len(files[0])}",
                "files of references must match line by line; leave a line blank where there is none",
            )
        if len(paths) > 1 and are_json(lines):
            raise DataError(f"{path} is JSONL, but one of several files of references", "give JSONL or TSV alone")
    name = paths[0] if len(paths) == 1 else "references"
    return [Segment(f"{name}:{number}", texts) for number, texts in enumerate(zip(*files, strict=True), 1)]


def _json_segment(path: Path, number: int, line: str) -> Segment:
    item = decode(path, number, line, _Item, '{"context": [...], "references": ["Hi", ...]}')
    return Segment(f"{path}:{number}", item.references, texts_of(item.context), str(item.id), item.human or "")


def _tsv_segments(path: Path, lines: Sequence[str]) -> list[Segment]:
    header = lines[0].split("\t")[0].strip().casefold()
    has_ids, skipped = header in _ID_HEADERS, int(header in _HEADERS)
    segments = []
    for number, line in enumerate(lines[skipped:], 1 + skipped):
        first, *cells = line.split("\t")
        if not cells:
            raise DataError(f"{path}:{number}: no tab", "a line is a context or id, then references, with tabs between")
        if all(SCORE.match(cell) for cell in cells if cell.strip()):
            cells = [SCORE.sub("", cell) for cell in cells]
        context = () if has_ids else tuple(first.split(END_OF_TURN))
        segments.append(Segment(f"{path}:{number}", tuple(cells), context, first.strip() if has_ids else ""))
    return segments
