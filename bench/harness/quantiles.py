"""Summaries of many numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

#: The quantiles of a `curve`.
PARTS: Final = (*(n / 100 for n in range(2, 100, 2)), 0.99, 0.995, 0.999)


def summary(values: Sequence[float]) -> dict[str, float]:
    """Returns `n`, `p50`, `p95`, `p99` and `max`, by nearest rank. Raises ValueError for no values."""
    if not values:
        raise ValueError("nothing was measured")
    ordered = sorted(values)
    return {
        "n": len(ordered),
        "p50": _rank(ordered, 0.5),
        "p95": _rank(ordered, 0.95),
        "p99": _rank(ordered, 0.99),
        "max": ordered[-1],
    }


def curve(values: Sequence[float]) -> list[float]:
    """Returns the distribution as one value for each of PARTS."""
    ordered = sorted(values)
    return [_rank(ordered, part) for part in PARTS]


def _rank(ordered: Sequence[float], part: float) -> float:
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]
