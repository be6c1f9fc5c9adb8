"""A file of judgements -> `Judged`: a study of `judge`, a TSV of ratings as DSTC-7 published it, or JSONL of Judgement.

The first line of a TSV names its columns: JudgeID, InstanceID, SystemID, and one for each criterion. Malformed
lines and invalid ratings are named by file and line; nothing is left out without being counted.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec

from dialogpt.errors import DataError
from dialogpt.evaluation.human import RATINGS, Judgement, Kind
from dialogpt.evaluation.human.store import Store
from dialogpt.files import decode_text, open_input, read_lines

COLUMNS = ("judgeid", "instanceid", "systemid")
PAIR_VALUES = (-1, 0, 1)
SQLITE = b"SQLite format 3"
NAMED = 5  # most lines that one message names
FORMS = "a study of `dialogpt judge`, a TSV with JudgeID, InstanceID, SystemID and criteria, or JSONL of judgements"


@dataclass(frozen=True, slots=True)
class Judged:
    """All judgements of a file, with attention checks set apart.

    A pair's systems are in the order of `systems`. `dropped` counts by reason what was read and left out.
    """

    kind: Kind
    systems: tuple[str, ...]
    criteria: tuple[str, ...]
    judgements: tuple[Judgement, ...]
    checks: tuple[Judgement, ...] = ()
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def values(self) -> tuple[int, ...]:
        return RATINGS if self.kind == "ratings" else PAIR_VALUES


class _Placed(NamedTuple):
    """A judgement and where it stands, for errors."""

    place: str
    judgement: Judgement


def read_judgements(path: Path) -> Judged:
    """Read a file of any of the three forms; DataError names the file, and the lines that are wrong."""
    with open_input(path) as file:
        is_study = file.read(len(SQLITE)) == SQLITE
    if is_study:
        return _study(path)
    lines = [(number, decode_text(line, path, number)) for number, line in enumerate(read_lines(path), 1)]
    lines = [(number, line) for number, line in lines if line.strip()]
    if not lines:
        raise DataError(f"{path} is empty", f"name {FORMS}")
    dropped: Counter[str] = Counter()
    if lines[0][1].lstrip().startswith("{"):
        placed = _json_judgements(path, lines)
    else:
        placed = _tsv_judgements(path, lines, dropped)
    return judged(path, list(placed), dropped)


def judged(
    path: Path,
    placed: Sequence[tuple[str, Judgement]],
    dropped: Counter[str],
    systems: Sequence[str] = (),
    criteria: Sequence[str] = (),
) -> Judged:
    """The judgements, each with its place, put in order; DataError if they do not compare at least two systems.

    `systems` and `criteria` are in the order wanted; those not named follow in the order of the judgements.
    """
    kinds = {len(judgement.systems) for _, judgement in placed}
    wrong = [place for place, judgement in placed if len(judgement.systems) not in (1, 2) or _same_twice(judgement)]
    if wrong:
        raise DataError(
            f"{_named(wrong)}: a judgement is about one system or two", '"systems": ["A"] or "systems": ["A", "B"]'
        )
    if len(kinds) > 1:
        raise DataError(f"{path} holds ratings and comparisons of pairs", "put each into a file of its own")
    kind: Kind = "ratings" if kinds == {1} else "pairs"
    allowed = RATINGS if kind == "ratings" else PAIR_VALUES
    good = [each for _, each in placed if each.passed is not None or each.value in allowed]
    if other := len(placed) - len(good):
        dropped[f"judgements that are not of {', '.join(map(str, allowed))}, left out"] += other
    kept = [each for each in good if each.passed is None]
    order = tuple(dict.fromkeys([*systems, *(system for each in kept for system in each.systems)]))
    _say_if_nothing(path, kept, order, dropped)
    found = dict.fromkeys(each.criterion for each in kept)
    named = tuple(name for name in dict.fromkeys([*criteria, *found]) if name in found)
    for name in criteria:
        if name not in found:
            dropped[f"criterion without a judgement, left out: {name}"] += 1
    _count_repeated(kept, dropped)
    oriented = tuple(_oriented(each, order) for each in kept)
    return Judged(kind, order, named, oriented, tuple(each for each in good if each.passed is not None), dropped)


def _say_if_nothing(path: Path, kept: Sequence[Judgement], systems: Sequence[str], dropped: Mapping[str, int]) -> None:
    if not kept:
        left_out = "".join(f"; {count} {reason}" for reason, count in dropped.items())
        raise DataError(f"{path} holds no judgement", f"let `dialogpt judge` ask some judges first{left_out}")
    seen = {system for each in kept for system in each.systems}
    if len(seen) < 2:
        raise DataError(
            f"{path}: all judgements are about one system, {seen.pop()!r}", "a comparison needs at least two"
        )


def _same_twice(judgement: Judgement) -> bool:
    return len(set(judgement.systems)) < len(judgement.systems)


def _oriented(judgement: Judgement, order: Sequence[str]) -> Judgement:
    """The same judgement with its systems in order; which was shown first stays recorded."""
    if len(judgement.systems) == 1 or order.index(judgement.systems[0]) < order.index(judgement.systems[1]):
        return judgement
    return msgspec.structs.replace(
        judgement, systems=judgement.systems[::-1], value=-judgement.value, swapped=not judgement.swapped
    )


def _count_repeated(kept: Iterable[Judgement], dropped: Counter[str]) -> None:
    times = Counter((each.judge, each.item, each.criterion, frozenset(each.systems)) for each in kept)
    if repeated := sum(times.values()) - len(times):
        dropped["repeated judgements by the same judge, which count, but not in the agreement"] += repeated


def _study(path: Path) -> Judged:
    """A study's file."""
    dropped: Counter[str] = Counter()
    with Store.open(path) as study:
        settings = study.settings
        if settings.ties_left_out:
            dropped["pairs of the same reply twice, which nobody was asked about, left out"] += settings.ties_left_out
        placed = [(str(path), judgement) for judgement in study.judgements()]
    return judged(path, placed, dropped, settings.systems, settings.criteria)


