"""Whether a silent process works or hangs (psutil is in the extra `server`).

It is asked for a sign of life, which it gives between two tokens. While it owes one, it is checked now and then: it is
still if it has used no processor since the last check, and is not waiting for a disk or debugger. Checks are counted,
not seconds: while the machine sleeps, or the server is stopped too, there are none. A pass that takes minutes
computes, so it is not still.
"""

import psutil

LOOK_EVERY_S = 5.0
STILL = 2  # still checks in a row until it counts as not answering
HUNG = 12  # still checks in a row until it is given up
WAITS = (psutil.STATUS_DISK_SLEEP, psutil.STATUS_TRACING_STOP)


class Watch:
    """Watches the process with that id; while it works it may owe a sign of life for `longest_s` (0: no limit)."""

    def __init__(self, process_id: int, longest_s: float) -> None:
        self._process_id = process_id  # the process was not waited for yet, so its id cannot be another's
        self._longest_s = longest_s
        self._used_s = 0.0
        self._owes = False
        self._looks = self._still = 0

    def asks(self) -> bool:
        """Whether to ask for a sign of life: none is owed. From now on one is."""
        asks, self._owes = not self._owes, True
        return asks

    def heard(self) -> None:
        """Take note of a sign of life."""
        self._owes = False
        self._looks = self._still = 0

    def look(self) -> str | None:
        """See what it does; the reason to give it up, or None."""
        works = self._works()
        if self._owes:
            self._looks += 1
            self._still = 0 if works else self._still + 1
        if self._still >= HUNG:
            return f"it has done nothing for {HUNG * LOOK_EVERY_S:.0f} s"
        if self._longest_s and self._looks * LOOK_EVERY_S > self._longest_s:
            return f"it has computed for {self._longest_s:g} s"
        return None

    @property
    def is_still(self) -> bool:
        """Whether it owes a sign of life, and has done nothing for some looks."""
        return self._still >= STILL

    def _works(self) -> bool:
        before = self._used_s
        try:
            process = psutil.Process(self._process_id)
            times = process.cpu_times()
            self._used_s = times.user + times.system
            return self._used_s > before or process.status() in WAITS
        except (psutil.Error, OSError):  # it has ended, which its pipe shows, or no file can be opened to check
            return True
