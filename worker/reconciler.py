"""Mends what a crash left between two keys, and ends what waits and is to end. One sweep at a time, for all workers.

Each looks at all open jobs, and at some of Redis' keys: there it finds jobs that were written and are in no list."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from readalong.core.cancel_flag import cancelled_by
from readalong.core.settings import Settings
from readalong.core.states import TERMINAL, Status
from readalong.store.job_index import Cursor, JobIndex
from readalong.store.job_record import JobState
from readalong.store.log import Log
from readalong.store.queue import Queue
from readalong.worker.bisect import bisect_failures

logger = logging.getLogger(__name__)

_PAGE: Final = 500
#: Looks at Redis' keys in one turn, some thousand keys each.
_LOOKS: Final = 5
#: A submit that is under way gets this long before its job counts as left behind, in milliseconds.
_GRACE_MS: Final = 5_000


class Reconciler:
    def __init__(
        self, log: Log, index: JobIndex, queue: Queue, settings: Settings, end: Callable[[str], Awaitable[None]]
    ) -> None:
        """`end` is called with the id of a job that has begun and is to end: it ends it, unless a worker holds it."""
        self._log = log
        self._index = index
        self._queue = queue
        self._end = end
        #: Seconds between two turns: often enough to renew a waiting job before its time to live is over.
        self.every = min(settings.sweep_interval, settings.job_ttl / 4)
        self._every_ms = int(self.every * 1000)
        self._renew_ms = int(settings.job_ttl * 1000) // 4
        self._renew_at = 0
        self._ttl_ms = int(settings.job_ttl * 1000)
        #: How far the look at Redis' keys has come.
        self._seen_to = 0

    async def turn(self) -> None:
        """Sweeps if it is time and no other worker did. Raises StoreUnavailable."""
        if not await self._index.try_lock_sweep(self._every_ms):
            return
        now = await self._index.now()
        await self._index.trim(now)
        # Four commands for each job: as seldom as the time to live allows.
        renew = now >= self._renew_at
        last: Cursor | None = None
        while page := await self._index.open_jobs(last, _PAGE):
            await bisect_failures(page, partial(self._mend, now=now, renew=renew))
            last = page[-1]
        await self._look_around(now)
        if renew:
            self._renew_at = now + self._renew_ms

    async def _look_around(self, now: int) -> None:
        """Looks at the next few thousand of Redis' keys. A job that no list knows is put into those that its hash says:
        its submit broke off when it was written, or Redis has lost the lists. An erased one leaves all lists."""
        for _ in range(_LOOKS):
            self._seen_to, found = await self._index.scan(self._seen_to)
            if found.flags:
                await self._index.expire_stray_flags(found.flags, self._ttl_ms)
            if strays := await self._index.refile(*found.jobs):
                await bisect_failures(strays, partial(self._mend, now=now, renew=False))
            for name in found.models:
                await self._index.trim_model(name, now)
            if not self._seen_to:
                break

    async def _mend(self, page: list[Cursor], *, now: int, renew: bool) -> None:
        ids = [cursor.job_id for cursor in page]
        standings = await self._log.states(ids)
        queued = await self._queue.contains(ids, renew=renew)
        flags = await self._log.flags(ids)
        alive = []
        for cursor, standing, in_queue in zip(page, standings, queued, strict=True):
            job_id = cursor.job_id
            flag = flags.get(job_id)
            due = standing is not None and _is_due(standing, flag, now)
            fresh = now - cursor.created_at < _GRACE_MS
            if standing is None:  # it has expired
                continue
            if standing.broken:
                logger.error("job %s: somebody has broken its keys", job_id)
            elif standing.status in TERMINAL:
                if in_queue and standing.attempt == 0:
                    await self._queue.remove(job_id)
            elif due and standing.status == Status.QUEUED and await self._ends(job_id, flag):
                await self._queue.remove(job_id)
            elif due and standing.status == Status.RUNNING and in_queue:
                # Its holder ends it. But nobody may hold it, and its next attempt may wait for a slot for long.
                await self._end(job_id)
            else:
                alive.append(job_id)
                if not in_queue and not fresh:
                    logger.warning("job %s was not in the queue; it is again", job_id)
                    await self._queue.enqueue(job_id, cursor.created_at)
        if alive and renew:
            await self._log.keep_alive(alive)
        await self._index.refile(*ids)

    async def _ends(self, job_id: str, flag: str | None) -> bool:
        """Ends a queued job that is to end, unless a worker is quicker: it sees the flag and keeps the deadline."""
        if flag is not None:
            # Somebody set it by hand, which ends no queued job by itself.
            return await self._log.cancel(job_id, cancelled_by(flag)) in TERMINAL
        return await self._log.expire(job_id)


def _is_due(standing: JobState, flag: str | None, now: int) -> bool:
    """Whether a job is to end, and this version may write its end."""
    late = standing.deadline is not None and standing.deadline <= now
    return standing.known and (flag is not None or late)
