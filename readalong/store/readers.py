"""How many streams of a job are open, over all processes of the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from readalong.core.settings import Settings
from readalong.redis.facade import RedisFacade

#: Seconds between two reports of a process, and those for which one holds: a killed process is silent.
REPORT_EVERY: Final = 1.0
_HOLDS_MS: Final = 2500
#: Jobs of one call: Redis serves no other meanwhile.
_AT_ONCE: Final = 200


class ReaderStore:
    """The number of open streams of each job, by process."""

    def __init__(self, redis: RedisFacade, settings: Settings) -> None:
        self._redis = redis
        self._keys = settings.keys

    async def report(self, process: str, counts: Mapping[str, int]) -> dict[str, int]:
        """Says how many streams this process has of each job. Returns how many there are. Raises StoreUnavailable."""
        found: dict[str, int] = {}
        ids = [*counts]
        for start in range(0, len(ids), _AT_ONCE):
            some = ids[start : start + _AT_ONCE]
            names = [self._keys.readers(job_id) for job_id in some]
            sums = await self._redis.call("readers", names, process, _HOLDS_MS, *(counts[job_id] for job_id in some))
            found.update(zip(some, sums, strict=True))
        return found
