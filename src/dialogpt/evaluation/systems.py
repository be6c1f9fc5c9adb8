"""Files of replies -> systems, whose replies belong to segments line by line or by id.

A file is text, a reply a line; JSONL of `generate`; or a TSV that holds several systems, with a first line that names
SystemID, InstanceID and Response.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from dialogpt.errors import DataError, UsageError
from dialogpt.evaluation.segments import Segment, System, are_json, decode, lines_of, numbered, texts_of
from dialogpt.session import Turn

_A_REPLY = '{"id": ..., "context": [...], "hypothesis": "Hi"}'
_SAME_IDS = "were the replies made from these contexts? Ids must be the same, or absent"
_ENDINGS = re.compile(r"(\.(txt|jsonl|json|tsv|gz|bz2|xz|zst))+$")
_SYSTEMS_HEADER = ("systemid", "instanceid", "response")


class _Reply(msgspec.Struct):
    """A line of replies in JSONL."""

    hypothesis: str
    context: tuple[Turn | str, ...] = ()
    id: str | int = ""


def read_systems(
    paths: Sequence[Path], segments: list[Segment], dropped: Counter[str]
) -> tuple[list[Segment], list[System]]:
    """The systems of all files, and the segments that all of them have."""
    files = {path: lines_of(path) for path in paths}
    tables = {path: _table(path, lines) for path, lines in files.items() if _is_table(lines)}
    kept = _of_tables(tables, segments, dropped) if tables else list(range(len(segments)))
    systems: list[System] = []
    for path, name in zip(paths, names_of(paths), strict=True):
        if path in tables:
            for system, replies in tables[path].items():
                systems.append(System(system, tuple(replies[segments[place].id] for place in kept)))
        else:
            systems.append(read_system(path, name, files[path], segments).at(kept))
    if twice := [name for name, count in Counter(system.name for system in systems).items() if count > 1]:
        raise DataError(f"two systems are called {twice[0]!r}", "rename the file, or the system in its file")
    return [segments[place] for place in kept], systems


def _header(lines: Sequence[str]) -> list[str]:
    return [cell.strip().casefold() for cell in lines[0].split("\t")]


def _is_table(lines: Sequence[str]) -> bool:
    return set(_SYSTEMS_HEADER) <= set(_header(lines))


def _table(path: Path, lines: Sequence[str]) -> dict[str, dict[str, str]]:
    """Each system's replies by id, of a TSV that holds several systems."""
    header = _header(lines)
    system_at, id_at, reply_at = (header.index(name) for name in _SYSTEMS_HEADER)
    found: dict[str, dict[str, str]] = {}
    for number, line in numbered(lines[1:]):
        cells = line.split("\t")
        if len(cells) != len(header) or not cells[system_at].strip() or not cells[id_at].strip():
            raise DataError(
                f"{path}:{number + 1}: not {len(header)} cells with system and instance",
                "every line has the first one's columns, separated by tabs",
            )
        replies = found.setdefault(cells[system_at].strip(), {})
        if (name := cells[id_at].strip()) in replies:
            raise DataError(
                f"{path}:{number + 1}: a second reply to {name!r} of one system", "give one reply per context"
            )
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
        raise DataError(
            f"{path} identifies contexts by ids, but the references do not", "give references with ids of their own"
        )
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


def read_system(path: Path, name: str, lines: Sequence[str], segments: Sequence[Segment]) -> System:
    if not are_json(lines):
        _same_count(path, len(lines), segments)
        return System(name, tuple(lines))
    replies = [decode(path, number, line, _Reply, _A_REPLY) for number, line in numbered(lines)]
    order = _order(path, [str(reply.id) for reply in replies], segments)
    matched = [replies[place] for place in order]
    return System(
        name, tuple(reply.hypothesis for reply in matched), tuple(texts_of(reply.context) for reply in matched)
    )


def _order(path: Path, ids: Sequence[str], segments: Sequence[Segment]) -> Sequence[int]:
    """Which reply belongs to each segment: by ids where both files have them, else line by line."""
    wanted = [segment.id for segment in segments]
    numbered = list(ids) == [str(number) for number in range(1, len(ids) + 1)]  # what `generate` does without ids
    if ids == wanted or numbered or not any(wanted) or not any(ids):
        _same_count(path, len(ids), segments)
        return range(len(ids))
    places = {name: place for place, name in enumerate(ids)}
    if len(places) < len(ids) or len(set(wanted)) < len(wanted):
        twice = next(name for name, count in Counter([*ids] if len(places) < len(ids) else wanted).items() if count > 1)
        raise DataError(f"{path}: id {twice!r} occurs twice in it or in the references", "ids must differ")
    for segment in segments:
        if segment.id not in places:
            raise DataError(f"{path} has no reply with id {segment.id!r}, which stands at {segment.place}", _SAME_IDS)
    if more := places.keys() - set(wanted):
        raise DataError(f"{_counts(path, len(ids), segments)}, and none with id {min(more)!r}", _SAME_IDS)
    return [places[name] for name in wanted]


def _same_count(path: Path, count: int, segments: Sequence[Segment]) -> None:
    if count != len(segments):
        raise DataError(
            _counts(path, count, segments),
            "replies and references must match line by line; a blank line is an empty reply",
        )


def _counts(path: Path, count: int, segments: Sequence[Segment]) -> str:
    others = "the references have" if segments[0].references else f"{segments[0].place.rpartition(':')[0]} has"
    return f"{path} has {count} replies, {others} {len(segments)} lines"


def names_of(paths: Sequence[Path]) -> list[str]:
    """What to call the systems: their files' names without endings, or the whole paths where these are the same."""
    if len({path.resolve() for path in paths}) < len(paths):
        raise UsageError("the same file of replies is given twice", "each file is a system of its own")
    stems = [_ENDINGS.sub("", path.name) or path.name for path in paths]
    return stems if len(set(stems)) == len(stems) else [str(path) for path in paths]


def told_segments(paths: Sequence[Path], *, needed: bool = True) -> list[Segment]:
    """The contexts of the first file of replies that includes any.

    If none does and none are `needed`, the segments are those of the first file, without contexts.
    """
    files = {path: lines_of(path) for path in paths}
    segments = [_bare_segments(path, lines) for path, lines in files.items()]
    for several in segments:
        if any(segment.context for segment in several):
            return several
    if needed or any(map(_is_table, files.values())):
        raise DataError(
            f"{', '.join(map(str, paths))}: no file includes the contexts that its replies answer",
            "give JSONL as `generate --format jsonl` writes it, or --refs with the contexts",
        )
    return segments[0]


def _bare_segments(path: Path, lines: Sequence[str]) -> list[Segment]:
    """What a file of replies says about its segments: how many, and in JSONL their contexts and ids."""
    if not are_json(lines):
        return [Segment(f"{path}:{number}", ()) for number in range(1, len(lines) + 1)]
    replies = [(number, decode(path, number, line, _Reply, _A_REPLY)) for number, line in numbered(lines)]
    return [Segment(f"{path}:{number}", (), texts_of(reply.context), str(reply.id)) for number, reply in replies]
