"""Finds dead workers long before their leases are over, and frees their jobs (docs/decisions/0011-dead-workers.md)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Final, NoReturn

from readalong.core.errors import StoreRefused, StoreUnavailable
from readalong.store.worker_registry import WorkerRegistry
from readalong.worker.lifeline import Lifeline

logger = logging.getLogger(__name__)

#: Looks that make a window, besides the first.
_LOOKS: Final = 3
#: Minimum seconds between two looks: a window that is set too short must not keep Redis busy.
_LEAST: Final = 0.1
#: Seconds after which the registry is read anew.
_LIST_EVERY: Final = 2.0
#: Seconds until the next look when Redis does not allow it.
_REFUSED: Final = 10.0


class Absences:
    """The workers that were missing at every look of an unbroken window. Times are of a monotonic clock.

    A window is made of looks that are close together and were answered at once: a look before a pause of this process
    and a look after it say nothing of the time between. Each look must show this worker itself. If it does not, Redis
    was away or is another one, and the other workers' connections are missing for the same reason.
    """

    def __init__(self, me: str, window: float) -> None:
        #: Seconds between two looks.
        self.every = max(window / _LOOKS, _LEAST)
        self._me = me
        self._window = window
        self._last = -window
        self._since: dict[str, float] = {}

    def look(self, asked: float, answered: float, counts: Mapping[str, int]) -> list[str]:
        """Adds one look: when it was asked and answered, and the number of connections of each worker.

        Returns the workers that were missing for the whole window. Each is returned once a window.
        """
        if asked - self._last > 2 * self.every:
            self.reset()
        self._last = asked
        if answered - asked > self.every or not counts.get(self._me):
            self.reset()
            return []
        self._since = {
            # Redis looked after it was asked and before it answered.
            worker_id: self._since.get(worker_id, answered)
            for worker_id, count in counts.items()
            if not count
        }
        # A timer may fire a little early.
        gone = [worker_id for worker_id, since in self._since.items() if asked - since >= 0.98 * self._window]
        for worker_id in gone:
            del self._since[worker_id]
        return gone

    def reset(self) -> None:
        """Starts a new window."""
        self._since.clear()


class DeadWorkers:
    """Looks at the lifelines of all registered workers, and frees the jobs of dead ones."""

    def __init__(self, registry: WorkerRegistry, lifeline: Lifeline, me: str, window: float) -> None:
        """`window`: seconds without a connection after which a worker is dead."""
        self._registry = registry
        self._lifeline = lifeline
        self._me = me
        self._absences = Absences(me, window)
        self._others: list[str] = []
        self._list_at = 0.0
        self._warned = False

    async def watch(self) -> NoReturn:
        """Looks for ever."""
        while True:
            pause = self._absences.every
            try:
                await self._turn()
            except StoreUnavailable as error:
                logger.debug("other workers: %s", error)
                self._absences.reset()
            except (StoreRefused, ValueError) as error:
                self._warn(error)
                self._absences.reset()
                pause = _REFUSED
            await asyncio.sleep(pause)

    async def _turn(self) -> None:
        """Looks once. Raises StoreUnavailable, and StoreRefused or ValueError if Redis refuses the count."""
        run_id = self._lifeline.run_id
        if not run_id:
            self._absences.reset()
            return
        loop = asyncio.get_running_loop()
        if loop.time() >= self._list_at:
            self._others = [worker_id for worker_id in await self._registry.workers() if worker_id != self._me]
            self._list_at = loop.time() + _LIST_EVERY
        asked = loop.time()
        counts = await self._registry.connections([self._me, *self._others])
        if not counts[self._me]:
            self._lifeline.unseen(asked)
        for worker_id in self._absences.look(asked, loop.time(), counts):
            freed = await self._registry.reap(worker_id, self._me, run_id)
            if freed is not None:
                self._others.remove(worker_id)
                logger.warning("worker %s is dead: %d of its jobs re-queued", worker_id, len(freed))

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            logger.warning("%s: a killed worker's jobs wait until its lease is over", error)
