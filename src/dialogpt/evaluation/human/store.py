"""A study's one file: SQLite with its settings, items, judges, what was given to whom, and what they said.

Several threads and processes may use the file at once. When a call returns, its change is on disk. An item given to a
judge is reserved for half an hour; then others may have it, as long as it is not answered.
"""

import secrets
import sqlite3
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from dialogpt.artifact import atomic_file
from dialogpt.errors import DataError, UsageError
from dialogpt.evaluation.human import RATINGS, Judgement, checks
from dialogpt.evaluation.human.assign import Assignment, Desk
from dialogpt.evaluation.human.study import Settings, Study
from dialogpt.evaluation.human.tables import connect, read_items, read_settings, unusable, write_study

LONGEST_NAME = 80
LONGEST_S = 86_400.0


class TooLate(DataError):
    """An answer that comes too late."""


class NameTaken(UsageError):
    """Somebody already judges under that name."""


class Judge(NamedTuple):
    """A judge; nobody else knows the token."""

    number: int
    name: str
    token: str


class Shown(NamedTuple):
    """An item as a judge sees it, its replies in the order shown, A and B.

    `position` counts the judge's items from 0. `values` are what the judge said of it, by criterion and relative to
    what is seen: 1 for A, 0 for a tie, -1 for B, or the rating; empty before.
    """

    assignment: int
    position: int
    turns: tuple[str, ...]
    replies: tuple[str, ...]
    values: Mapping[str, int]


class Share(NamedTuple):
    """How far a judge is: `answered` of `total` items, the checks among them.

    Others' answers make the total smaller. `held` are items that others are working on now.
    """

    answered: int
    total: int
    held: int


class State(NamedTuple):
    """How far the study is: answers there and wanted, checks apart, items with all of theirs, judges who answered."""

    answers: int
    wanted: int
    complete: int
    items: int
    judges: int


