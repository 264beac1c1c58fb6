"""Logs the state of Redis: its first answer, and the end of each outage."""

from __future__ import annotations

import asyncio
from typing import Final, NoReturn

from readalong.core.errors import StoreUnavailable
from readalong.process.outage import OutageLogger
from readalong.redis.eviction import Eviction
from readalong.store.health import Probe

#: Seconds between two probes of a Redis that is away.
_INTERVAL: Final = 1.0


class RedisMonitor:
    """Probes Redis until its first answer, and during an outage that a request has met. Sends nothing otherwise."""

    def __init__(self, probe: Probe, eviction: Eviction, outage: OutageLogger) -> None:
        self._probe = probe
        self._eviction = eviction
        self._outage = outage
        self._task: asyncio.Task[NoReturn] | None = None

    def start(self) -> asyncio.Task[NoReturn]:
        """Returns its task, which never ends by itself."""
        self._task = asyncio.create_task(self._monitor(), name="redis monitor")
        return self._task

    async def close(self) -> None:
        """Cancels the task."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _monitor(self) -> NoReturn:
        answered = False
        while True:
            if not answered:
                try:
                    await self._eviction.look_once()
                    answered = True
                except StoreUnavailable as error:
                    self._outage.seen(error)
            elif self._outage.lasts:
                # A Redis that refuses writes may answer reads: only the probe, which writes, can end the outage.
                pulse = await self._probe.look()
                if pulse.error is None:
                    self._outage.over()
                else:
                    self._outage.seen(pulse.error)
            await asyncio.sleep(_INTERVAL)
