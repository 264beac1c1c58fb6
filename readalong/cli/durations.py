"""Durations as people type them."""

from __future__ import annotations

import re
from typing import Final

_UNITS: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PART: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(s|min|m|h|d|w)")


def parse_duration(text: str) -> float:
    """Returns the seconds of `90s`, `15m`, `1h`, `1h30m`, `2d` or `1w`. Raises ValueError."""
    found = _PART.findall(text)
    if not found or "".join(number + unit for number, unit in found) != text:
        raise ValueError(f"{text[:40]!r} is not a duration such as 90s, 15m, 1h, 2d")
    return sum(float(number) * _UNITS[unit] for number, unit in found)
