"""Finds out whether Redis may drop keys of readalong when it is full: a job's log would have a hole."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any, Final

from readalong.core.errors import StoreRefused, StoreUnavailable
from readalong.core.settings import Settings
from readalong.redis.facade import RedisFacade

logger = logging.getLogger(__name__)

_SAFE: Final = "noeviction"
#: Seconds for which an answer counts as new.
_EVERY: Final = 10.0


class Eviction:
    """Reads Redis' own account of itself, and writes it once into the log of this process."""

    def __init__(self, redis: RedisFacade, settings: Settings) -> None:
        self._redis = redis
        self._address = settings.safe_redis_url
        self._timeout = settings.redis_timeout
        self._said = False
        self._looked_at = -_EVERY
        #: Redis' `maxmemory-policy` where it may drop keys of ours: all have a time to live. None where it may not.
        self.policy: str | None = None

    async def look(self) -> None:
        """Raises StoreUnavailable. A Redis that does not allow INFO says nothing, which is logged too."""
        try:
            found = await self._redis.info("server", "memory")
        except StoreRefused as error:
            found = {}
            if not self._said:
                logger.warning("Redis at %s does not say what it does when it is full: %s", self._address, error)
        self._looked_at = asyncio.get_running_loop().time()
        policy = str(found.get("maxmemory_policy", _SAFE))
        self.policy = None if policy == _SAFE else policy
        if found and not self._said:
            self._say(found)
        self._said = True

    async def look_again(self) -> None:
        """As `look`, unless that was a moment ago. Within the Redis time-out; a Redis that is away keeps its policy."""
        now = asyncio.get_running_loop().time()
        if now - self._looked_at >= _EVERY:
            with suppress(StoreUnavailable, TimeoutError):
                async with asyncio.timeout(self._timeout):
                    await self.look()

    async def look_once(self) -> None:
        """As `look`, until it has been said."""
        if not self._said:
            await self.look()

    def _say(self, found: dict[str, Any]) -> None:
        name, version = found.get("server_name", "redis"), found.get("redis_version")
        logger.info("Redis answers at %s: %s %s", self._address, name, found.get(f"{name}_version", version))
        if self.policy is not None:
            logger.error(
                "REDIS MAY DROP JOBS: its maxmemory-policy is %s, and %s. Set it to %s: "
                "with any other one a full Redis deletes logs and queues instead of refusing writes.",
                self.policy,
                f"maxmemory is {found['maxmemory']} bytes" if found.get("maxmemory") else "maxmemory is not set yet",
                _SAFE,
            )
