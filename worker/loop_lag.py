"""How late this process' loop is: a process that is short of CPU, or that a callback holds up, streams late."""

from __future__ import annotations

import asyncio
from typing import Final

#: Seconds between two readings.
_EVERY: Final = 0.5


class LoopLag:
    """Reads, twice a second, how much later than asked a timer of the loop rings. It holds no task and ends with the
    loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due = 0.0
        self._worst = 0.0

    def take(self) -> float:
        """Returns the longest delay, in seconds, since the last call. The first call begins the readings."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._wait(self._loop)
        # A callback that holds the loop up just now has not been read yet.
        worst, self._worst = max(self._worst, self._loop.time() - self._due), 0.0
        return max(worst, 0.0)

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = loop.time() + _EVERY
        loop.call_at(self._due, self._ring, loop)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        self._worst = max(self._worst, loop.time() - self._due)
        self._wait(loop)
