"""CPU time of other processes."""

from __future__ import annotations

import platform
import subprocess
import time


def cpu_seconds(pid: int) -> float:
    """Returns user and system time of a process with all its threads, in seconds. Raises ProcessLookupError if it is
    gone.

    Linux gives nanoseconds; elsewhere `ps` gives hundredths of a second.
    """
    if platform.system() == "Linux":
        try:
            # The clock's number as clock_getcpuclockid(3) makes it; /proc counts in hundredths of a second.
            return time.clock_gettime_ns((~pid << 3) | 2) / 1e9
        except OSError:
            raise ProcessLookupError(f"there is no process {pid}") from None
    shown = subprocess.run(["ps", "-o", "time=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    if not shown.strip():
        raise ProcessLookupError(f"there is no process {pid}")
    return seconds_of(shown)


def seconds_of(shown: str) -> float:
    """Returns `ps`'s [[days-]hours:]minutes:seconds as seconds."""
    days, _, clock = shown.strip().rpartition("-")
    total = 0.0
    for part in clock.split(":"):
        total = total * 60 + float(part)
    return total + 86_400 * int(days or 0)


class CpuMeter:
    """CPU time of named processes from `start` to `stop`."""

    def __init__(self, pids: dict[str, int]) -> None:
        self._pids = pids
        self._before: dict[str, float] = {}

    def start(self) -> None:
        self._before = self._now()

    def stop(self) -> dict[str, float]:
        """Returns seconds since `start`, by name."""
        return {name: seconds - self._before[name] for name, seconds in self._now().items()}

    def _now(self) -> dict[str, float]:
        return {name: cpu_seconds(pid) for name, pid in self._pids.items()}
