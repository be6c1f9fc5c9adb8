"""How many threads work: by the variable, the cores, and the share of their time."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from dialogpt import processors
from dialogpt.errors import UsageError


@pytest.fixture(autouse=True)
def _unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIALOGPT_THREADS", raising=False)


@pytest.mark.parametrize("number", ["0", "-1", "many", "\u00b2", "1025"])
def test_a_number_that_is_none(monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    monkeypatch.setenv("DIALOGPT_THREADS", number)
    with pytest.raises(UsageError, match=f"DIALOGPT_THREADS={number} is not a number of threads"):
        processors.threads()


@pytest.mark.parametrize(
    "siblings, cores",
    [(["0-1", "0-1", "2-3", "2-3"], 2), (["0,4", "1,5", "2,6", "3,7"], 4), (["0-1", "0-1", "2", "3"], 3), ([], 4)],
    ids=["two a core", "apart", "fast and slow", "not known"],
)
def test_processors_of_one_core_have_one_thread(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, siblings: Sequence[str], cores: int
) -> None:
    for number, text in enumerate(siblings):
        (tmp_path / f"cpu{number}" / "topology").mkdir(parents=True)
        (tmp_path / f"cpu{number}" / "topology" / "thread_siblings_list").write_text(text + "\n", encoding="utf-8")
    monkeypatch.setattr(processors, "time_share", lambda: math.inf)
    monkeypatch.setattr(processors, "PROCESSORS", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    assert processors.threads() == cores
    monkeypatch.setenv("DIALOGPT_THREADS", "7")
    assert processors.threads() == 7


@pytest.mark.parametrize("share, threads", [(1.5, 2), (0.1, 1), (math.inf, 64)])
def test_there_are_no_more_threads_than_time(monkeypatch: pytest.MonkeyPatch, share: float, threads: int) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(1000, 1064)), raising=False)
    monkeypatch.setattr(processors, "time_share", lambda: share)
    assert processors.threads() == threads
