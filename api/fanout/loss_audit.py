"""Finds jobs that Redis has dropped, or whose end it has dropped: no message tells of that."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, NoReturn

from readalong.api.fanout.feed import Feed
from readalong.api.fanout.hub import Hub
from readalong.core.errors import StoreRefused, StoreUnavailable
from readalong.store.log import Log

logger = logging.getLogger(__name__)

#: Jobs that one command asks for.
_AT_ONCE: Final = 500


class LossAudit:
    """Asks Redis now and then for the states of watched jobs without an event since the last time: one command for
    hundreds of jobs. An evicted job publishes nothing, and its watchers would wait for ever."""

    def __init__(self, hub: Hub, log: Log, every: float) -> None:
        """`every`: seconds between two looks."""
        self._hub = hub
        self._log = log
        self._every = every
        #: The newest event of each watched job at the last look.
        self._newest: dict[str, int] = {}
        self._task: asyncio.Task[NoReturn] | None = None

    def start(self) -> asyncio.Task[NoReturn]:
        """Returns its task, which never ends by itself."""
        self._task = asyncio.create_task(self._look_for_ever(), name="audit")
        return self._task

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _look_for_ever(self) -> NoReturn:
        while True:
            await asyncio.sleep(self._every)
            await self._look()

    async def _look(self) -> None:
        feeds = self._hub.watched()
        quiet = [feed for feed in feeds if self._newest.get(feed.job_id) == feed.newest]
        self._newest = {feed.job_id: feed.newest for feed in feeds}
        for start in range(0, len(quiet), _AT_ONCE):
            await self._check(quiet[start : start + _AT_ONCE])

    async def _check(self, feeds: list[Feed]) -> None:
        try:
            states = await self._log.states([feed.job_id for feed in feeds])
        except StoreUnavailable as error:
            logger.debug("audit: %s", error)
            return
        except (StoreRefused, ValueError) as error:
            if len(feeds) == 1:
                logger.error("job %s: %s", feeds[0].job_id, error)
                return
            # A person has broken the key of one: the others are asked for by themselves.
            for feed in feeds:
                await self._check([feed])
            return
        for feed, state in zip(feeds, states, strict=True):
            if state is None or (state.ended and not feed.ended):
                feed.repair()
