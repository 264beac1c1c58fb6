"""Whether one more job may wait."""

from __future__ import annotations

import asyncio
from typing import Final

from readalong.errors import QueueFull
from readalong.queue import Queue

#: Seconds for which a queue that was less than half full is not asked again: that would cost each submit a round trip.
_KNOWN: Final = 1.0


class Room:
    """The queue's length as this process knows it. Many processes may exceed the limit by what they submit within a
    second to a queue that was half empty."""

    def __init__(self, queue: Queue, limit: int) -> None:
        """`limit`: jobs that may wait; 0: any number."""
        self._queue = queue
        self._limit = limit
        #: Jobs that waited when Redis was asked, with those that were submitted here since.
        self._waiting = 0
        self._asked_at = -_KNOWN

    async def check(self) -> None:
        """Raises QueueFull if no more job may wait; StoreUnavailable."""
        if not self._limit:
            return
        now = asyncio.get_running_loop().time()
        if now - self._asked_at >= _KNOWN or 2 * self._waiting >= self._limit:
            _, self._waiting = await self._queue.room()
            self._asked_at = now
        if self._waiting >= self._limit:
            raise QueueFull(f"{self._waiting} jobs wait; no more than {self._limit} may.", retry_after=5)
        self._waiting += 1
