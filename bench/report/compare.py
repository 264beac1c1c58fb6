"""Figures that are worse than in the committed results. They are reported and fail nothing: machines are noisy."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Final

import orjson

from bench.report.row import number
from bench.report.rows import rows
from bench.run import FORMAT

#: The relative change of a figure that is worth a line.
TOLERANCE: Final = 1.15


def committed(path: Path) -> dict[str, Any] | None:
    """Returns the results of the last commit, or those of the file where there is no repository; None without either,
    or if another version of this benchmark wrote them.
    """
    shown = subprocess.run(
        ["git", "show", f"HEAD:./{path.name}"], cwd=path.parent, capture_output=True, check=False
    ).stdout
    if not shown and path.exists():
        shown = path.read_bytes()
    found: dict[str, Any] | None = orjson.loads(shown) if shown else None
    return found if found is not None and found.get("format") == FORMAT else None


def worse(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Returns a line for each ratio or count that is worse by more than the tolerance, or is missed and was held."""
    old = {row.key: row for row in rows(before)}
    lines = []
    for row in rows(now):
        was = old.get(row.key)
        if was is None:
            continue
        for name, value in row.marks.items():
            then = was.marks.get(name)
            if then is None or not (value < then / TOLERANCE if row.more else value > then * TOLERANCE):
                continue
            lines.append(f"{row.what}: {name} {number(then)} -> {number(value)}")
        if was.held and row.held is False:
            lines.append(f"{row.what}: was held, is missed: {was.ours} -> {row.ours}")
    return lines
