"""One line of the table, and the format of its numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

#: The README's limits: "a handful" of reads or events, and no growth on a noisy machine.
HANDFUL: Final = 10
NO_GROWTH: Final = 1.2


@dataclass(frozen=True)
class Row:
    """One line. `held` is None without a target, or where its reference is missing.

    `marks` are the figures that can be compared with another run: ratios within the run, and counts. Less is better,
    except for those in `more`.
    """

    key: str
    what: str
    wanted: str
    ours: str
    others: str = ""
    ratio: str = ""
    held: bool | None = None
    marks: dict[str, float] = field(default_factory=dict)
    more: bool = False


def number(value: float) -> str:
    """Three digits, and no exponent."""
    if value == 0:
        return "0"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3f}" if abs(value) < 0.01 else f"{value:.3g}"


def millions(value: float) -> str:
    return f"{number(value / 1e6)} million"


def pair(values: dict[str, float]) -> str:
    return f"{number(values['p50'])} / {number(values['p99'])}"
