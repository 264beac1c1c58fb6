"""Lines that last, found by the time in which they did: an hour has thousands of faults, and more jobs to ask for."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import accumulate

from tests.chaos.checker.report import Line


class Timeline:
    def __init__(self, spans: Iterable[tuple[float, float, Line]]) -> None:
        """Each line with its begin and its end."""
        self._spans = sorted(spans, key=lambda span: span[0])
        self._begins = [begin for begin, _, _ in self._spans]
        #: The latest end so far: before the first that is late enough nothing is of interest.
        self._ends = list(accumulate((end for _, end, _ in self._spans), max))

    def between(self, begin: float, end: float) -> list[Line]:
        """The lines that overlap this time, in the order of their begin."""
        first, last = bisect_left(self._ends, begin), bisect_right(self._begins, end)
        return [line for _, over, line in self._spans[first:last] if over >= begin]
