"""An index of lines by their duration: an hour has thousands of faults, and more jobs that look for them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import accumulate

from tests.chaos.checker.report import Line


class Timeline:
    def __init__(self, spans: Iterable[tuple[float, float, Line]]) -> None:
        """Each line with its start and its end."""
        self._spans = sorted(spans, key=lambda span: span[0])
        self._begins = [begin for begin, _, _ in self._spans]
        #: The latest end so far: no line before the first late enough one overlaps.
        self._ends = list(accumulate((end for _, end, _ in self._spans), max))

    def between(self, begin: float, end: float) -> list[Line]:
        """Returns the lines that overlap this time, by their start."""
        first, last = bisect_left(self._ends, begin), bisect_right(self._begins, end)
        return [line for _, over, line in self._spans[first:last] if over >= begin]
