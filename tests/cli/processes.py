"""The members of a process group, and waits with a deadline."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable


def members(group: int) -> list[str]:
    """Returns the processes of a group, one line each, without zombies."""
    table = subprocess.run(["ps", "-A", "-o", "pgid=,stat=,pid=,args="], capture_output=True, text=True, check=True)
    rows = [line.split(maxsplit=3) for line in table.stdout.splitlines()]
    return [" ".join(row[2:]) for row in rows if int(row[0]) == group and not row[1].startswith("Z")]


def wait_for(condition: Callable[[], object], seconds: float = 100.0) -> None:
    """Returns when `condition` returns a true value. Fails after the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.02)
