"""Many numbers as a few."""

from __future__ import annotations

import math
from collections.abc import Sequence


def summary(values: Sequence[float]) -> dict[str, float]:
    """`n`, `p50`, `p95`, `p99` and `max`, by nearest rank. Raises ValueError for no values."""
    if not values:
        raise ValueError("nothing was measured")
    ordered = sorted(values)

    def rank(part: float) -> float:
        return ordered[max(0, math.ceil(part * len(ordered)) - 1)]

    return {"n": len(ordered), "p50": rank(0.5), "p95": rank(0.95), "p99": rank(0.99), "max": ordered[-1]}
