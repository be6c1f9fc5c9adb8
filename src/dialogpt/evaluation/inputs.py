"""Files of replies and of references -> segments that belong together, line by line or by id.

Replies: text, a reply a line, or JSONL of `generate`; or TSV of several systems, headed SystemID, InstanceID, Response.
References: several text files, one reference a line; or JSONL of evaluation items; or TSV, a context (turns divided by
` EOS `) and then references, each as it is or as `score|text`; a first line `id<tab>...` or `InstanceID<tab>...` makes
the first column ids. A blank reference is no reference.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from dialogpt.data.references import END_OF_TURN
from dialogpt.errors import DataError, UsageError
from dialogpt.files import decode_text, read_lines
from dialogpt.session import Turn

T = TypeVar("T")
ENGLISH = "--clean keeps English letters only"

_JSON = re.compile(r'\s*\{\s*"')
_SCORE = re.compile(r"\s*-?\d+(?:\.\d+)?\|")
_ENDINGS = re.compile(r"(\.(txt|jsonl|json|tsv|gz|bz2|xz|zst))+$")
_ID_HEADERS = ("id", "instanceid")
_HEADERS = (*_ID_HEADERS, "context", "source")
_SYSTEMS_HEADER = ("systemid", "instanceid", "response")


@dataclass(frozen=True, slots=True)
class Segment:
    """A context and its references; `place` is where it stands, for errors."""

    place: str
    references: tuple[str, ...]
    context: tuple[str, ...] = ()
    id: str = ""


@dataclass(frozen=True, slots=True)
class System:
    """A system's replies, in the order of the segments; `contexts` are empty when its file does not tell them."""

    name: str
    replies: tuple[str, ...]
    contexts: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that is scored; `dropped` counts by reason what was read and left out."""

    segments: tuple[Segment, ...]
    systems: tuple[System, ...]
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def references(self) -> list[tuple[str, ...]]:
        return [segment.references for segment in self.segments]

    @property
    def contexts(self) -> list[tuple[tuple[str, ...], ...]] | None:
        """Each system's contexts, its file's own or the references'; None when they are not told for every reply."""
        own = tuple(segment.context for segment in self.segments)
        told = [system.contexts if system.contexts and all(system.contexts) else own for system in self.systems]
        return told if all(map(all, told)) else None


class _Item(msgspec.Struct):
    """A line of references in JSONL."""

    references: tuple[str, ...]
    context: tuple[Turn | str, ...] = ()
    id: str | int = ""


class _Reply(msgspec.Struct):
    """A line of replies in JSONL."""

    hypothesis: str
    context: tuple[Turn | str, ...] = ()
    id: str | int = ""


def read_inputs(hyps: Sequence[Path], refs: Sequence[Path], clean: Callable[[str], str] | None = None) -> Inputs:
    """Read and match all files; DataError names the file and line that is wrong or does not match.

    `clean` is done to every text before blank references are left out. Where a file holds several systems, the segments
    are those that have references and a reply of each of them.
    """
    segments = read_references(refs)
    dropped: Counter[str] = Counter()
    segments, systems = _read_systems(hyps, segments, dropped)
    if clean is not None:
        segments, systems = _cleaned(segments, systems, clean, dropped)
    for system in systems:
        if not any(reply.strip() for reply in system.replies):
            raise DataError(
                f"{system.name}: no reply has a word", f"{ENGLISH}: leave it out" if clean else "a line is a reply"
            )
        if blank := sum(not reply.strip() for reply in system.replies):
            dropped[f"blank replies of {system.name}, which count as empty"] += blank
    return Inputs(tuple(_without_blank(segment, dropped) for segment in segments), tuple(systems), dropped)


def _without_blank(segment: Segment, dropped: Counter[str]) -> Segment:
    kept = tuple(reference for reference in segment.references if reference.strip())
    if not kept:
        raise DataError(f"{segment.place}: no reference", "every reply needs one at least; leave out both lines")
    if len(kept) < len(segment.references):
        dropped["blank references, left out"] += len(segment.references) - len(kept)
    return Segment(segment.place, kept, segment.context, segment.id)


def _cleaned(
    segments: Sequence[Segment], systems: Sequence[System], clean: Callable[[str], str], dropped: Counter[str]
) -> tuple[list[Segment], list[System]]:
    """All texts cleaned; segments of whose references nothing is left are left out, and counted, for every system."""

    def all_of(texts: Sequence[str]) -> tuple[str, ...]:
        return tuple(map(clean, texts))

    made = [Segment(each.place, all_of(each.references), all_of(each.context), each.id) for each in segments]
    kept = [place for place, each in enumerate(made) if any(each.references) or not any(segments[place].references)]
    if not kept:
        raise DataError("no reference has a word", f"{ENGLISH}: leave it out")
    if len(kept) < len(made):
        dropped["segments without a reference after cleaning, left out"] += len(made) - len(kept)
    cleaned = [
        System(
            each.name,
            all_of([each.replies[place] for place in kept]),
            tuple(all_of(each.contexts[place]) for place in kept) if each.contexts else (),
        )
        for each in systems
    ]
    return [made[place] for place in kept], cleaned


