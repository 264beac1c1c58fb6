"""Small plots of one line."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

_BARS: Final = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int) -> str:
    """Returns a bar for each of the newest `width` values. The highest one is full, none is empty but zero."""
    shown = values[-width:] if width > 0 else []
    top = max(shown, default=0)
    if top <= 0:
        return _BARS[0] * len(shown)
    return "".join(_BARS[0 if value <= 0 else max(1, round(value / top * 7))] for value in shown)


def rates(points: Sequence[tuple[float, float]], width: int) -> list[float]:
    """Returns the mean rate of a growing count in each of `width` equal spans. `points`: seconds and count."""
    if len(points) < 2 or width < 1 or points[-1][0] <= points[0][0]:
        return []
    start, span = points[0][0], (points[-1][0] - points[0][0]) / width
    counts = [_at(points, start + span * step) for step in range(width + 1)]
    return [(after - before) / span for before, after in pairwise(counts)]


def _at(points: Sequence[tuple[float, float]], second: float) -> float:
    """Returns the count at a time, on the line between the two points around it."""
    for (before, low), (after, high) in pairwise(points):
        if second <= after:
            share = (second - before) / (after - before) if after > before else 1.0
            return low + (high - low) * max(0.0, share)
    return points[-1][1]
