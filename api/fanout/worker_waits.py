"""Tells watchers of jobs that wait for a worker: a lost worker cannot say so, and perhaps no other one is there."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, NoReturn

from readalong.api.fanout.feed import Feed
from readalong.api.fanout.hub import Hub
from readalong.api.fanout.notice import Notice
from readalong.core.errors import StoreRefused, StoreUnavailable
from readalong.core.states import Status
from readalong.store.job_record import Record
from readalong.store.worker_registry import WorkerRegistry

logger = logging.getLogger(__name__)

#: Seconds between two looks. A job is told to wait after two: between two workers it waits for a moment.
_EVERY: Final = 1.0


class WorkerWaits:
    """One call for all watched jobs of the process without an event since the last look; no call while all of them have
    events, and none for a watcher."""

    def __init__(self, hub: Hub, registry: WorkerRegistry) -> None:
        self._hub = hub
        self._registry = registry
        self._task: asyncio.Task[NoReturn] | None = None
        #: The newest event of each watched job at the last look.
        self._newest: dict[str, int] = {}
        #: Since when jobs were seen waiting, in milliseconds since the epoch.
        self._since: dict[str, int] = {}
        self._complained = False

    def start(self) -> asyncio.Task[NoReturn]:
        """Returns its task, which never ends by itself."""
        self._task = asyncio.create_task(self._look_on(), name="waits")
        return self._task

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def of(self, record: Record) -> str | None:
        """Returns what this job waits for: "worker", or None. Raises StoreUnavailable."""
        if record.ended:
            return None
        begun = record.status is Status.RUNNING
        try:
            waiting = await self._registry.waiting([record.id] if begun else [])
        except StoreRefused as error:
            self._complain(error)
            return None
        return "worker" if (waiting.job_ids if begun else not waiting.workers) else None

    async def _look_on(self) -> NoReturn:
        while True:
            await asyncio.sleep(_EVERY)
            try:
                await self.look()
            except StoreUnavailable as error:
                logger.debug("waiting jobs: %s", error)
                self._since.clear()
            except StoreRefused as error:
                self._since.clear()
                self._complain(error)

    async def look(self) -> None:
        """Looks once. Raises StoreUnavailable, StoreRefused."""
        silent = self._silent()
        if not silent:
            self._since.clear()
            return
        waiting = await self._registry.waiting([feed.job_id for feed in silent if _begun(feed)])
        since: dict[str, int] = {}
        for feed in silent:
            job_id = feed.job_id
            if feed.newest != self._newest[job_id]:  # it spoke meanwhile
                continue
            if not (job_id in waiting.job_ids if _begun(feed) else not waiting.workers):
                feed.tell(None)
                continue
            since[job_id] = self._since.get(job_id, waiting.now)
            if job_id in self._since and feed.notice is None:
                feed.tell(Notice(since[job_id]))
        self._since = since

    def _complain(self, error: StoreRefused) -> None:
        """Logs once that a call is not allowed, or that a key is broken: jobs and streams go on without notices."""
        if not self._complained:
            self._complained = True
            logger.error("waiting jobs: %s", error)

    def _silent(self) -> list[Feed]:
        before = self._newest
        feeds = self._hub.watched()
        self._newest = {feed.job_id: feed.newest for feed in feeds}
        return [feed for feed in feeds if before.get(feed.job_id) == feed.newest]


def _begun(feed: Feed) -> bool:
    """Returns whether its job has an attempt: the first event only says that it is queued."""
    return feed.newest > 1
