"""Files of replies and of references -> segments that belong together, line by line or by id.

Replies: text, a reply a line, or JSONL of `generate`. References: several text files, one reference a line; or JSONL of
evaluation items; or TSV, a context (turns divided by ` EOS `) and then references, each as it is or as `score|text`; a
first line `id<tab>...` or `InstanceID<tab>...` makes the first column ids. A blank reference is no reference.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
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

_A_REPLY = '{"id": ..., "context": [...], "hypothesis": "Hi"}'
_JSON = re.compile(r'\s*\{\s*"')
_SCORE = re.compile(r"\s*-?\d+(?:\.\d+)?\|")
_ENDINGS = re.compile(r"(\.(txt|jsonl|json|tsv|gz|bz2|xz|zst))+$")
_ID_HEADERS = ("id", "instanceid")
_HEADERS = (*_ID_HEADERS, "context", "source")


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
    """Everything that is scored or judged; `dropped` counts by reason what was read and left out."""

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

    `clean` is done to every text before blank references are left out.
    """
    segments = _read_references(refs)
    systems = [_read_system(path, name, segments) for path, name in zip(hyps, _names(hyps), strict=True)]
    dropped: Counter[str] = Counter()
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


def read_replies(hyps: Sequence[Path], refs: Sequence[Path] = ()) -> Inputs:
    """As `read_inputs`, but every segment has its context, and references are not needed.

    Without files of them, the first file of replies that tells its contexts is what the others stand beside. DataError
    where a context is not told, or where two files tell different ones.
    """
    names = _names(hyps)
    segments = _read_references(refs) if refs else _told_segments(hyps)
    systems = [_read_system(path, name, segments) for path, name in zip(hyps, names, strict=True)]
    dropped: Counter[str] = Counter()
    for system in systems:
        if blank := sum(not reply.strip() for reply in system.replies):
            dropped[f"blank replies of {system.name}, which are shown as such"] += blank
    return Inputs(tuple(_in_context(segments, systems)), tuple(systems), dropped)


def _told_segments(paths: Sequence[Path]) -> list[Segment]:
    """The contexts that the first file of replies tells which tells any."""
    for path in paths:
        lines = _lines(path)
        if _JSON.match(lines[0]):
            replies = [(number, _decode(path, number, line, _Reply, _A_REPLY)) for number, line in _numbered(lines)]
            if any(reply.context for _, reply in replies):
                return [
                    Segment(f"{path}:{number}", (), _texts(reply.context), str(reply.id)) for number, reply in replies
                ]
    raise DataError(
        f"{', '.join(map(str, paths))}: no file tells the contexts that its replies answer",
        "give JSONL as `generate --format jsonl` writes it, or --refs with the contexts",
    )


def _in_context(segments: Sequence[Segment], systems: Sequence[System]) -> Iterator[Segment]:
    """The segments with their contexts, their own or, where they tell none, a system's."""
    for place, segment in enumerate(segments):
        context, teller = segment.context, segment.place
        for system in systems:
            told = system.contexts[place] if system.contexts else ()
            if told and not context:
                context, teller = told, system.name
            elif told and _spaced(told) != _spaced(context):
                raise DataError(
                    f"{system.name}: reply {place + 1} answers {_spaced(told)!r}, by {teller} it is "
                    f"{_spaced(context)!r}",
                    "only replies to the same contexts can be compared",
                )
        if not any(turn.strip() for turn in context):
            raise DataError(
                f"{segment.place}: no context",
                "give replies as `generate --format jsonl` writes them, or --refs with the contexts",
            )
        yield Segment(segment.place, segment.references, context, segment.id)


def _spaced(turns: Sequence[str]) -> str:
    return " / ".join(" ".join(turn.split()) for turn in turns)


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


def _read_references(paths: Sequence[Path]) -> list[Segment]:
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


def _read_system(path: Path, name: str, segments: Sequence[Segment]) -> System:
    lines = _lines(path)
    if not _JSON.match(lines[0]):
        _same_count(path, len(lines), segments)
        return System(name, tuple(lines))
    replies = [_decode(path, number, line, _Reply, _A_REPLY) for number, line in _numbered(lines)]
    order = _order(path, [str(reply.id) for reply in replies], segments)
    matched = [replies[place] for place in order]
    return System(name, tuple(reply.hypothesis for reply in matched), tuple(_texts(reply.context) for reply in matched))


def _order(path: Path, ids: Sequence[str], segments: Sequence[Segment]) -> Sequence[int]:
    """Which reply belongs to each segment: by ids where both files have them, else line by line."""
    wanted = [segment.id for segment in segments]
    numbered = list(ids) == [str(number) for number in range(1, len(ids) + 1)]  # what `generate` does without ids
    _same_count(path, len(ids), segments)
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


def _same_count(path: Path, count: int, segments: Sequence[Segment]) -> None:
    if count != len(segments):
        others = "the references have" if segments[0].references else f"{segments[0].place.rpartition(':')[0]} has"
        raise DataError(
            f"{path} has {count} replies, {others} {len(segments)} lines",
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
