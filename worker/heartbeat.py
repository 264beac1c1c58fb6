"""The sign of life of one worker: what it runs, which Redis sees it, and whether its model refuses it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import orjson

from readalong.core.errors import StoreUnavailable
from readalong.store.job_index import JobIndex
from readalong.store.worker_registry import WorkerRegistry
from readalong.worker.lifeline import Lifeline
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
        running: Iterable[str],
        lease: float,
    ) -> None:
        """`running` iterates over the ids of the jobs that run now."""
        self._index = index
        self._registry = registry
        self._identity = identity
        self._lifeline = lifeline
        self._breaker = breaker
        self._running = running
        self._ttl_ms = int(lease * 1000)
        self._writing = asyncio.Lock()

    async def beat(self) -> int:
        """Writes the record and returns Redis' time, in milliseconds. Raises StoreUnavailable."""
        # One at a time: an older record must not overwrite a newer one that says that the lifeline is broken.
        async with self._writing:
            record = {**self._identity, "running": list(self._running)}
            if self._lifeline.run_id:
                record["connected_to"] = self._lifeline.run_id
            if self._breaker.is_open:
                record["refused"] = self._breaker.code
            now = await self._index.now()
            await self._registry.heartbeat(self._identity["id"], orjson.dumps(record), now, self._ttl_ms)
        return now

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
