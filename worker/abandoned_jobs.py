"""Cancels jobs that end when nobody watches them, once nobody has for long enough."""

from __future__ import annotations

import logging
from typing import Final

from readalong.core.errors import StoreUnavailable
from readalong.core.states import Status
from readalong.store.job_index import JobIndex
from readalong.store.log import Log
from readalong.store.presence import PresenceStore
from readalong.store.queue import Queue
from readalong.worker.bisect import bisect_failures

logger = logging.getLogger(__name__)

_PAGE: Final = 100


class AbandonedJobs:
    """Every worker looks; a job that one of them has been told of is not told to the next."""

    def __init__(self, log: Log, index: JobIndex, queue: Queue, watched: PresenceStore) -> None:
        self._log = log
        self._index = index
        self._queue = queue
        self._watched = watched

    async def turn(self) -> None:
        """Cancels what is due, if Redis is there."""
        try:
            while page := await self._watched.find_abandoned(_PAGE):
                await bisect_failures(page, self._cancel)
        except StoreUnavailable as error:
            logger.debug("orphans: %s", error)

    async def _cancel(self, page: list[str]) -> None:
        # The set may name one that has ended, or that two submits with one key wrote, of which only one wished it.
        for job_id in await self._log.filter_cancel_on_disconnect(page):
            logger.info("job %s: nobody watches it any more", job_id)
            if await self._log.cancel(job_id, "disconnect") is Status.CANCELLED:
                # It may have ended in the queue just now.
                await self._queue.remove(job_id)
                await self._index.refile(job_id)
        await self._watched.forget(page)
