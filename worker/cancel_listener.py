"""Looks at the cancel flags while models are silent; between tokens every append answers the flag."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

import orjson
from arq.connections import ArqRedis
from redis.exceptions import RedisError

from readalong.core.errors import StoreUnavailable
from readalong.core.settings import Settings
from readalong.redis.pubsub import PubSubConnection
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
        #: Jobs whose flags a nudge asks to look at.
        self._to_look_at: set[str] = set()
        self._asked = asyncio.Event()

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
        connection = PubSubConnection(
            self._redis,
            None,
            channels=[self._channel],
            heartbeat=self._patience / 2,
            patience=self._patience,
            on_message=self._nudged,
            on_gap=_nothing,
        )
        try:
            await asyncio.gather(*connection.start(), self._look_when_asked())
        finally:
            await connection.close()

    async def _look_when_asked(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            job_ids, self._to_look_at = self._to_look_at, set()
            await self._look([*job_ids])

    def _nudged(self, channel: bytes, data: bytes) -> None:
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
            self._to_look_at.add(job_id)
            self._asked.set()

    async def _look(self, job_ids: list[str]) -> None:
        try:
            flags = await self._log.flags(job_ids)
        except (StoreUnavailable, RedisError) as error:
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


def _nothing() -> None:
    """The poll finds the flags of nudges that were lost."""