def read_references(paths: Sequence[Path]) -> list[Segment]:
    """The segments of one or several files of references; a DataError names the file and line that is wrong."""
    if len(paths) == 1:
        path = paths[0]
        lines = _lines(path)
        if _JSON.match(lines[0]):
            return [_json_segment(path, number, line) for number, line in _numbered(lines)]
        if any("\t" in line for line in lines):
            return _tsv_segments(path, lines)
    files = [_lines(path) for path in paths]
    for path, lines in zip(paths, files, strict=True):
        if len(lines) != len(files[0]):
            raise DataError(
                f"{path} has {len(lines)} lines, {paths[0]} has {len(files[0])}",
                "files of references stand line by line together; a blank line where there is none",
            )
        if len(paths) > 1 and _JSON.match(lines[0]):
            raise DataError(f"{path} is JSONL, one of several files of references", "give JSONL or TSV alone")
    name = paths[0] if len(paths) == 1 else "references"
    return [Segment(f"{name}:{number}", texts) for number, texts in enumerate(zip(*files, strict=True), 1)]


def _json_segment(path: Path, number: int, line: str) -> Segment:
    item = _decode(path, number, line, _Item, '{"context": [...], "references": ["Hi", ...]}')
    return Segment(f"{path}:{number}", item.references, _texts(item.context), str(item.id))


def _tsv_segments(path: Path, lines: Sequence[str]) -> list[Segment]:
    header = lines[0].split("\t")[0].strip().casefold()
    has_ids, skipped = header in _ID_HEADERS, int(header in _HEADERS)
    segments = []
    for number, line in enumerate(lines[skipped:], 1 + skipped):
        first, *cells = line.split("\t")
        if not cells:
            raise DataError(f"{path}:{number}: no tab", "a line is a context or id, then references, with tabs between")
        if all(_SCORE.match(cell) for cell in cells if cell.strip()):
            cells = [_SCORE.sub("", cell, count=1) for cell in cells]
        context = () if has_ids else tuple(first.split(END_OF_TURN))
        segments.append(Segment(f"{path}:{number}", tuple(cells), context, first.strip() if has_ids else ""))
    return segments


def _read_systems(
    paths: Sequence[Path], segments: list[Segment], dropped: Counter[str]
) -> tuple[list[Segment], list[System]]:
    """The systems of all files, and the segments that all of them have."""
    files = {path: _lines(path) for path in paths}
    tables = {path: _table(path, lines) for path, lines in files.items() if set(_SYSTEMS_HEADER) <= set(_header(lines))}
    kept = _of_tables(tables, segments, dropped) if tables else list(range(len(segments)))
    systems: list[System] = []
    for path, name in zip(paths, _names(paths), strict=True):
        if path in tables:
            for system, replies in tables[path].items():
                systems.append(System(system, tuple(replies[segments[place].id] for place in kept)))
        else:
            whole = _read_system(path, name, files[path], segments)
            contexts = tuple(whole.contexts[place] for place in kept) if whole.contexts else ()
            systems.append(System(name, tuple(whole.replies[place] for place in kept), contexts))
    if twice := [name for name, count in Counter(system.name for system in systems).items() if count > 1]:
        raise DataError(f"two systems are called {twice[0]!r}", "rename the file, or the system in its file")
    return [segments[place] for place in kept], systems


def _header(lines: Sequence[str]) -> list[str]:
    return [cell.strip().casefold() for cell in lines[0].split("\t")]


def _table(path: Path, lines: Sequence[str]) -> dict[str, dict[str, str]]:
    """Each system's replies by id, of a TSV that holds several systems."""
    header = _header(lines)
    system_at, id_at, reply_at = (header.index(name) for name in _SYSTEMS_HEADER)
    found: dict[str, dict[str, str]] = {}
    for number, line in _numbered(lines[1:]):
        cells = line.split("\t")
        if len(cells) != len(header) or not cells[system_at].strip() or not cells[id_at].strip():
            raise DataError(
                f"{path}:{number + 1}: not {len(header)} cells with system and instance",
                "every line has the columns of the first, with tabs between",
            )
        replies = found.setdefault(cells[system_at].strip(), {})
        if (name := cells[id_at].strip()) in replies:
            raise DataError(f"{path}:{number + 1}: a second reply to {name!r} of one system", "one reply a context")
        replies[name] = cells[reply_at]
    if not found:
        raise DataError(f"{path} has no reply", "a line is a system, a context's id and a reply")
    return found


