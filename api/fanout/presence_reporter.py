"""Tells Redis which jobs have watchers here, of the jobs that end without watchers."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from itertools import count
from typing import Final, NoReturn

from readalong.api.fanout.feed import Feed
from readalong.api.fanout.hub import Hub
from readalong.core.errors import StoreRefused, StoreUnavailable
from readalong.store.presence import RENEW_EVERY, PresenceStore, Visit

logger = logging.getLogger(__name__)

#: Seconds after which a renewal that failed is tried again: a renewal that only this process makes is late by no more.
_AGAIN: Final = 0.2
#: Seconds that a coming or a leaving waits for others, to be told with them.
_GATHER: Final = 0.02


class PresenceReporter:
    """One call for all such jobs of the process each second, none for a watcher, none while there are none. The first
    watcher's coming and the last one's leaving are told at once; a killed process is silent instead. A process that
    stands still is silent too, but the hub's subscription tells it from a dead one."""

    def __init__(self, hub: Hub, watched: PresenceStore) -> None:
        self._hub = hub
        self._watched = watched
        self._numbers = count(1)
        #: What was told to Redis, by job.
        self._visits: dict[str, Visit] = {}
        self._come: dict[str, Visit] = {}
        self._gone: list[Visit] = []
        self._news = asyncio.Event()
        self._task: asyncio.Task[NoReturn] | None = None
        hub.on_arrival, hub.on_departure = self._arrives, self._departs

    def start(self) -> asyncio.Task[NoReturn]:
        """Returns its task, which never ends by itself."""
        self._task = asyncio.create_task(self._tell(), name="presence")
        return self._task

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _arrives(self, feed: Feed) -> None:
        if feed.job_id not in self._visits:
            self._come[feed.job_id] = self._visit(feed)
            self._news.set()

    def _departs(self, feed: Feed) -> None:
        self._come.pop(feed.job_id, None)
        self._gone.append(self._visit(feed))
        del self._visits[feed.job_id]
        self._news.set()

    def _visit(self, feed: Feed) -> Visit:
        """Returns the visit that goes on, or a new one."""
        if (visit := self._visits.get(feed.job_id)) is None:
            name = f"{self._hub.name}:{next(self._numbers)}"
            visit = self._visits[feed.job_id] = Visit(feed.job_id, name, feed.grace)
        return visit

    async def _tell(self) -> NoReturn:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._news.wait()
                    await asyncio.sleep(_GATHER)
            self._news.clear()
            try:
                if loop.time() >= due:
                    due = loop.time() + RENEW_EVERY
                    self._visits = {feed.job_id: self._visit(feed) for feed in self._hub.with_watchers()}
                    self._come = {}
                    await self._watched.touch([*self._visits.values()])
                if self._come:
                    come, self._come = self._come, {}
                    await self._watched.touch([*come.values()])
                # After the arrivals: a watcher that left and came back has a new visit by now.
                if self._gone:
                    gone, self._gone = self._gone, []
                    await self._watched.depart(gone)
            except StoreUnavailable as error:
                logger.debug("presence: %s", error)
                due = loop.time() + _AGAIN
            except StoreRefused as error:
                # Not allowed, for example. A task that ended here would not be there once the permission is back: all
                # these jobs would be cancelled until a restart.
                logger.error("presence: %s", error)
