"""How far an answer had come when, in few points, whatever its length."""

from __future__ import annotations

from typing import Final

import orjson

#: Points that are kept, and the seconds between the first of them.
_MOST: Final = 120
_EVERY: Final = 0.1


class Progress:
    """Pieces of the answer by seconds since the job's submit. With twice the time there are half as many points a
    second."""

    def __init__(self, since_submit: float, now: float) -> None:
        """`since_submit`: seconds from the submit to `now`, which is a reading of the clock of `add`."""
        self._began = now - since_submit
        self._every = _EVERY
        self._points: list[tuple[float, int]] = []
        self._count = 0
        #: When the next point is due, by that clock.
        self.due = 0.0

    def add(self, count: int, now: float) -> None:
        """Notes so many further pieces."""
        self._count += count
        if now >= self.due:
            self._note(now)

    def encode(self, now: float | None = None) -> bytes:
        """Returns the points, `[[seconds, pieces], …]`; with one more for `now`, if it is given and something has come
        since the last. b"" if there are none."""
        if now is not None and self._count > (self._points[-1][1] if self._points else 0):
            self._note(now)
        return orjson.dumps(self._points) if self._points else b""

    def _note(self, now: float) -> None:
        self._points.append((round(now - self._began, 2), self._count))
        if len(self._points) >= _MOST:
            self._points = self._points[::2]
            # Of an answer with rare pieces the points are further apart already.
            span = self._points[-1][0] - self._points[0][0]
            self._every = max(2 * self._every, span / len(self._points))
        self.due = now + self._every