def _of_tables(
    tables: Mapping[Path, Mapping[str, Mapping[str, str]]], segments: Sequence[Segment], dropped: Counter[str]
) -> list[int]:
    """The segments that have references and a reply of every system of the tables; others are counted."""
    path, systems = next(iter(tables)), [replies for table in tables.values() for replies in table.values()]
    ids = [segment.id for segment in segments]
    if not all(ids) or len(set(ids)) < len(ids):
        raise DataError(f"{path} names contexts by ids, the references do not", "give references with ids of their own")
    replied = [place for place, name in enumerate(ids) if all(name in replies for replies in systems)]
    kept = [place for place in replied if any(text.strip() for text in segments[place].references)]
    if not kept:
        example = next(iter(systems[0]))
        raise DataError(
            f"{path}: no id, such as {example!r}, has references and a reply of every system",
            f"ids must be those of the references, such as {ids[0]!r}",
        )
    counts = {
        "segments without a reply of every system, left out": len(ids) - len(replied),
        "segments without a reference, left out": len(replied) - len(kept),
        "replies to what the references do not name, left out": sum(len(set(one) - set(ids)) for one in systems),
    }
    dropped.update({reason: count for reason, count in counts.items() if count})
    return kept


def _read_system(path: Path, name: str, lines: Sequence[str], segments: Sequence[Segment]) -> System:
    if not _JSON.match(lines[0]):
        _same_count(path, len(lines), len(segments))
        return System(name, tuple(lines))
    expected = '{"id": ..., "context": [...], "hypothesis": "Hi"}'
    replies = [_decode(path, number, line, _Reply, expected) for number, line in _numbered(lines)]
    order = _order(path, [str(reply.id) for reply in replies], segments)
    matched = [replies[place] for place in order]
    return System(name, tuple(reply.hypothesis for reply in matched), tuple(_texts(reply.context) for reply in matched))


def _order(path: Path, ids: Sequence[str], segments: Sequence[Segment]) -> Sequence[int]:
    """Which reply belongs to each segment: by ids where both files have them, else line by line."""
    wanted = [segment.id for segment in segments]
    numbered = list(ids) == [str(number) for number in range(1, len(ids) + 1)]  # what `generate` does without ids
    _same_count(path, len(ids), len(segments))
    if ids == wanted or numbered or not any(wanted) or not any(ids):
        return range(len(ids))
    places = {name: place for place, name in enumerate(ids)}
    if len(places) < len(ids) or len(set(wanted)) < len(wanted):
        twice = next(name for name, count in Counter([*ids] if len(places) < len(ids) else wanted).items() if count > 1)
        raise DataError(f"{path}: id {twice!r} stands twice in it or in the references", "ids must differ")
    for segment in segments:
        if segment.id not in places:
            raise DataError(
                f"{path} has no reply with id {segment.id!r}, which stands at {segment.place}",
                "were the replies made from these contexts? Ids must be the same, or absent",
            )
    return [places[name] for name in wanted]


def _same_count(path: Path, count: int, wanted: int) -> None:
    if count != wanted:
        raise DataError(
            f"{path} has {count} replies, the references have {wanted} lines",
            "replies and references stand line by line together; a blank line is an empty reply",
        )


def _names(paths: Sequence[Path]) -> list[str]:
    """What to call the systems: their files' names without endings, or the whole paths where these are the same."""
    if len({path.resolve() for path in paths}) < len(paths):
        raise UsageError("the same file of replies is given twice", "each file is a system of its own")
    stems = [_ENDINGS.sub("", path.name) or path.name for path in paths]
    return stems if len(set(stems)) == len(stems) else [str(path) for path in paths]


def _lines(path: Path) -> list[str]:
    lines = [decode_text(line, path, number) for number, line in enumerate(read_lines(path), 1)]
    if not lines:
        raise DataError(f"{path} is empty", "a line is a reply, or has its references")
    for number, line in enumerate(lines, 1):
        if "\0" in line:
            raise DataError(f"{path}:{number}: a zero byte, so no text in UTF-8", "convert it, for example with iconv")
    return lines


def _numbered(lines: Sequence[str]) -> list[tuple[int, str]]:
    """The lines that are not blank, with their numbers."""
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _decode(path: Path, number: int, line: str, kind: type[T], expected: str) -> T:
    try:
        return msgspec.json.decode(line, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise DataError(f"{path}:{number}: {error}", f"a line is {expected}") from error


def _texts(turns: Sequence[Turn | str]) -> tuple[str, ...]:
    return tuple(turn if isinstance(turn, str) else turn.text for turn in turns)
