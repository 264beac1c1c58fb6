"""How Redis is just now: whether it answers and takes writes, what waits in it, and which workers are there."""

from __future__ import annotations

import asyncio
import math
from typing import Any, Final, Literal, NamedTuple

import orjson

from readalong.core.errors import StoreRefused, StoreUnavailable
from readalong.core.settings import Settings
from readalong.redis.client import Trouble, trouble_of
from readalong.redis.facade import RedisFacade

State = Literal["ok", Trouble]

#: Milliseconds that the key lives which the probe writes.
_PROBE_MS: Final = 1000


class RedisHealth(NamedTuple):
    """`error` says why `redis` is not ok. The numbers are None where it does not tell them.

    `queued`: jobs that wait; `oldest_wait`: seconds since the first of them was enqueued, None if none waits.
    `workers`: those that gave a sign of life lately; `refused`: those of them whose model refuses them.
    """

    redis: State
    error: StoreUnavailable | None = None
    queued: int | None = None
    oldest_wait: float | None = None
    workers: int | None = None
    refused: int | None = None


class Probe:
    """Finds out whether a submit would be stored now."""

    def __init__(self, redis: RedisFacade, settings: Settings) -> None:
        self._redis = redis
        self._keys = settings.keys
        self._timeout = settings.redis_timeout

    async def look(self) -> RedisHealth:
        """Two round trips, within the Redis time-out altogether. Raises nothing that Redis may answer."""
        health = RedisHealth("away")
        try:
            async with asyncio.timeout(self._timeout):
                health = await self._read()
                await self._redis.command("SET", self._keys.probe, "1", "PX", _PROBE_MS)
            return health
        except StoreUnavailable as error:
            return health._replace(redis=trouble_of(error), error=error)
        except TimeoutError:
            return health._replace(redis="away", error=StoreUnavailable("Redis does not answer in time", retry_after=1))
        except StoreRefused as refusal:
            # A right is missing, or a person has broken the key: what a submit needs may be refused too.
            return health._replace(redis="refusing", error=StoreUnavailable(f"Redis refuses: {refusal}", retry_after=1))

    async def _read(self) -> RedisHealth:
        now, queued, first, ids = await self._redis.call("health", [self._keys.queue, self._keys.workers])
        place = math.nan if first is None else float(first)
        refused = 0
        if ids:
            details = await self._redis.command(
                "MGET", *(self._keys.worker(one.decode(errors="replace")) for one in ids)
            )
            refused = sum(map(_is_refused, details))
        wait = max(now - place, 0) / 1000 if math.isfinite(place) else None
        return RedisHealth("ok", None, queued, wait, len(ids), refused)


def _is_refused(details: Any) -> bool:
    """Returns whether a worker's sign of life says that its model refuses it."""
    try:
        found = orjson.loads(details or b"{}")
    except orjson.JSONDecodeError:  # a person may write anything there
        return False
    return isinstance(found, dict) and bool(found.get("refused"))
