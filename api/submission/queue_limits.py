"""Whether one more job may wait in the queue."""

from __future__ import annotations

import asyncio
from typing import Final

from readalong.core.errors import QueueFull
from readalong.store.queue import Queue

#: Seconds for which the depth of a queue below half its limit is remembered: asking costs each submit a round trip.
_MAX_AGE: Final = 1.0
#: Bytes of a request beyond which Redis is always asked.
_LARGE: Final = 65_536
#: Seconds after which a refused client may try again.
_RETRY_AFTER: Final = 5


class QueueLimits:
    """The queue's depth and bytes as this process knows them.

    Many processes together may exceed a limit by the jobs that they submit within a second to a queue below half of it.
    """

    def __init__(self, queue: Queue, max_jobs: int, max_bytes: int) -> None:
        """`max_jobs` that wait, and `max_bytes` of their requests; 0: no limit."""
        self._queue = queue
        self._max_jobs = max_jobs
        self._max_bytes = max_bytes
        #: Jobs that waited when Redis was asked, and those submitted here since.
        self._jobs = 0
        self._jobs_asked_at = -_MAX_AGE
        #: Likewise bytes. `_unreported`: bytes submitted here since, which Redis has not been told yet.
        self._bytes = self._unreported = 0
        self._bytes_asked_at = -_MAX_AGE

    async def check(self, size: int) -> None:
        """Counts a job whose request has `size` bytes. Raises QueueFull, StoreUnavailable."""
        now = asyncio.get_running_loop().time()
        if self._max_jobs:
            await self._check_jobs(now)
        if self._max_bytes:
            await self._check_bytes(now, size)
        self._jobs += 1

    async def _check_jobs(self, now: float) -> None:
        if now - self._jobs_asked_at >= _MAX_AGE or 2 * self._jobs >= self._max_jobs:
            _, self._jobs = await self._queue.depth()
            self._jobs_asked_at = now
        if self._jobs >= self._max_jobs:
            raise QueueFull(f"The queue is full ({self._jobs:,} waiting).", retry_after=_RETRY_AFTER)

    async def _check_bytes(self, now: float, size: int) -> None:
        ask = now - self._bytes_asked_at >= _MAX_AGE or 2 * self._bytes >= self._max_bytes or size > _LARGE
        if ask:
            unreported, self._unreported = self._unreported, 0
            self._bytes = await self._queue.weight(size, self._max_bytes, unreported)
            self._bytes_asked_at = now
        else:
            self._unreported += size
        if self._bytes >= self._max_bytes:
            raise QueueFull(f"The queue is full ({self._bytes:,} bytes waiting).", retry_after=_RETRY_AFTER)
        self._bytes += size
