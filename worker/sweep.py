"""Mends what a crash left between two keys. One sweep at a time, for all workers; it looks at open jobs only."""

from __future__ import annotations

import logging
from typing import Final

from readalong.index import Cursor, Index
from readalong.log import Log
from readalong.queue import Queue
from readalong.record import Record
from readalong.settings import Settings
from readalong.states import Status
from worker.run import who

logger = logging.getLogger(__name__)

_PAGE: Final = 500
#: A submit that is under way gets this long before its job counts as left behind, in milliseconds.
_GRACE_MS: Final = 5_000


class Sweep:
    def __init__(self, log: Log, index: Index, queue: Queue, settings: Settings) -> None:
        self._log = log
        self._index = index
        self._queue = queue
        self._every_ms = int(settings.sweep * 1000)

    async def turn(self) -> None:
        """Sweeps if it is time and no other worker did. Raises StoreUnavailable."""
        if not await self._index.may_sweep(self._every_ms):
            return
        now = await self._index.now()
        await self._index.trim(now)
        last: Cursor | None = None
        while page := await self._index.open_jobs(last, _PAGE):
            await self._page(page, now)
            last = page[-1]

    async def _page(self, page: list[Cursor], now: int) -> None:
        ids = [cursor.job_id for cursor in page]
        try:
            records = await self._log.records(ids)
        except (KeyError, ValueError) as error:
            # Of a newer version, in the middle of a deploy, or changed by hand: no reason to leave the others.
            if len(page) == 1:
                logger.warning("job %s cannot be read and is left alone: %s", ids[0], error)
                return
            for cursor in page:
                await self._page([cursor], now)
            return
        await self._mend(page, records, now)

    async def _mend(self, page: list[Cursor], records: list[Record | None], now: int) -> None:
        ids = [cursor.job_id for cursor in page]
        queued = await self._queue.holds(ids)
        flags = await self._log.flags(ids)
        closed = []
        alive = []
        for cursor, record, in_queue in zip(page, records, queued, strict=True):
            fresh = now - cursor.created_at < _GRACE_MS
            if record is None:
                # The submit died before it wrote the job, or the job has expired.
                if not fresh:
                    closed.append(cursor.job_id)
            elif record.ended:
                closed.append(cursor.job_id)
                if in_queue and record.attempt == 0:
                    await self._queue.withdraw(cursor.job_id)
            elif record.status is Status.QUEUED and cursor.job_id in flags:
                # Somebody set the flag by hand, which ends no queued job by itself.
                status = await self._log.cancel(cursor.job_id, who(flags[cursor.job_id]), now)
                if status is not Status.RUNNING:  # a worker may have been quicker; it sees the flag
                    await self._queue.withdraw(cursor.job_id)
                    closed.append(cursor.job_id)
            else:
                alive.append(cursor.job_id)
                if not in_queue and not fresh:
                    logger.warning("job %s was not in the queue; it is again", cursor.job_id)
                    await self._queue.enqueue(cursor.job_id, now)
        if alive:
            await self._log.keep_alive(alive)
        if closed:
            await self._index.close(*closed)
