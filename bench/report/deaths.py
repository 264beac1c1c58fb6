"""The line about killed workers."""

from __future__ import annotations

from typing import Any

from bench.report.row import Row, number

#: The target in seconds.
_WANTED = 3


def deaths(found: dict[str, Any]) -> list[Row]:
    """Returns None for a run without this measurement."""
    if "deaths" not in found:
        return []
    times = found["deaths"]["restarted_s"]
    return [
        Row(
            "killed_worker",
            f"kill -9 of a worker to `restarted` from another, {times['n']} kills, p50 / max s",
            f"≤ {_WANTED}",
            f"{number(times['p50'])} / {number(times['max'])}",
            held=times["max"] <= _WANTED,
            marks={"max": times["max"]},
        )
    ]
