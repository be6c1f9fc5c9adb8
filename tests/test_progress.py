"""How far a job is, in words and on a terminal."""

import logging
import re
import sys

import pytest

from dialogpt import progress
from dialogpt.progress import Progress


class Clock:
    """A clock that goes when it is told to."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_bytes_are_told_as_megabytes_with_rate_and_time_left(clock: Clock) -> None:
    bar = Progress("extract", 80_000_000, "B")
    clock.now += 4
    bar.advance(12_000_000)
    assert bar.line() == "extract 12/80 MB (15%), 3 MB/s, 0:00:22 left"
    bar.advance(68_500_000)
    assert bar.line() == "extract 80.5/80 MB (100%), 20.1 MB/s"


def test_a_long_job_of_unknown_length(clock: Clock) -> None:
    bar = Progress("read", unit="lines")
    clock.now += 10
    bar.advance(12_345, note="loss 3.1")
    assert bar.line() == "read 12,345 lines, 1,234 lines/s, loss 3.1"
    bar.advance(5)
    assert bar.line().endswith(", loss 3.1"), "a note stays until there is another"


def test_hours_are_told(clock: Clock) -> None:
    bar = Progress("train", 1_000_000, "steps")
    clock.now += 1
    bar.advance(100)
    assert bar.line().endswith("2:46:39 left")


def test_what_a_resumed_job_has_behind_it_does_not_count_for_its_rate(clock: Clock) -> None:
    bar = Progress("train", 1000, "steps")
    bar.start_at(900)
    clock.now += 10
    bar.advance(50)
    assert bar.line() == "train 950/1,000 steps (95%), 5 steps/s, 0:00:10 left"


def test_nothing_done_is_told_too(clock: Clock) -> None:
    assert Progress("import", 0, "B").line() == "import 0 MB, 0 MB/s"
    assert Progress("import", 5, "x").line() == "import 0/5 x (0%), 0 x/s"


def test_away_from_a_terminal_a_line_every_thirty_seconds(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "dialogpt"), Progress("train", 100, "steps") as bar:
        for _ in range(100):
            clock.now += 1
            bar.advance()
    assert [re.search(r"\d+/100", line)[0] for line in caplog.messages] == ["30/100", "60/100", "90/100", "100/100"]  # type: ignore[index]


def test_a_job_that_fails_has_no_last_line(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "dialogpt"), pytest.raises(ValueError, match="bad"), Progress("train", 2):
        raise ValueError("bad")
    assert caplog.messages == []


@pytest.mark.parametrize("unit", ["B", "steps"])
def test_a_terminal_gets_a_bar_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], unit: str
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Progress("train", 100, unit) as bar:
        bar.start_at(10)
        bar.advance(40, "loss 3.1")
    out, err = capsys.readouterr()
    assert out == ""
    assert "train" in err
    assert "loss 3.1" in err
