"""Says in the log how Redis is: once when it is first there, and when an outage is over."""

from __future__ import annotations

import asyncio
from typing import Final, NoReturn

from readalong.core.errors import StoreUnavailable
from readalong.process.outage import OutageLogger
from readalong.redis.eviction import Eviction
from readalong.store.health import Probe

#: Seconds between two looks at a Redis that is away.
_AGAIN: Final = 1.0


class RedisMonitor:
    """Asks nothing of a Redis that has answered and that no request has found away since."""

    def __init__(self, probe: Probe, eviction: Eviction, outage: OutageLogger) -> None:
        self._probe = probe
        self._eviction = eviction
        self._outage = outage
        self._task: asyncio.Task[NoReturn] | None = None

    def start(self) -> asyncio.Task[NoReturn]:
        """Returns its task, which never ends by itself."""
        self._task = asyncio.create_task(self._watch(), name="redis watch")
        return self._task

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> NoReturn:
        answered = False
        while True:
            if not answered:
                try:
                    await self._eviction.look_once()
                    answered = True
                except StoreUnavailable as error:
                    self._outage.seen(error)
            elif self._outage.lasts:
                # What refuses writes answers what reads: only the probe tells.
                pulse = await self._probe.look()
                if pulse.error is None:
                    self._outage.over()
                else:
                    self._outage.seen(pulse.error)
            await asyncio.sleep(_AGAIN)
