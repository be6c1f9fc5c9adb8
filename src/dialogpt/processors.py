"""How many threads work on a CPU: one for each core that this process may use.

Logical processors of one core share its units, and do not make memory faster; in a container that may use the time of
two processors out of sixty-four, more than two threads wait for each other while the system throttles them. So the
system is asked for both. DIALOGPT_THREADS sets the number instead.
"""

import ctypes
import math
import os
import platform
from collections.abc import Iterable
from pathlib import Path

from dialogpt.allotment import time_share
from dialogpt.errors import UsageError

MOST = 1024
PROCESSORS = Path("/sys/devices/system/cpu")


def threads() -> int:
    """The number of threads; UsageError when DIALOGPT_THREADS is not valid."""
    asked = os.environ.get("DIALOGPT_THREADS", "")
    if asked:
        if not asked.isdecimal() or not 1 <= int(asked) <= MOST:
            raise UsageError(f"DIALOGPT_THREADS={asked} is not a number of threads", f"it is 1 to {MOST}")
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        cores = cores_of(os.sched_getaffinity(0))
    else:
        cores = _fast_cores() or os.cpu_count() or 1
    return max(1, math.ceil(min(cores, time_share(), MOST)))


def cores_of(processors: Iterable[int]) -> int:
    """How many cores these logical processors belong to; their own number if unknown."""
    numbers = list(processors)
    try:
        found = {(PROCESSORS / f"cpu{n}/topology/thread_siblings_list").read_text() for n in numbers}
    except OSError:
        return len(numbers)
    return len(found)


def _fast_cores() -> int:
    """A Mac's fast cores: a thread on a slow core would be waited for in each phase of a call. 0 if unknown."""
    if platform.system() != "Darwin":
        return 0
    found, size = ctypes.c_int32(0), ctypes.c_size_t(4)
    failed = ctypes.CDLL(None).sysctlbyname(
        b"hw.perflevel0.logicalcpu", ctypes.byref(found), ctypes.byref(size), None, ctypes.c_size_t(0)
    )
    return 0 if failed else found.value
