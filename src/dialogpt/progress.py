"""How far a long job is: a bar with rate and time left on a terminal, a log line every 30 seconds elsewhere."""

import logging
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import ProgressColumn, TaskID

log = logging.getLogger(__name__)
LINE_EVERY_S = 30.0

_listener: Callable[[int], object] | None = None


def report(count: int) -> None:
    """In a task, perhaps in another process than its progress: `count` more is done."""
    if _listener:
        _listener(count)


def listen(listener: Callable[[int], object] | None) -> None:
    """Pass what this process's tasks report to `listener`; None ends that."""
    global _listener
    _listener = listener


class Progress:
    """Counts towards `total` (None: unknown) and shows it on stderr; use as a context manager.

    `unit` names what is counted; "B" is shown as MB.
    """

    def __init__(self, label: str, total: int | None = None, unit: str = "") -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = self._first = 0
        self.note = ""
        self._started = self._last_line = time.monotonic()
        self._bar = _terminal_bar(label, total, unit)

    def __enter__(self) -> Self:
        if self._bar:
            self._bar[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar[0].stop()
        if kind is None:
            log.info("%s", self.line())

    def start_at(self, done: int) -> None:
        """Say that a resumed job has `done` behind it; they do not count for the rate."""
        self.done = self._first = done
        if self._bar:
            bar, task = self._bar
            bar.update(task, completed=done)

    def advance(self, count: int = 1, note: str | None = None) -> None:
        self.done += count
        self.note = self.note if note is None else note
        if self._bar:
            bar, task = self._bar
            bar.update(task, completed=self.done, note=self.note)
        elif time.monotonic() - self._last_line >= LINE_EVERY_S:
            self._last_line = time.monotonic()
            log.info("%s", self.line())

    def reach(self, done: int) -> None:
        """Advance to `done`, unless that is passed already."""
        self.advance(max(min(done, self.total or done) - self.done, 0))

    def line(self) -> str:
        """The state in words: `extract 12.0/80.0 MB (15%), 3.1 MB/s, 0:22 left`."""
        elapsed_s = max(time.monotonic() - self._started, 1e-9)
        rate = (self.done - self._first) / elapsed_s
        scale, unit = (1e6, "MB") if self.unit == "B" else (1, self.unit)
        parts = [f"{self.label} {_number(self.done / scale)}"]
        if self.total:
            parts[0] += f"/{_number(self.total / scale)}"
        parts[0] += f" {unit}".rstrip()
        if self.total:
            parts[0] += f" ({min(self.done / self.total, 1):.0%})"
        parts.append(f"{_number(rate / scale)} {unit}/s")
        if self.total and rate and self.done < self.total:
            left_s = int((self.total - self.done) / rate)
            parts.append(f"{left_s // 3600}:{left_s // 60 % 60:02}:{left_s % 60:02} left")
        return ", ".join([*parts, self.note] if self.note else parts)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def _terminal_bar(label: str, total: int | None, unit: str) -> "tuple[Bar, TaskID] | None":
    """A rich progress bar and its task, or None when stderr is no terminal, or quiet is asked for."""
    if not sys.stderr.isatty() or logging.getLogger("dialogpt").level > logging.INFO:  # --quiet sets it
        return None
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as RichProgress

    amount = [DownloadColumn(), TransferSpeedColumn()] if unit == "B" else [MofNCompleteColumn(), _rate_column(unit)]
    bar = RichProgress(
        TextColumn("{task.description}"), BarColumn(), *amount, TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True), transient=True,
    )  # fmt: skip
    return bar, bar.add_task(label, total=total, note="")


def _rate_column(unit: str) -> "ProgressColumn":
    from rich.progress import ProgressColumn, Task
    from rich.text import Text

    class RateColumn(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{_number(task.speed or 0.0)} {unit}/s")

    return RateColumn()
