"""A study in the terminal, or in a pipe: an item, then a line for each criterion; `<` goes back by one, `q` ends.

An item's answers are kept as soon as all its criteria have one. An invalid answer is asked for again.
"""

import logging
import sys
import time
from collections.abc import Sequence

from dialogpt.evaluation.human import RATINGS
from dialogpt.evaluation.human.store import Judge, Shown, Store, TooLate
from dialogpt.evaluation.human.study import Question, questions
from dialogpt.process import printable

log = logging.getLogger(__name__)

PAIR_KEYS = {"a": 1, "t": 0, "b": -1}  # as `Shown.values`
RATING_KEYS = {str(rating): rating for rating in RATINGS}
BACK, QUIT = "<", "q"


def ask(store: Store, name: str) -> None:
    """Ask this judge, new or known, until there is nothing more to ask, or the judge or the input ends."""
    judge = store.judge_named(name) or store.add_judge(name)
    screen = Screen(store)
    shown = store.next_item(judge)
    if shown:
        screen.say(screen.instructions())
    while shown:
        started = time.monotonic()
        screen.show(shown, store.progress(judge).total)
        try:
            answer = screen.answers(shown)
        except KeyboardInterrupt:
            screen.say("")
            break
        if answer == QUIT:
            break
        if answer == BACK:
            shown = store.previous_item(judge) or shown
            continue
        assert isinstance(answer, dict)
        shown = _next(store, judge, shown, answer, time.monotonic() - started)
    if not shown:
        held = store.progress(judge).held
        screen.say(
            "That is all. Thank you!" if not held else f"That is all for now; other judges are working on {held} items."
        )


def _next(store: Store, judge: Judge, shown: Shown, answer: dict[str, int], seconds: float) -> Shown | None:
    try:
        store.answer(judge, shown.assignment, answer, seconds)
    except TooLate as error:
        log.warning("%s", error)
    return store.next_item(judge)


class Screen:
    """Shows items and reads answers, a line each, on any terminal."""

    def __init__(self, store: Store) -> None:
        from rich.console import Console

        self._console = Console(highlight=False, emoji=False, soft_wrap=not sys.stdout.isatty())
        self._pairs = store.settings.kind == "pairs"
        self._keys = PAIR_KEYS if self._pairs else RATING_KEYS
        self._questions: Sequence[Question] = questions(store.settings)

    def instructions(self) -> str:
        keys = "a, b, or t for a tie" if self._pairs else "1 (worst) to 5 (best)"
        meanings = [f"  {question.criterion}: {question.meaning}" for question in self._questions if question.meaning]
        return "\n".join([f"Answer with {keys}; {BACK} goes back by one, {QUIT} ends, answers are kept.", *meanings])

    def say(self, text: str, style: str = "") -> None:
        self._console.print(printable(text), style=style, markup=False)

    def show(self, shown: Shown, total: int) -> None:
        """The context as a list of turns, and what is to be judged."""
        self._console.rule() if self._console.is_terminal else self.say("")
        self.say(f"{shown.position + 1} of {total}", "dim")
        for place, turn in enumerate(shown.turns):
            self.say(f"  {'-' if place % 2 == 0 else '='} {turn}")
        for label, reply in zip("AB" if self._pairs else ["reply"], shown.replies, strict=True):
            self.say(f"{label}: {reply or '(no reply)'}", "bold")

    def answers(self, shown: Shown) -> dict[str, int] | str:
        """A value for each criterion, or BACK or QUIT."""
        found: dict[str, int] = {}
        for question in self._questions:
            typed = self._line(question, shown)
            while typed not in (*self._keys, BACK, QUIT):
                self.say(f"{typed!r} is not an answer: {', '.join(self._keys)}, {BACK} or {QUIT}")
                typed = self._line(question, shown)
            if typed in (BACK, QUIT):
                return typed
            found[question.criterion] = self._keys[typed]
        return found

    def _line(self, question: Question, shown: Shown) -> str:
        """What is typed, in small letters; QUIT where the input ends."""
        before = [key for key, value in self._keys.items() if shown.values.get(question.criterion) == value]
        self._console.print(
            f"{question.text} [{'/'.join(self._keys)}]{f' (was {before[0]})' if before else ''} ", end="", markup=False
        )
        line = sys.stdin.readline()
        if not line or not sys.stdin.isatty():
            self._console.print()  # the end of input does not end the line
        return line.strip().casefold() if line else QUIT
