"""One line of the table, and how its numbers are written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

#: As the README calls them: what "a handful" of reads or events is, and what counts as no growth in a noisy machine.
HANDFUL: Final = 10
NO_GROWTH: Final = 1.2


@dataclass(frozen=True)
class Row:
    """One line. `held` is None where nothing was wanted, or what it is measured against is not here.

    `marks` are the figures that another run can be compared with: ratios within the run, and counts. Less is better,
    but for those in `more`.
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
