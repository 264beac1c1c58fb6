"""The sign of life of one worker: what it runs, how it keeps up, which Redis sees it, and who refuses it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import orjson

from readalong import __version__
from readalong.core.errors import StoreUnavailable
from readalong.store.job_index import JobIndex
from readalong.store.job_record import rfc3339
from readalong.store.worker_registry import WorkerRegistry
from readalong.worker.attempt import Attempt
from readalong.worker.lifeline import Lifeline
from readalong.worker.loop_lag import LoopLag
from readalong.worker.model.breaker import CircuitBreaker


class Heartbeat:
    """Writes the worker's record, which expires after a lease."""

    def __init__(
        self,
        index: JobIndex,
        registry: WorkerRegistry,
        identity: dict[str, Any],
        *,
        lifeline: Lifeline,
        breaker: CircuitBreaker,
        running: Mapping[str, Attempt],
        slots: int,
        lease: float,
    ) -> None:
        """`running`: the attempts that run now, by job id. `slots`: how many may run at once."""
        self._index = index
        self._registry = registry
        self._identity = identity
        self._lifeline = lifeline
        self._breaker = breaker
        self._running = running
        self._slots = slots
        self._lag = LoopLag()
        self._started_at = ""
        self._ttl_ms = int(lease * 1000)
        self._writing = asyncio.Lock()

    async def beat(self) -> int:
        """Writes the record and returns Redis' time, in milliseconds. Raises StoreUnavailable."""
        # One at a time: an older record must not overwrite a newer one that says that the lifeline is broken.
        async with self._writing:
            now = await self._index.now()
            self._started_at = self._started_at or rfc3339(now)
            record = {
                **self._identity,
                "version": __version__,
                "slots": self._slots,
                "started_at": self._started_at,
                "at": rfc3339(now),
                "lag_seconds": round(self._lag.take(), 3),
                "clock_off_seconds": round(time.time() - now / 1000, 3),
                **self._runs(now),
            }
            if self._lifeline.run_id:
                record["connected_to"] = self._lifeline.run_id
            if self._breaker.is_open:
                record["refused"] = self._breaker.code
            await self._registry.heartbeat(self._identity["id"], orjson.dumps(record), now, self._ttl_ms)
        return now

    def _runs(self, now: int) -> dict[str, list[str]]:
        """Returns the ids of the jobs that run, and since when each does."""
        clock = asyncio.get_running_loop().time()
        attempts = dict(self._running)
        since = [rfc3339(now - int((clock - attempt.claimed_at) * 1000)) for attempt in attempts.values()]
        return {"running": [*attempts], "since": since}

    async def announce(self) -> None:
        """Beats at once when the lifeline connects or breaks. Raises StoreUnavailable.

        Other workers take a worker for dead whose record names a lifeline that they do not see.
        """
        await self._lifeline.changed.wait()
        self._lifeline.changed.clear()
        try:
            await self.beat()
        except StoreUnavailable:
            self._lifeline.changed.set()
            raise
