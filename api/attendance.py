"""Tells Redis which jobs somebody watches here, of those that end when nobody does."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, NoReturn

from redis.exceptions import RedisError

from api.hub import Hub
from readalong.errors import StoreUnavailable
from readalong.watched import RENEW_EVERY, Watched

logger = logging.getLogger(__name__)

#: Seconds after which a renewal that failed is tried again: no more than those that nobody else makes are late.
_AGAIN: Final = 0.2


class Attendance:
    """One call for all such jobs of the process, none for a watcher, none while there are none. Nothing is said when a
    watcher leaves: a process that dies could not say it either, and another one may have watchers too."""

    def __init__(self, hub: Hub, watched: Watched) -> None:
        self._hub = hub
        self._watched = watched
        self._task: asyncio.Task[NoReturn] | None = None

    def start(self) -> asyncio.Task[NoReturn]:
        """Returns its task, which never ends by itself."""
        self._task = asyncio.create_task(self._renew(), name="attendance")
        return self._task

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _renew(self) -> NoReturn:
        while True:
            pause = RENEW_EVERY
            if job_ids := self._hub.attended():
                try:
                    await self._watched.attend(job_ids)
                except StoreUnavailable as error:
                    logger.debug("attendance: %s", error)
                    pause = _AGAIN
                except RedisError as error:
                    # Not allowed, for example. Whoever mends it must not have to start us again too: until then all
                    # these jobs would be cancelled.
                    logger.error("attendance: %s", error)
            await asyncio.sleep(pause)
