"""How many threads work: by the variable, the cores, and what control groups leave of them."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from dialogpt import processors
from dialogpt.errors import UsageError

Groups = Callable[[str, dict[str, str]], None]


@pytest.fixture(autouse=True)
def _unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIALOGPT_THREADS", raising=False)


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Groups:
    """Lay out control groups: what /proc/self/cgroup says, and the files below /sys/fs/cgroup."""

    def lay(own: str, files: dict[str, str]) -> None:
        (tmp_path / "own").write_text(own, encoding="utf-8")
        for name, content in files.items():
            (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "cgroup" / name).write_text(content, encoding="utf-8")

    monkeypatch.setattr(processors, "OWN_GROUP", tmp_path / "own")
    monkeypatch.setattr(processors, "GROUPS", tmp_path / "cgroup")
    return lay


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
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, groups: Groups, siblings: Sequence[str], cores: int
) -> None:
    for number, text in enumerate(siblings):
        (tmp_path / f"cpu{number}" / "topology").mkdir(parents=True)
        (tmp_path / f"cpu{number}" / "topology" / "thread_siblings_list").write_text(text + "\n", encoding="utf-8")
    groups("0::/\n", {"cpu.max": "max 100000\n"})
    monkeypatch.setattr(processors, "PROCESSORS", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    assert processors.threads() == cores
    monkeypatch.setenv("DIALOGPT_THREADS", "7")
    assert processors.threads() == 7


@pytest.mark.parametrize(
    "own, files, share",
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "max 100000\n"}, math.inf),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "150000 100000", "cpu.max": "900000 100000"}, 1.5),
        ("0::/of/the/host\n", {"cpu.max": "50000 100000\n"}, 0.5),
        (
            "3:memory:/x\n2:cpu,cpuacct:/x\n0::/\n",
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "300000", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"}, 3,
        ),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, math.inf),
        ("damaged\n0:no", {"cpu.max": "1 1"}, math.inf),
        ("0::/\n", {"cpu.max": "100000 0"}, math.inf),
    ],
)  # fmt: skip
def test_what_control_groups_leave(groups: Groups, own: str, files: dict[str, str], share: float) -> None:
    groups(own, files)
    assert processors.time_share() == share


def test_there_are_no_more_threads_than_time(monkeypatch: pytest.MonkeyPatch, groups: Groups) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(1000, 1064)), raising=False)
    groups("0::/\n", {"cpu.max": "150000 100000\n"})
    assert processors.threads() == 2
    groups("0::/\n", {"cpu.max": "10000 100000\n"})
    assert processors.threads() == 1
    groups("0::/\n", {"cpu.max": "max 100000\n"})
    assert processors.threads() == 64


def test_without_control_groups_there_is_no_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processors, "OWN_GROUP", tmp_path / "none")
    assert processors.time_share() == math.inf
