"""All lines of the table."""

from __future__ import annotations

from typing import Any

from bench.report.deaths import deaths
from bench.report.faces import faces
from bench.report.fan_out import fan_out
from bench.report.pipeline import rest, starts, streams
from bench.report.row import Row


def rows(found: dict[str, Any]) -> list[Row]:
    """Returns all lines, those with a target first."""
    return [
        *fan_out(found["fanout"]),
        *streams(found["streams"]),
        *starts(found["starts"]),
        *faces(found),
        *rest(found),
        *deaths(found),
    ]
