"""Which jobs end without a watcher, and until when each may go without a watcher.

A sorted set, by Redis' clock: the submit adds a job, every API process renews those that it has watchers of and says
when its last one leaves, the workers take what is due (docs/decisions/0008-orphans.md). Each job has a second set, of
the processes that have watchers of it: one that is silent and still subscribed to its heartbeat lives, and keeps
what it has. The job's hash is the truth about whether it wants this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from readalong.core.options import LONGEST_GRACE
from readalong.core.settings import Settings
from readalong.redis.facade import Argument, RedisFacade

#: Seconds between two renewals by one API process, and between two looks by one worker.
RENEW_EVERY: Final = 1.0
LOOK_EVERY: Final = 0.5

#: Least time without a word of the API that counts as absence, in seconds: a process may stumble for so long.
_LEAST_SILENCE: Final = 2.0
#: Jobs renewed by one call.
_AT_ONCE: Final = 1000


class Visit(NamedTuple):
    """The time in which a process has watchers of a job without a break. `grace`: the job's own, in ms, or None."""

    job_id: str
    name: str
    grace: int | None


def lease_ms(settings: Settings, grace: int | None = None) -> int:
    """Returns the milliseconds after a renewal in which the next one must come. `grace`: the job's own, in ms, or None.

    A watcher that comes back within the grace is in time, though its process was killed right after a renewal and the
    next process says so an interval later: hence twice the interval. A process that is alive may be silent for as
    long as a dead connection to Redis goes unnoticed.
    """
    own = settings.disconnect_grace if grace is None else grace / 1000
    return int((max(own, settings.redis_timeout, _LEAST_SILENCE) + 2 * RENEW_EVERY) * 1000)


def first_ms(settings: Settings, grace: int | None) -> int:
    """Returns the milliseconds after the submit within which the first watcher must come, also with a grace of 0."""
    own = settings.disconnect_grace if grace is None else grace / 1000
    return int((max(own, settings.disconnect_grace, _LEAST_SILENCE) + 2 * RENEW_EVERY) * 1000)


def set_ttl_ms(settings: Settings) -> int:
    """Returns the milliseconds that the set outlives its last change: longer than any member's time."""
    return lease_ms(settings) + int((settings.job_ttl + LONGEST_GRACE) * 1000)


class PresenceStore:
    """The jobs that end without a watcher, and the visits of processes that watch them."""

    def __init__(self, redis: RedisFacade, settings: Settings) -> None:
        self._settings = settings
        self._redis = redis
        self._keys = settings.keys
        self._lease_ms = lease_ms(settings)
        self._grace_ms = int(settings.disconnect_grace * 1000)
        self._ttl_ms = set_ttl_ms(settings)
        self._holds_ms = lease_ms(settings, 0)
        self._still_ms = int(settings.standstill * 1000)
        self._hubs = settings.keys.heartbeat("")

    async def touch(self, visits: Sequence[Visit]) -> None:
        """Notes that these jobs have watchers. Ignores a job that is not in the set. Raises StoreUnavailable."""
        for start in range(0, len(visits), _AT_ONCE):
            some = visits[start : start + _AT_ONCE]
            args = _flat(some, [lease_ms(self._settings, visit.grace) for visit in some])
            await self._redis.call("touch", self._names(some), self._ttl_ms, self._holds_ms, self._still_ms, *args)

    async def depart(self, visits: Sequence[Visit]) -> None:
        """Notes that these jobs have no watchers here any more. A job that has none at any process is abandoned after
        its grace, unless a watcher comes. Raises StoreUnavailable."""
        for start in range(0, len(visits), _AT_ONCE):
            some = visits[start : start + _AT_ONCE]
            graces = [self._grace_ms if visit.grace is None else visit.grace for visit in some]
            await self._redis.call("depart", self._names(some), self._hubs, self._still_ms, *_flat(some, graces))

    async def find_abandoned(self, count: int) -> list[str]:
        """Returns up to `count` jobs that were unwatched for too long. They come again later unless forgotten.

        Returns none for a while after a time without a call. Raises StoreUnavailable.
        """
        keys = [self._keys.presence, self._keys.orphans_from]
        # Half a lease without a look, and the other half is left to processes that have to connect again.
        times = (self._lease_ms, self._lease_ms // 2)
        name = self._keys.watchers("?").split("?")
        found = await self._redis.call("find_abandoned", keys, *times, count, self._hubs, self._still_ms, *name)
        return [job_id.decode() for job_id in found]

    async def forget(self, job_ids: Sequence[str]) -> None:
        """Removes jobs that have ended or are cancelled. Raises StoreUnavailable."""
        await self._redis.command("ZREM", self._keys.presence, *job_ids)

    def _names(self, visits: Sequence[Visit]) -> list[str]:
        return [self._keys.presence, *(self._keys.watchers(visit.job_id) for visit in visits)]


def _flat(visits: Sequence[Visit], times: Sequence[int]) -> list[Argument]:
    return [part for visit, time in zip(visits, times, strict=True) for part in (visit.job_id, time, visit.name)]
