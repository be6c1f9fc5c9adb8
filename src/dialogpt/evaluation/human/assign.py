"""Which item a judge is given next: rows of a study's tables -> an assignment. For use inside a transaction.

Items that already have most judges come first, so that items become complete early; among equals the order is random,
a different one for each judge. No item has more judges than the study wants: reserved ones count until they expire.
"""

import random
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from dialogpt.evaluation.human import checks
from dialogpt.evaluation.human.study import Item, Settings

RESERVED_S = 1800.0

_COLUMNS = "number, judge, item, position, swapped, asked_for, reserved, answered"
# An item's assignments that count: those answered, and those reserved not long ago.
_COUNTS = "asked_for IS NULL AND (answered NOT NULL OR reserved > :since)"


class Assignment(NamedTuple):
    """A row of the table; times in seconds since 1970, `asked_for` is what a check asks for."""

    number: int
    judge: int
    item: int
    position: int
    swapped: bool
    asked_for: int | None
    reserved: float
    answered: float | None


class Desk:
    """Gives out the items of a study."""

    def __init__(self, db: sqlite3.Connection, settings: Settings) -> None:
        self._db, self._settings = db, settings

    def find(self, judge: int, number: int) -> Assignment | None:
        """The judge's assignment of that number."""
        return self._one("judge = ? AND number = ?", judge, number)

    def last_answered(self, judge: int) -> Assignment | None:
        return self._one("judge = ? AND answered NOT NULL ORDER BY position DESC LIMIT 1", judge)

    def give(self, judge: int, now: float, items: Sequence[Item]) -> Assignment | None:
        """What waits for the judge's answer, or a new assignment, reserved from `now` on; None when there is none."""
        waiting = self._one("judge = ? AND answered IS NULL", judge)
        if waiting and self.may_keep(waiting, now):
            self._db.execute("UPDATE assignments SET reserved = ? WHERE number = ?", (now, waiting.number))
            return waiting
        if waiting:
            self._db.execute("DELETE FROM assignments WHERE number = ?", (waiting.number,))
        open_items = self._open(judge, now)
        if not open_items:
            return None
        position = self._count("judge = ?", judge)
        settings = self._settings
        if checks.is_check(position, settings.check_every, settings.seed, judge):
            number = self._check_on(judge, position, items)
            asked_for = checks.drawn_answer(settings.kind, judge * len(items) + number, settings.seed)
            swapped = self._draw("check side", judge, position).random() < 0.5
            return self._insert(judge, number, position, swapped, asked_for, now)
        most = max(given for _, given in open_items)
        number = self._draw("item", judge, position).choice([item for item, given in open_items if given == most])
        return self._insert(judge, number, position, self._side(number, now), None, now)

    def may_keep(self, waiting: Assignment, now: float) -> bool:
        """Whether the judge may still answer: an expired item may have gone to others."""
        if waiting.asked_for is not None or waiting.reserved > now - RESERVED_S:
            return True
        others = self._count(
            f"item = :item AND judge <> :judge AND {_COUNTS}",
            {"item": waiting.item, "judge": waiting.judge, "since": now - RESERVED_S},
        )
        return others < self._settings.judges

    def share(self, judge: int, now: float) -> tuple[int, int, int]:
        """How many items the judge has answered, how many there are for the judge, how many others hold now."""
        answered = self._count("judge = ? AND answered NOT NULL", judge)
        checked = self._count("judge = ? AND answered NOT NULL AND asked_for NOT NULL", judge)
        waiting = self._one("judge = ? AND answered IS NULL", judge)
        waits = waiting is not None and self.may_keep(waiting, now)
        real = answered - checked + len(self._open(judge, now))
        real += waiting is not None and waits and waiting.asked_for is None
        settings = self._settings
        total = checks.with_checks(real, settings.check_every, settings.seed, judge)
        held = len(self._open(judge, float("inf"))) - len(self._open(judge, now))
        return answered, max(total, answered + waits), held

    def answers(self) -> dict[int, int]:
        """The number of answers of each item that has any, without checks."""
        rows = self._db.execute(
            "SELECT item, count(*) FROM assignments WHERE asked_for IS NULL AND answered NOT NULL GROUP BY item"
        )
        return dict(rows.fetchall())

    def _open(self, judge: int, now: float) -> list[tuple[int, int]]:
        """The items that the judge may be given, each with how many judges it has."""
        rows = self._db.execute(
            "SELECT items.number, count(assignments.number) AS given FROM items"
            f" LEFT JOIN assignments ON item = items.number AND {_COUNTS}"
            " WHERE items.number NOT IN (SELECT item FROM assignments WHERE judge = :judge AND asked_for IS NULL)"
            " GROUP BY items.number HAVING given < :judges",
            {"judge": judge, "judges": self._settings.judges, "since": now - RESERVED_S},
        )
        return rows.fetchall()

    def _check_on(self, judge: int, position: int, items: Sequence[Item]) -> int:
        """An item to make a check of: one that the judge has already judged, so that no item is spoilt.

        If there is a choice, it is not the last one, nor from a context that was a check before.
        """
        rows = self._db.execute(
            "SELECT item, asked_for FROM assignments WHERE judge = ? ORDER BY position", (judge,)
        ).fetchall()
        used = {items[item].context for item, asked_for in rows if asked_for is not None}
        judged: list[int] = [item for item, asked_for in rows if asked_for is None]
        fresh = [item for item in judged if items[item].context not in used] or judged
        return self._draw("check", judge, position).choice(fresh[:-1] or fresh)

    def _side(self, item: int, now: float) -> bool:
        """Whether the second system's reply comes first: whichever was rarer so far for this item, else at random."""
        rows = self._db.execute(
            f"SELECT swapped FROM assignments WHERE item = :item AND {_COUNTS}",
            {"item": item, "since": now - RESERVED_S},
        ).fetchall()
        if self._settings.kind == "ratings":
            return False
        more = sum(1 if swapped else -1 for (swapped,) in rows)
        return self._draw("side", item, len(rows)).random() < 0.5 if not more else more < 0

    def _insert(
        self, judge: int, item: int, position: int, swapped: bool, asked_for: int | None, now: float
    ) -> Assignment:
        swapped = swapped and self._settings.kind == "pairs"
        row = self._db.execute(
            "INSERT INTO assignments (judge, item, position, swapped, asked_for, reserved) VALUES (?, ?, ?, ?, ?, ?)",
            (judge, item, position, swapped, asked_for, now),
        )
        return Assignment(int(row.lastrowid or 0), judge, item, position, swapped, asked_for, now, None)

    def _draw(self, *what: str | int) -> random.Random:
        return random.Random("/".join(map(str, (self._settings.seed, *what))))

    def _one(self, where: str, *values: int) -> Assignment | None:
        row = self._db.execute(f"SELECT {_COLUMNS} FROM assignments WHERE {where}", values).fetchone()
        return Assignment(*row) if row else None

    def _count(self, where: str, *values: int | dict[str, float]) -> int:
        named = values[0] if values and isinstance(values[0], dict) else values
        row = self._db.execute(f"SELECT count(*) FROM assignments WHERE {where}", named).fetchone()
        return int(row[0])
