"""Reads the cancel flags while models are silent. Between tokens every append returns the flag."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import NoReturn

import orjson

from readalong.core.errors import StoreRefused, StoreUnavailable
from readalong.core.settings import Settings
from readalong.redis.facade import RedisFacade
from readalong.store.log import Log
from readalong.worker.attempt import Attempt, Stop

logger = logging.getLogger(__name__)


class CancelListener:
    """The flag in Redis decides. A notification on the control channel carries it, or causes a read at once.

    Its three loops are tasks of the worker: the failure of one ends the worker, not the listener alone.
    """

    def __init__(self, redis: RedisFacade, log: Log, settings: Settings, attempts: Mapping[str, Attempt]) -> None:
        self._redis = redis
        self._log = log
        self._attempts = attempts
        self._every = settings.cancel_poll
        self._channel = settings.keys.control
        #: Jobs whose flags a notification asks to read.
        self._to_look_at: set[str] = set()
        self._asked = asyncio.Event()

    async def poll(self) -> NoReturn:
        """Reads the flags of all silent jobs in one command, for ever."""
        # Twice as often as the setting says: a job that falls silent just after a turn is not due in the next one.
        half = self._every / 2
        while True:
            await asyncio.sleep(half)
            now = asyncio.get_running_loop().time()
            silent = [job_id for job_id, attempt in self._attempts.items() if now - attempt.looked_at >= half]
            if silent:
                await self._look(silent)

    async def listen(self) -> NoReturn:
        """Obeys the flags that notifications carry, for ever. The poll finds the flags of lost notifications."""
        await self._redis.subscribe([self._channel], on_message=self._on_message).run()

    async def look_when_asked(self) -> NoReturn:
        """Reads the flags of jobs whose notification carries none, for ever."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            job_ids, self._to_look_at = self._to_look_at, set()
            await self._look([*job_ids])

    def _on_message(self, channel: bytes, data: bytes) -> None:
        try:
            message = orjson.loads(data)
            job_id, flag = message["look_at"], message.get("flag")
            attempt = self._attempts.get(job_id)
        except (AttributeError, LookupError, TypeError, ValueError):
            logger.warning("control channel: not a cancel notification: %r", data[:100])
            return
        if attempt is None:
            return
        if isinstance(flag, str):
            attempt.interrupt(Stop.CANCELLED, by=flag)
        else:
            self._to_look_at.add(job_id)
            self._asked.set()

    async def _look(self, job_ids: list[str]) -> None:
        try:
            flags = await self._log.flags(job_ids)
        except (StoreUnavailable, StoreRefused) as error:
            logger.debug("cancel flags: %s", error)
            return
        now = asyncio.get_running_loop().time()
        for job_id in job_ids:
            attempt = self._attempts.get(job_id)
            if attempt is None:
                continue
            attempt.looked_at = now
            if job_id in flags:
                attempt.interrupt(Stop.CANCELLED, by=flags[job_id])
