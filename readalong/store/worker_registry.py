"""Which workers are there: the registry of their signs of life, and the channels that they are subscribed to.

The kernel closes a dead process's connections at once, and Redis then counts one subscriber less. A sign of life says
`connected_to`, the run id of the Redis at which the worker is subscribed; a worker that loses its subscription takes
that back over its other connections. So one that says it and has no subscriber is dead, or was cut off a moment ago
(docs/decisions/0011-dead-workers.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import orjson
from arq.constants import in_progress_key_prefix

from readalong.core.settings import Settings
from readalong.redis.facade import RedisFacade

#: Jobs that one call asks about: a script keeps all others from Redis while it runs.
_AT_ONCE: Final = 1000
#: Longest that a worker counts as live from now on, in milliseconds: no lease is longer.
_LONGEST_LIFE: Final = 660_000


class Waiting(NamedTuple):
    """`now`: ms since the epoch. `workers`: how many live. `job_ids`: those, of the ones asked about, that wait."""

    now: int
    workers: int
    job_ids: frozenset[str]


class WorkerRegistry:
    """The workers of one prefix. Each call raises StoreUnavailable."""

    def __init__(self, redis: RedisFacade, settings: Settings) -> None:
        self._redis = redis
        self._keys = settings.keys
        self._ttl_ms = int(settings.job_ttl * 1000)
        self._leased = [self._keys.queue, self._keys.leases, self._keys.workers]

    async def heartbeat(self, worker_id: str, details: bytes, now: int, ttl_ms: int) -> None:
        """Writes a worker's sign of life; `details` is JSON. Forgets workers that are long dead."""
        workers = self._keys.workers
        await asyncio.gather(
            self._redis.command("SET", self._keys.worker(worker_id), details, "PX", ttl_ms),
            self._redis.command("ZADD", workers, now + ttl_ms, worker_id),
            self._redis.command("ZREMRANGEBYSCORE", workers, "-inf", now),
            # No lease is longer: set by hand, or before Redis' clock leapt back.
            self._redis.command("ZREMRANGEBYSCORE", workers, now + _LONGEST_LIFE, "+inf"),
        )
        # Behind the others: on a connection of its own it might overtake them, and leave a set that lives for ever.
        await self._redis.command("PEXPIRE", workers, 10 * ttl_ms)

    async def others_get_through(self, worker_id: str, now: int) -> bool:
        """Returns whether the sign of life of another live worker names no refusal by its model."""
        live = await self._redis.command("ZRANGEBYSCORE", self._keys.workers, now, now + _LONGEST_LIFE)
        others = [found for name in live if (found := name.decode(errors="replace")) != worker_id]
        signs = await self._redis.command("MGET", *(self._keys.worker(other) for other in others)) if others else []
        return any(sign is not None and _gets_through(sign) for sign in signs)

    async def leave(self, worker_id: str) -> None:
        """Removes a worker that ends."""
        await asyncio.gather(
            self._redis.command("DEL", self._keys.worker(worker_id)),
            self._redis.command("ZREM", self._keys.workers, worker_id),
        )

    async def live_workers(self, now: int) -> int:
        """Returns how many workers have given a sign of life lately."""
        return int(await self._redis.command("ZCOUNT", self._keys.workers, now, now + _LONGEST_LIFE))

    async def workers(self) -> list[str]:
        """Returns the ids of all registered workers."""
        members = await self._redis.command("ZRANGE", self._keys.workers, 0, -1)
        return [worker_id for member in members if (worker_id := _text(member))]

    async def connections(self, worker_ids: Sequence[str]) -> dict[str, int]:
        """Returns the number of subscribers of each worker's channel. Raises StoreRefused if Redis does not allow the
        command, ValueError for a reply of another form."""
        flat = await self._redis.command("PUBSUB", "NUMSUB", *map(self._keys.alive, worker_ids))
        counts = _counts(flat)
        if len(counts) != len(worker_ids):
            raise ValueError(f"not an answer to PUBSUB NUMSUB: {flat!r:.100}")
        return dict(zip(worker_ids, counts, strict=True))

    async def reap(self, worker_id: str, asking: str, run: str) -> list[str] | None:
        """Frees the jobs of a dead worker at once, and returns their ids. None, and nothing changes, if it lives, has
        left, or does not say that it was `connected_to` this `run` of Redis. `asking`: the worker that calls."""
        keys = [
            *self._leased,
            self._keys.worker(worker_id),
            self._keys.alive(worker_id),
            self._keys.alive(asking),
            self._keys.wake,
        ]
        freed = await self._redis.call("reap", keys, worker_id, run, in_progress_key_prefix, self._ttl_ms)
        return None if freed is None else [job_id.decode(errors="replace") for job_id in freed]

    async def waiting(self, job_ids: Sequence[str]) -> Waiting:
        """Returns which of these jobs, which have begun and not ended, wait for a worker; and how many workers there
        are."""
        prefixes = (in_progress_key_prefix, self._keys.worker(""), self._keys.alive(""))
        found: set[str] = set()
        now = workers = 0
        for start in range(0, max(len(job_ids), 1), _AT_ONCE):
            page = job_ids[start : start + _AT_ONCE]
            now, workers, *ids = await self._redis.call("waiting", self._leased, *prefixes, *page)
            found.update(job_id.decode() for job_id in ids)
        return Waiting(now, workers, frozenset(found))


def _text(member: bytes) -> str:
    """Returns a worker's id; empty for a member that is none."""
    try:
        return member.decode()
    except UnicodeDecodeError:
        return ""


def _counts(flat: Any) -> list[int]:
    """Raises ValueError."""
    if not isinstance(flat, list) or not all(isinstance(count, int) for count in flat[1::2]):
        raise ValueError(f"not an answer to PUBSUB NUMSUB: {flat!r:.100}")
    return flat[1::2]


def _gets_through(sign: bytes) -> bool:
    """Returns the fields of a sign of life; none of one that cannot be read."""
    try:
        details = orjson.loads(sign)
    except orjson.JSONDecodeError:
        return False
    return isinstance(details, dict) and not details.get("refused")
