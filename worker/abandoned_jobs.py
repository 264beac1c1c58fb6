"""Cancels jobs with `cancel_on_disconnect` that have had no watcher for their grace."""

from __future__ import annotations

import logging
from typing import Final

from readalong.core.errors import StoreUnavailable
from readalong.core.states import Status
from readalong.store.log import Log
from readalong.store.presence import PresenceStore
from readalong.store.turns import Turns
from readalong.worker.bisect import bisect_failures

logger = logging.getLogger(__name__)

_PAGE: Final = 100


class AbandonedJobs:
    """Every worker looks. Redis returns each abandoned job to one of them."""

    def __init__(self, log: Log, presence: PresenceStore, *, turns: Turns) -> None:
        self._log = log
        self._turns = turns
        self._presence = presence

    async def turn(self) -> None:
        """Cancels the jobs that are due. Does nothing while Redis is away."""
        try:
            while page := await self._presence.find_abandoned(_PAGE):
                await bisect_failures(page, self._cancel)
        except StoreUnavailable as error:
            logger.debug("abandoned jobs: %s", error)

    async def _cancel(self, page: list[str]) -> None:
        # The set may name an ended job, or a job that two submits with one key wrote, only one with the option.
        for job_id in await self._log.filter_cancel_on_disconnect(page):
            logger.info("job %s: no watcher left, cancelling", job_id)
            if await self._log.cancel(job_id, "disconnect") is Status.CANCELLED:
                # The job was still queued, and the cancel has ended it.
                await self._turns.withdraw(job_id)
        await self._presence.forget(page)
