"""Mends what a crash left between two keys, and ends what waits and is to end. One sweep at a time, for all workers; it
looks at open jobs only."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from readalong.index import Cursor, Index
from readalong.log import Log
from readalong.queue import Queue
from readalong.record import Standing
from readalong.settings import Settings
from readalong.states import ENDED, Status
from worker.apart import apart
from worker.ending import who

logger = logging.getLogger(__name__)

_PAGE: Final = 500
#: A submit that is under way gets this long before its job counts as left behind, in milliseconds.
_GRACE_MS: Final = 5_000


class Sweep:
    def __init__(
        self, log: Log, index: Index, queue: Queue, settings: Settings, end: Callable[[str], Awaitable[None]]
    ) -> None:
        """`end` is called with the id of a job that has begun and is to end: it ends it, unless a worker holds it."""
        self._log = log
        self._index = index
        self._queue = queue
        self._end = end
        #: Seconds between two turns: often enough to renew a waiting job before its time to live is over.
        self.every = min(settings.sweep, settings.job_ttl / 4)
        self._every_ms = int(self.every * 1000)
        self._renew_ms = int(settings.job_ttl * 1000) // 4
        self._renew_at = 0
        self._flags_at = 0

    async def turn(self) -> None:
        """Sweeps if it is time and no other worker did. Raises StoreUnavailable."""
        if not await self._index.may_sweep(self._every_ms):
            return
        now = await self._index.now()
        await self._index.trim(now)
        self._flags_at = await self._log.limit_flags(self._flags_at)
        # Four commands for each job: as seldom as the time to live allows.
        renew = now >= self._renew_at
        last: Cursor | None = None
        while page := await self._index.open_jobs(last, _PAGE):
            await apart(page, partial(self._mend, now=now, renew=renew))
            last = page[-1]
        if renew:
            self._renew_at = now + self._renew_ms

    async def _mend(self, page: list[Cursor], *, now: int, renew: bool) -> None:
        ids = [cursor.job_id for cursor in page]
        standings = await self._log.standings(ids)
        queued = await self._queue.holds(ids, renew=renew)
        flags = await self._log.flags(ids)
        closed = []
        missing = []
        alive = []
        for cursor, standing, in_queue in zip(page, standings, queued, strict=True):
            job_id = cursor.job_id
            flag = flags.get(job_id)
            due = standing is not None and _is_due(standing, flag, now)
            fresh = now - cursor.created_at < _GRACE_MS
            if standing is None:
                # The submit died before it wrote the job, or the job has expired.
                if not fresh:
                    missing.append(cursor)
            elif standing.status in ENDED:
                closed.append(job_id)
                if in_queue and standing.attempt == 0:
                    await self._queue.withdraw(job_id)
            elif due and standing.status == Status.QUEUED and await self._ends(job_id, flag, now):
                await self._queue.withdraw(job_id)
                closed.append(job_id)
            elif due and standing.status == Status.RUNNING and in_queue:
                # Its holder ends it. But nobody may hold it, and its next attempt may wait for a slot for long.
                await self._end(job_id)
            else:
                alive.append(job_id)
                if not in_queue and not fresh:
                    logger.warning("job %s was not in the queue; it is again", job_id)
                    await self._queue.enqueue(job_id, now)
        if alive and renew:
            await self._log.keep_alive(alive)
        if closed:
            await self._index.close(*closed)
        if missing:
            await self._index.unlist(missing)

    async def _ends(self, job_id: str, flag: str | None, now: int) -> bool:
        """Ends a queued job that is to end, unless a worker is quicker: it sees the flag and keeps the deadline."""
        if flag is not None:
            # Somebody set it by hand, which ends no queued job by itself.
            return await self._log.cancel(job_id, who(flag), now) in ENDED
        return await self._log.expire(job_id)


def _is_due(standing: Standing, flag: str | None, now: int) -> bool:
    """Whether a job is to end, and this version may write its end."""
    late = standing.deadline is not None and standing.deadline <= now
    return standing.known and (flag is not None or late)
