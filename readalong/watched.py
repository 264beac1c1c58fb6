"""Which jobs end when nobody watches them, and until when each may go without a watcher.

A sorted set, by Redis' clock: the submit adds a job, every API process renews those that it has watchers of, the
workers take what is due (docs/decisions/0008-orphans.md). The job's hash is the truth about whether it wants this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from redis.asyncio import Redis

from readalong.connection import translated
from readalong.pipe import Pipe
from readalong.scripts import Scripts
from readalong.settings import Settings

#: Seconds between two renewals by one API process, and between two looks by one worker.
RENEW_EVERY: Final = 1.0
LOOK_EVERY: Final = 0.5

#: Least grace, in seconds: a process may stumble for so long.
_LEAST_GRACE: Final = 2.0
#: Jobs renewed by one call.
_AT_ONCE: Final = 1000


def lease_ms(settings: Settings) -> int:
    """Milliseconds from a renewal on in which the next one must come.

    Whoever comes back within the grace is in time though the last renewal was before his leaving and the next one comes
    after his return: hence twice the interval.
    """
    return int((max(settings.disconnect_grace, _LEAST_GRACE) + 2 * RENEW_EVERY) * 1000)


def set_ttl_ms(settings: Settings) -> int:
    """Milliseconds that the set outlives its last change: longer than any member's time."""
    return lease_ms(settings) + int(settings.job_ttl * 1000)


class Watched:
    def __init__(self, redis: Redis, settings: Settings, pipe: Pipe | None = None) -> None:
        self._redis = redis
        self._run = Scripts(pipe or redis)
        self._keys = settings.keys
        self._lease_ms = lease_ms(settings)
        self._ttl_ms = set_ttl_ms(settings)

    async def attend(self, job_ids: Sequence[str]) -> None:
        """These jobs have watchers. Does nothing for one that is not in the set. Raises StoreUnavailable."""
        for start in range(0, len(job_ids), _AT_ONCE):
            some = job_ids[start : start + _AT_ONCE]
            await self._run("attend", [self._keys.watched], self._lease_ms, self._ttl_ms, *some)

    async def orphans(self, count: int) -> list[str]:
        """Up to `count` jobs that nobody has watched for too long. They are answered again later unless forgotten.

        None for a while after one in which nobody asked. Raises StoreUnavailable.
        """
        keys = [self._keys.watched, self._keys.orphans_from]
        # Half a lease without a look, and the other half is left to whoever has to connect again.
        found = await self._run("orphans", keys, self._lease_ms, self._lease_ms // 2, count)
        return [job_id.decode() for job_id in found]

    async def forget(self, job_ids: Sequence[str]) -> None:
        """These jobs have ended, or are cancelled. Raises StoreUnavailable."""
        with translated():
            await self._redis.zrem(self._keys.watched, *job_ids)