def _json_judgements(path: Path, lines: Iterable[tuple[int, str]]) -> Iterator[_Placed]:
    decoder = msgspec.json.Decoder(Judgement)
    for number, line in lines:
        try:
            found = decoder.decode(line)
            if not all(map(str.strip, (found.judge, found.item, found.criterion, *found.systems))):
                raise ValueError("a judge, item, criterion or system has no name")
            yield _Placed(f"{path}:{number}", found)
        except (ValueError, RecursionError) as error:
            example = '{"judge": "Ann", "item": "1", "criterion": "relevance", "systems": ["A", "B"], "value": 1}'
            raise DataError(f"{path}:{number}: not a judgement: {error}", f"a line is {example}") from error


def _tsv_judgements(path: Path, lines: Sequence[tuple[int, str]], dropped: Counter[str]) -> Iterator[_Placed]:
    """A judgement for each cell of a criterion; blank cells and invalid ratings are counted."""
    header = [name.strip().casefold() for name in lines[0][1].split("\t")]
    criteria = _criteria(path, header)
    ids = [header.index(column) for column in COLUMNS]
    rows = [(number, line.split("\t")) for number, line in lines[1:]]
    wrong = [
        f"{path}:{number}"
        for number, cells in rows
        if len(cells) != len(header) or not all(cells[place].strip() for place in ids)
    ]
    if wrong:
        raise DataError(
            f"{_named(wrong)}: not {len(header)} cells with judge, instance and system",
            "every line has the first one's columns, separated by tabs",
        )
    no_ratings: list[str] = []
    for number, cells in rows:
        judge, item, system = (cells[place].strip() for place in ids)
        for place, criterion in criteria:
            value = _rating(cells[place])
            if value is not None:
                yield _Placed(
                    f"{path}:{number}",
                    Judgement(judge=judge, item=item, criterion=criterion, systems=(system,), value=value),
                )
            elif cells[place].strip():
                no_ratings.append(f"{path}:{number}")
            else:
                dropped["blank ratings, left out"] += 1
    if no_ratings:
        dropped[f"ratings that are not whole numbers from 1 to 5, left out: {_named(no_ratings)}"] += len(no_ratings)


def _criteria(path: Path, header: Sequence[str]) -> list[tuple[int, str]]:
    """The columns other than ids, with their names."""
    if missing := [column for column in COLUMNS if column not in header]:
        raise DataError(f"{path}: its first line has no column {missing[0]}", f"name {FORMS}")
    found = [(place, name) for place, name in enumerate(header) if name not in COLUMNS]
    if not found:
        raise DataError(
            f"{path} has no column for a criterion", "such as Relevance, after JudgeID, InstanceID, SystemID"
        )
    if twice := [name or "(blank)" for name, count in Counter(header).items() if count > 1 or not name]:
        raise DataError(f"{path}: column {twice[0]} has no name of its own", "columns need different names")
    return found


def _rating(cell: str) -> int | None:
    """The rating, even if a spreadsheet wrote 3.0; None if it is not one."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return int(value) if value in RATINGS else None


def _named(places: Sequence[str]) -> str:
    """The first places, and how many more."""
    more = f" and {len(places) - NAMED} more" if len(places) > NAMED else ""
    return ", ".join(places[:NAMED]) + more
