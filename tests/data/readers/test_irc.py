"""IRC logs of several clients."""

from typing import Any

import pytest

from dialogpt.errors import DataError
from dialogpt.session import Session

Read = Any
IRSSI = """--- Log opened Fri Jan 05 21:14:00 2024
21:14 -!- ann [a@example.org] has joined #tea
21:15 <@ann> hello: <b>
21:15 < bo> صباح الخير
23:59  * ann waves
--- Day changed Sat Jan 06 2024
00:01 <+bo> bye
--- Log closed Sat Jan 06 00:02:00 2024
"""
WEECHAT = """2024-01-05 21:15:07\t-->\tann (a@example.org) has joined #tea
2024-01-05 21:15:08\t@ann\thello: <b>
2024-01-05 21:15:09\tbo\tصباح الخير
2024-01-05 23:59:00\t *\tann waves
2024-01-06 00:01:00\t+bo\tbye
2024-01-06 00:01:01\t--\tbo is now known as bob
"""
HEXCHAT = """**** BEGIN LOGGING AT Fri Jan  5 21:15:07 2024

Jan 05 21:15:07 *\tNow talking on #tea
Jan 05 21:15:08 <ann>\thello: <b>
Jan 05 21:15:09 <bo>\tصباح الخير
Jan 06 00:01:00 <bo>\tbye
"""
ZNC = """[21:15:07] *** Joins: ann (a@example.org)
[21:15:08] <ann> hello: <b>
[21:15:09] <bo> صباح الخير
[21:15:10] * bo sets mode: +o ann
[23:59:00] * ann waves
[00:01:00] <bo> bye
"""


def said(session: Session) -> list[tuple[str, str]]:
    return [(turn.speaker, turn.text) for turn in session.turns]


@pytest.mark.parametrize("log, acts, events", [(IRSSI, 1, 4), (WEECHAT, 1, 2), (HEXCHAT, 0, 2), (ZNC, 1, 2)])
def test_a_log(read: Read, log: str, acts: int, events: int) -> None:
    (session,), dropped = read(log, file="tea.log")
    waves = [("ann", "*waves*")] * acts
    assert said(session) == [("ann", "hello: <b>"), ("bo", "صباح الخير"), *waves, ("bo", "bye")]
    assert dropped == {"service message": events}
    times = [turn.time_s for turn in session.turns]
    assert times == sorted(times)
    assert times[-1] - times[0] == pytest.approx(9960, abs=60)  # from a quarter past nine to a minute past midnight


def test_a_log_that_is_opened_again_another_day(read: Read) -> None:
    again = "--- Log opened Wed Jan 10 21:16:00 2024\n21:16 <ann> back\n--- Jour suivant\n21:17 <bo> yes\n"
    (session,), _ = read(IRSSI + again)
    assert [turn.time_s - session.turns[0].time_s for turn in session.turns[-2:]] == [5 * 86400 + 60, 6 * 86400 + 120]


def test_new_year_of_a_log_without_years(read: Read) -> None:
    log = "**** BEGIN LOGGING AT Sun Dec 31 23:59:00 2023\nDec 31 23:59:00 <ann>\ta\nJan 01 00:01:00 <bo>\tb\n"
    (session,), _ = read(log)
    assert session.turns[1].time_s - session.turns[0].time_s == 120


def test_what_is_left_out_is_counted(read: Read) -> None:
    (session,), dropped = read("[21:15] <ann> hi\n[21:16] <bo> \nodd\n[21:17] <bo> ho\n")
    assert said(session) == [("ann", "hi"), ("bo", "ho")]
    assert dropped == {"message without words": 1, "line that is no message": 1}
    with pytest.raises(DataError, match="no line looks like an IRC log's"):
        read("[21:15] *** Joins: ann\n", "irc")
