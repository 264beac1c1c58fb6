"""Memory of other processes."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path


def memory_kb(pid: int) -> int:
    """Returns a process's memory in KB: its proportional share on Linux, its resident size elsewhere."""
    if platform.system() == "Linux":
        return share_of(Path(f"/proc/{pid}/smaps_rollup").read_text())
    shown = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout
    return int(shown)


def share_of(rollup: str) -> int:
    """Returns the `Pss` of a smaps_rollup in KB: shared pages count by their share."""
    for line in rollup.splitlines():
        name, _, rest = line.partition(":")
        if name == "Pss":
            return int(rest.split()[0])
    raise ValueError("no Pss in smaps_rollup")
