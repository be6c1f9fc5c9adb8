"""What the system allots to this process: a share of the processors' time and of memory, by its control groups.

In a container that may use the time of two processors out of sixty-four, and one gigabyte out of many, the machine's
own figures are wrong.
"""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

GROUPS, OWN_GROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def time_share() -> float:
    """How many processors' time this process may use, by its control groups and those above; inf: no limit."""
    return min(map(_quota, _groups("cpu")), default=math.inf)


def memory() -> float:
    """How many bytes this process may use: the machine's memory, or what a control group leaves of it; inf: unknown."""
    limits = list(map(_limit, _groups("memory")))
    with suppress(AttributeError, ValueError, OSError):  # Windows has no sysconf
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(limits, default=math.inf)


def _groups(controller: str) -> Iterator[Path]:
    """The folders of this process's control groups and those above them, of version 2 and of this controller's."""
    try:
        lines = OWN_GROUP.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if controllers and controller not in controllers.split(","):
            continue
        root = GROUPS / controllers if controllers else GROUPS
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder == root.parent:
                break
            yield folder


def _limit(group: Path) -> float:
    """The most bytes of one control group, of version 2 or 1."""
    for name in ("memory.max", "memory.limit_in_bytes"):
        try:
            return int((group / name).read_text())
        except (OSError, ValueError):  # "max"
            continue
    return math.inf


def _quota(group: Path) -> float:
    """The processors' time of one control group, of version 2 (one file) or 1 (two)."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            quota, period = " ".join((group / name).read_text() for name in names).split()
            if quota.isdecimal():  # else "max" or -1
                return int(quota) / int(period)
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return math.inf
