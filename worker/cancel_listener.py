"""Looks at the cancel flags while models are silent; between tokens every append answers the flag."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

import orjson
from arq.connections import ArqRedis
from redis.exceptions import ConnectionError, RedisError

from readalong.core.errors import StoreRefused, StoreUnavailable
from readalong.core.settings import Settings
from readalong.store.log import Log
from readalong.worker.attempt import Attempt, Stop

logger = logging.getLogger(__name__)


class CancelListener:
    """The flag in Redis is the truth; a nudge on the control channel holds it too, or makes us look at once."""

    def __init__(self, redis: ArqRedis, log: Log, settings: Settings, runs: Mapping[str, Attempt]) -> None:
        self._redis = redis
        self._log = log
        self._runs = runs
        self._every = settings.cancel_poll
        self._channel = settings.keys.control
        self._patience = settings.redis_timeout

    async def poll(self) -> None:
        """Looks at the flags of all silent jobs in one command, for ever."""
        # Half of it, and for jobs not looked at for half of it: one that fell silent just after a turn would otherwise
        # not be looked at in the next one either, and wait for twice as long as the setting says.
        half = self._every / 2
        while True:
            await asyncio.sleep(half)
            now = asyncio.get_running_loop().time()
            silent = [job_id for job_id, run in self._runs.items() if now - run.looked_at >= half]
            if silent:
                await self._look(silent)

    async def listen(self) -> None:
        """Obeys the flag that a nudge holds, or looks at the job's, for ever."""
        pause = 0.1
        while True:
            pubsub = self._redis.pubsub()
            try:
                await pubsub.subscribe(self._channel)
                asked = False
                while True:
                    message = await pubsub.get_message(timeout=self._patience)
                    if message is not None:
                        asked = False
                        pause = 0.1
                        if message["type"] == "message":
                            await self._nudged(message["data"])
                    elif asked:
                        # Half-open: nothing else would ever tell it from a quiet one.
                        raise ConnectionError("no answer")
                    else:
                        asked = True
                        await pubsub.ping()
            except (RedisError, OSError) as error:
                logger.debug("control channel: %s", error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, 2.0)
            finally:
                await pubsub.aclose()

    async def _nudged(self, data: bytes) -> None:
        try:
            nudge = orjson.loads(data)
            job_id, flag = nudge["look_at"], nudge.get("flag")
            run = self._runs.get(job_id)
        except (AttributeError, LookupError, TypeError, ValueError):
            logger.warning("control channel: not a nudge: %r", data[:100])
            return
        if run is None:
            return
        if isinstance(flag, str):
            run.interrupt(Stop.CANCELLED, by=flag)
        else:
            await self._look([job_id])

    async def _look(self, job_ids: list[str]) -> None:
        try:
            flags = await self._log.flags(job_ids)
        except (StoreUnavailable, StoreRefused) as error:
            logger.debug("cancel flags: %s", error)
            return
        now = asyncio.get_running_loop().time()
        for job_id in job_ids:
            run = self._runs.get(job_id)
            if run is None:
                continue
            run.looked_at = now
            if job_id in flags:
                run.interrupt(Stop.CANCELLED, by=flags[job_id])
