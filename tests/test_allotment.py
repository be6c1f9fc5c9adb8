"""What control groups allot, of both versions, as the system lays them out."""

import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dialogpt import allotment
from dialogpt.chat.serving import WorkerConfig
from dialogpt.chat.serving.serve import cache_bytes

Groups = Callable[[str, dict[str, str]], None]
GB = 10**9


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Groups:
    """Lay out control groups: what /proc/self/cgroup says, and the files below /sys/fs/cgroup."""

    def lay(own: str, files: dict[str, str]) -> None:
        (tmp_path / "own").write_text(own, encoding="utf-8")
        for name, content in files.items():
            (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "cgroup" / name).write_text(content, encoding="utf-8")

    monkeypatch.setattr(allotment, "OWN_GROUP", tmp_path / "own")
    monkeypatch.setattr(allotment, "GROUPS", tmp_path / "cgroup")
    return lay


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
def test_the_share_of_the_processors(groups: Groups, own: str, files: dict[str, str], share: float) -> None:
    groups(own, files)
    assert allotment.time_share() == share


@pytest.mark.parametrize(
    "own, files, limit",
    [
        ("0::/\n", {"memory.max": "200000000\n"}, 200_000_000),
        ("0::/\n", {"memory.max": "max\n"}, 4 * GB),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": "150000000\n"}, 150_000_000),
        ("4:memory:/x\n1:cpu:/y\n", {"memory/x/memory.limit_in_bytes": "9223372036854771712"}, 4 * GB),
        ("4:memory:/x\n", {"memory/memory.limit_in_bytes": "1000000000"}, GB),
        ("3:cpu:/x\n", {"cpu/x/memory.limit_in_bytes": "1"}, 4 * GB),
        ("0::/\n", {"memory.max": "much\n"}, 4 * GB),
    ],
    ids=["version 2", "no limit", "of a group above", "version 1, no limit", "of a container", "another's", "damaged"],
)
def test_memory(monkeypatch: pytest.MonkeyPatch, groups: Groups, own: str, files: dict[str, str], limit: int) -> None:
    monkeypatch.setattr("os.sysconf", {"SC_PHYS_PAGES": GB, "SC_PAGE_SIZE": 4}.get, raising=False)
    groups(own, files)
    assert allotment.memory() == limit


def test_without_control_groups_there_is_no_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(allotment, "OWN_GROUP", tmp_path / "none")
    assert allotment.time_share() == math.inf
    if hasattr(os, "sysconf"):
        assert GB / 10 < allotment.memory() < math.inf
    monkeypatch.delattr("os.sysconf", raising=False)
    assert allotment.memory() == math.inf


@pytest.mark.parametrize(
    "memory, asked, held", [(GB, None, 125 * 10**6), (64 * GB, None, 512 * 10**6), (GB, 700, 700 * 10**6)]
)
def test_caches_leave_a_small_machine_room(
    monkeypatch: pytest.MonkeyPatch, memory: float, asked: int | None, held: int
) -> None:
    monkeypatch.setattr(allotment, "memory", lambda: memory)
    assert cache_bytes(WorkerConfig(cache_mb=asked)) == held
