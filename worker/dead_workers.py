"""Finds workers dead long before their leases are over, and frees their jobs (docs/decisions/0011-dead-workers.md)."""

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
#: Seconds between two looks, at least: a shorter window is a mistake, and must not keep Redis busy.
_LEAST: Final = 0.1
#: Seconds after which the registry is read anew.
_LIST_EVERY: Final = 2.0
#: Seconds until the next look when Redis does not allow it.
_REFUSED: Final = 10.0


class Absences:
    """Which workers were missing at every look of an unbroken window. Times are seconds of a clock that only rises.

    A window is made of looks that are close together and were answered at once: one look before a pause of this
    process and one after it say nothing of what was between. At each of them this worker itself was seen: else Redis
    was away, or is another one, and the others are as little to be seen for a while.
    """

    def __init__(self, me: str, window: float) -> None:
        #: Seconds between two looks.
        self.every = max(window / _LOOKS, _LEAST)
        self._me = me
        self._window = window
        self._last = -window
        self._since: dict[str, float] = {}

    def look(self, asked: float, answered: float, counts: Mapping[str, int]) -> list[str]:
        """Takes in one look: what was asked and answered when, and how many connections each worker has. Returns those
        that were missing for the whole window; they are missing anew from the next look on."""
        if asked - self._last > 2 * self.every:
            self.begin_anew()
        self._last = asked
        if answered - asked > self.every or not counts.get(self._me):
            self.begin_anew()
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

    def begin_anew(self) -> None:
        """What was seen so far counts no more."""
        self._since.clear()


class DeadWorkers:
    def __init__(self, registry: WorkerRegistry, lifeline: Lifeline, me: str, window: float) -> None:
        """`window`: seconds without a connection after which a worker is dead."""
        self._registry = registry
        self._lifeline = lifeline
        self._me = me
        self._absences = Absences(me, window)
        self._others: list[str] = []
        self._list_at = 0.0
        self._complained = False

    async def watch(self) -> NoReturn:
        while True:
            pause = self._absences.every
            try:
                await self._turn()
            except StoreUnavailable as error:
                logger.debug("other workers: %s", error)
                self._absences.begin_anew()
            except (StoreRefused, ValueError) as error:
                self._complain(error)
                self._absences.begin_anew()
                pause = _REFUSED
            await asyncio.sleep(pause)

    async def _turn(self) -> None:
        """Looks once. Raises StoreUnavailable; StoreRefused, ValueError if Redis does not tell."""
        run = self._lifeline.run
        if not run:
            self._absences.begin_anew()
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
            freed = await self._registry.reap(worker_id, self._me, run)
            if freed is not None:
                self._others.remove(worker_id)
                logger.warning("worker %s is dead: %d of its jobs wait for another", worker_id, len(freed))

    def _complain(self, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            logger.warning("%s: a killed worker's jobs wait until its lease is over", error)
