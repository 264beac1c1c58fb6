"""Repairs lists, queue and the turns of threads after a crash, and ends waiting jobs that are cancelled or late.

One worker at a time reconciles. Each turn looks at all open jobs, and scans some of Redis' keys for jobs that are in no
list.
"""

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
from readalong.store.turns import Turns
from readalong.worker.bisect import bisect_failures

logger = logging.getLogger(__name__)

_PAGE: Final = 500
#: Scans of Redis' keys in one turn, some thousand keys each.
_SCANS: Final = 5
#: Milliseconds that a submit has before its job counts as left behind.
_GRACE_MS: Final = 5_000


class Reconciler:
    """Compares each job's record with the queue and the lists."""

    def __init__(
        self,
        log: Log,
        index: JobIndex,
        queue: Queue,
        settings: Settings,
        end: Callable[[str], Awaitable[None]],
        *,
        turns: Turns,
    ) -> None:
        """`end` is called with the id of a job that has begun and is to end. It ends a job that no worker holds."""
        self._log = log
        self._index = index
        self._queue = queue
        self._turns = turns
        self._end = end
        #: Seconds between two turns: often enough to renew a waiting job before its time to live is over.
        self.every = min(settings.sweep_interval, settings.job_ttl / 4)
        self._every_ms = int(self.every * 1000)
        self._renew_ms = int(settings.job_ttl * 1000) // 4
        self._renew_at = 0
        self._ttl_ms = int(settings.job_ttl * 1000)
        #: The cursor of the scan of Redis' keys.
        self._scan_cursor = 0

    async def turn(self) -> None:
        """Reconciles if it is time and no other worker has. Raises StoreUnavailable."""
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
        await self._scan(now)
        if renew:
            self._renew_at = now + self._renew_ms

    async def _scan(self, now: int) -> None:
        """Scans the next few thousand of Redis' keys, and puts each job into the lists that its hash implies.

        A job is in no list if its submit broke off, or if Redis has lost the lists. A deleted job leaves all lists.
        """
        for _ in range(_SCANS):
            self._scan_cursor, found = await self._index.scan(self._scan_cursor)
            if found.flags:
                await self._index.expire_stray_flags(found.flags, self._ttl_ms)
            if strays := await self._index.refile(*found.jobs):
                await bisect_failures(strays, partial(self._mend, now=now, renew=False))
            for name in found.models:
                await self._index.trim_model(name, now)
            if not self._scan_cursor:
                break

    async def _mend(self, page: list[Cursor], *, now: int, renew: bool) -> None:
        ids = [cursor.job_id for cursor in page]
        states = await self._log.states(ids)
        queued = await self._queue.contains(ids, renew=renew)
        flags = await self._log.flags(ids)
        alive = []
        for cursor, state, in_queue in zip(page, states, queued, strict=True):
            if state is None:  # the job has expired
                continue
            job_id = cursor.job_id
            flag = flags.get(job_id)
            due = _is_due(state, flag, now)
            fresh = now - cursor.created_at < _GRACE_MS
            if state.broken:
                logger.error("job %s: broken keys", job_id)
            elif state.status in TERMINAL:
                if in_queue and state.attempt == 0:
                    await self._queue.remove(job_id)
            elif due and state.status == Status.QUEUED and await self._end_queued(job_id, flag):
                await self._queue.remove(job_id)
            elif due and state.status == Status.RUNNING and in_queue:
                # A holder would end it. Without one, its next attempt might wait for a slot for long.
                await self._end(job_id)
            else:
                alive.append(job_id)
                if not in_queue and not fresh and not state.thread_open:
                    await self._requeue(cursor)
            if state.thread_open:
                await self._mend_turn(cursor, in_queue=in_queue, now=now)
        if alive and renew:
            await self._log.keep_alive(alive)
        await self._index.refile(*ids)

    async def _mend_turn(self, cursor: Cursor, *, in_queue: bool, now: int) -> None:
        """A turn that waits for its thread is not in the queue; one that has ended is recorded, and the next queued."""
        runs = await self._turns.check(cursor.job_id, in_queue=in_queue)
        if runs and not in_queue and now - cursor.created_at >= _GRACE_MS:
            await self._requeue(cursor)

    async def _requeue(self, cursor: Cursor) -> None:
        logger.warning("re-queued job %s (missing from the queue)", cursor.job_id)
        await self._queue.enqueue(cursor.job_id, cursor.created_at)

    async def _end_queued(self, job_id: str, flag: str | None) -> bool:
        """Ends a queued job that is cancelled or late. Returns False if a worker has claimed it meanwhile."""
        if flag is not None:
            # A flag that was set by hand ends no queued job by itself.
            return await self._log.cancel(job_id, cancelled_by(flag)) in TERMINAL
        return await self._log.expire(job_id)


def _is_due(state: JobState, flag: str | None, now: int) -> bool:
    """Returns whether a job is to end and this version may write its end."""
    late = state.deadline is not None and state.deadline <= now
    return state.known and (flag is not None or late)