class Store:
    """An open study; one object may be used by several threads. `clock` gives seconds since 1970."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path, self._clock = path, clock
        self._lock = threading.Lock()
        self._db = connect(path)
        try:
            with self._transaction():
                self.settings: Settings = read_settings(self._db, path)
                self.items = read_items(self._db, path)
        except BaseException:
            self._db.close()
            raise
        self._desk = Desk(self._db, self.settings)

    @classmethod
    def create(cls, path: Path, study: Study, clock: Callable[[], float] = time.time) -> Self:
        """Write a new study and open it; UsageError when there is a file already."""
        if path.exists():
            raise UsageError(f"{path} exists", "name another file, or continue it: leave out --hyps")
        try:
            with atomic_file(path) as partial:
                write_study(partial, study)
        except sqlite3.Error as error:
            raise unusable(path, error) from error
        return cls(path, clock)

    @classmethod
    def open(cls, path: Path, clock: Callable[[], float] = time.time) -> Self:
        """Open a study; DataError for a file that is not one, or that another version wrote."""
        return cls(path, clock)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _transaction(self, how: str = "DEFERRED") -> Iterator[None]:
        """A transaction, all or nothing; SQLite's errors become DataErrors that name the file."""
        try:
            with self._lock:
                self._db.execute(f"BEGIN {how}")
                try:
                    yield
                    self._db.execute("COMMIT")
                finally:
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise unusable(self.path, error) from error

    # Judges

    def add_judge(self, name: str) -> Judge:
        """A new judge; NameTaken if somebody has the name, UsageError for an invalid one."""
        name = tidy_name(name)
        token = secrets.token_urlsafe(16)
        with self._transaction("IMMEDIATE"):
            if self._judge("folded", name.casefold()):
                raise NameTaken(f"somebody judges as {name!r} already", "choose another name, or open your own link")
            row = self._db.execute(
                "INSERT INTO judges (name, folded, token) VALUES (?, ?, ?)", (name, name.casefold(), token)
            )
            return Judge(int(row.lastrowid or 0), name, token)

    def judge_named(self, name: str) -> Judge | None:
        with self._transaction():
            return self._judge("folded", tidy_name(name).casefold())

    def judge_with(self, token: str) -> Judge | None:
        with self._transaction():
            return self._judge("token", token)

    def _judge(self, column: str, value: str) -> Judge | None:
        row = self._db.execute(f"SELECT number, name, token FROM judges WHERE {column} = ?", (value,)).fetchone()
        return Judge(*row) if row else None

    # Items and answers

    def next_item(self, judge: Judge) -> Shown | None:
        """The item that the judge has not answered yet, or a new one, reserved from now on; None when there is none."""
        with self._transaction("IMMEDIATE"):
            given = self._desk.give(judge.number, self._clock(), self.items)
            return self._shown(given) if given else None

    def previous_item(self, judge: Judge) -> Shown | None:
        """The item that the judge answered last, with the answer; None before the first."""
        with self._transaction():
            last = self._desk.last_answered(judge.number)
            return self._shown(last) if last else None

    def answer(self, judge: Judge, assignment: int, values: Mapping[str, int], seconds: float) -> None:
        """Keep what the judge says of an item, relative to what is seen, as `Shown.values`.

        Repeating it changes nothing; another answer to the last item replaces the first one, and the seconds
        add up. TooLate for any other, or when the item has gone to other judges; DataError for wrong values.
        """
        self._check(values, seconds)
        late = ""
        with self._transaction("IMMEDIATE"):
            given = self._desk.find(judge.number, assignment)
            if given is None or not (given.answered or self._desk.may_keep(given, self._clock())):
                late = "this item has gone to another judge, as it waited too long for an answer"
            else:
                sign = -1 if given.swapped else 1
                kept = {criterion: sign * value for criterion, value in values.items()}
                late = self._keep(given, kept, min(seconds, LONGEST_S))
        if late:
            raise TooLate(late, "continue with the next one")

    def _keep(self, given: Assignment, values: Mapping[str, int], seconds: float) -> str:
        """Write an answer; returns why not, or nothing."""
        if given.answered:
            if self._values(given) == values:
                return ""
            last = self._desk.last_answered(given.judge)
            if last is None or last.number != given.number:
                return "only the last answer can be changed"
        self._db.execute(
            "UPDATE assignments SET answered = ifnull(answered, ?), seconds = ifnull(seconds, 0) + ? WHERE number = ?",
            (self._clock(), seconds, given.number),
        )
        self._db.executemany(
            "INSERT OR REPLACE INTO judgements (assignment, criterion, value) VALUES (?, ?, ?)",
            [(given.number, criterion, value) for criterion, value in values.items()],
        )
        return ""

    def _check(self, values: Mapping[str, int], seconds: float) -> None:
        allowed = (1, 0, -1) if self.settings.kind == "pairs" else RATINGS
        if set(values) != set(self.settings.criteria):
            raise DataError(f"an answer to {', '.join(values) or 'nothing'}", self._asked())
        for criterion, value in values.items():
            if type(value) is not int or value not in allowed:
                raise DataError(
                    f"{criterion}: {value!r} is not an answer", f"answer with one of {', '.join(map(str, allowed))}"
                )
        if not 0 <= seconds < float("inf"):
            raise DataError(f"{seconds} seconds", "0 or more")

    def _asked(self) -> str:
        return f"each of {', '.join(self.settings.criteria)} is asked for"

    def _values(self, given: Assignment) -> dict[str, int]:
        rows = self._db.execute("SELECT criterion, value FROM judgements WHERE assignment = ?", (given.number,))
        return dict(rows.fetchall())

    def _shown(self, given: Assignment) -> Shown:
        item = self.items[given.item]
        if given.asked_for is not None:
            item = checks.instructed(item, given.asked_for)
        sign, replies = (-1, item.replies[::-1]) if given.swapped else (1, item.replies)
        values = {criterion: sign * value for criterion, value in self._values(given).items()}
        return Shown(given.number, given.position, item.turns, replies, values)

    # What there is

    def progress(self, judge: Judge) -> Share:
        """How far the judge is."""
        with self._transaction():
            return Share(*self._desk.share(judge.number, self._clock()))

    def state(self) -> State:
        """How far the study is."""
        with self._transaction():
            answers = self._desk.answers()
            judges = self._db.execute("SELECT count(DISTINCT judge) FROM assignments WHERE answered NOT NULL")
            complete = sum(count >= self.settings.judges for count in answers.values())
            wanted = len(self.items) * self.settings.judges
            return State(sum(answers.values()), wanted, complete, len(self.items), judges.fetchone()[0])

    def judgements(self) -> list[Judgement]:
        """All that was said, in the order of answers; the values relative to the systems in the study's order."""
        with self._transaction():
            rows = self._db.execute(
                "SELECT answered, assignments.number, judges.name, item, swapped, asked_for, seconds, criterion, value"
                " FROM judgements JOIN assignments ON assignments.number = assignment"
                " JOIN judges ON judges.number = judge"
            ).fetchall()
        values: dict[int, list[int]] = {}
        for row in rows:
            values.setdefault(row[1], []).append(row[-1])
        order = self.settings.criteria.index
        found = []
        for _, number, name, place, swapped, asked_for, seconds, criterion, value in sorted(
            rows, key=lambda row: (*row[:2], order(row[-2]))
        ):
            item = self.items[place]
            made = Judgement(
                judge=name,
                item=item.context,
                criterion=criterion,
                systems=item.systems,
                value=value,
                swapped=bool(swapped),
                seconds=seconds,
                passed=None if asked_for is None else checks.passed(asked_for, values[number]),
            )
            found.append(made)
        return found


def tidy_name(name: str) -> str:
    """A judge's name, its blanks made single; UsageError for one that is empty, too long, or no text."""
    tidied = " ".join(unicodedata.normalize("NFC", name).split())
    if not tidied or len(tidied) > LONGEST_NAME:
        raise UsageError(f"a name has 1 to {LONGEST_NAME} letters, this one {len(tidied)}", "choose another name")
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Cn") for letter in tidied):
        raise UsageError(f"{tidied!r} is not a name", "use letters, digits and punctuation")
    return tidied
