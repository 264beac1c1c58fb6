"""Whether one more job may wait."""

from __future__ import annotations

import asyncio
from typing import Final

from readalong.core.errors import QueueFull
from readalong.store.queue import Queue

#: Seconds for which a queue that was less than half full is not asked again: that would cost each submit a round trip.
_KNOWN: Final = 1.0
#: Bytes of a request beyond which Redis is always asked.
_LARGE: Final = 65_536
#: Seconds after which a client that is refused may try again.
_AGAIN: Final = 5


class QueueLimits:
    """The queue's length and weight as this process knows them. Many processes may exceed a limit by what they submit
    within a second to a queue that was half empty."""

    def __init__(self, queue: Queue, limit: int, most_bytes: int) -> None:
        """`limit`: jobs that may wait, `most_bytes`: of all their requests; 0: any number."""
        self._queue = queue
        self._limit = limit
        self._most_bytes = most_bytes
        #: Jobs that waited when Redis was asked, with those that were submitted here since.
        self._waiting = 0
        self._asked_at = -_KNOWN
        #: Likewise of bytes; and those that were let in here since.
        self._weight = self._let_in = 0
        self._weighed_at = -_KNOWN

    async def check(self, size: int) -> None:
        """Raises QueueFull if no further job may wait; StoreUnavailable. `size`: bytes of its request."""
        now = asyncio.get_running_loop().time()
        if self._limit:
            await self._check_number(now)
        if self._most_bytes:
            await self._check_weight(now, size)
        self._waiting += 1

    async def _check_number(self, now: float) -> None:
        if now - self._asked_at >= _KNOWN or 2 * self._waiting >= self._limit:
            _, self._waiting = await self._queue.depth()
            self._asked_at = now
        if self._waiting >= self._limit:
            raise QueueFull(f"{self._waiting} jobs wait; no more than {self._limit} may.", retry_after=_AGAIN)

    async def _check_weight(self, now: float, size: int) -> None:
        ask = now - self._weighed_at >= _KNOWN or 2 * self._weight >= self._most_bytes or size > _LARGE
        if ask:
            let_in, self._let_in = self._let_in, 0
            self._weight = await self._queue.weight(size, self._most_bytes, let_in)
            self._weighed_at = now
        else:
            self._let_in += size
        if self._weight >= self._most_bytes:
            raise QueueFull(
                f"The waiting jobs have {self._weight} bytes; no more than {self._most_bytes} may.", retry_after=_AGAIN
            )
        self._weight += size
