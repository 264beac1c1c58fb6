"""A subscription that shows other workers that this process lives: the kernel closes it when the process dies."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Any, Final, NoReturn

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from readalong.redis.client import as_ours
from readalong.redis.protocol import RedisProtocol, pack

logger = logging.getLogger(__name__)

#: Seconds before the next try to connect: the first pause and the longest. They must stay far below the time after
#: which other workers take this one for dead.
_PAUSES: Final = (0.05, 0.4)
#: Seconds that the first try may take: a SYN that is lost while Redis restarts is repeated only after one.
_FIRST_TRY: Final = 0.5
#: Seconds before the next try after Redis has refused the subscription.
_REFUSED: Final = 10.0


class Lifeline:
    """Reconnects as soon as the connection breaks. `changed` is set when it breaks and when it is made."""

    def __init__(self, redis: Redis, channel: str, patience: float) -> None:
        """`patience`: seconds that a connection to a slow Redis may take."""
        #: The run id of the Redis that holds the subscription; None without one, "" if Redis does not state it.
        self.run_id: str | None = None
        self.changed = asyncio.Event()
        self._redis = redis
        self._channel = channel
        self._patience = patience
        self._protocol: RedisProtocol | None = None
        self._connected_at = 0.0
        self._warned = False

    async def hold(self) -> NoReturn:
        """Connects, and connects again, for ever."""
        pause, limit = _PAUSES[0], min(_FIRST_TRY, self._patience)
        while True:
            try:
                async with asyncio.timeout(limit):
                    protocol, run_id = await self._connect()
            except (RedisError, OSError) as error:
                logger.debug("lifeline: %s", error)
                limit = min(2 * limit, self._patience)
                if isinstance(error, _Refused):
                    self._warn(error)
                    pause = _REFUSED
            else:
                pause, limit = _PAUSES[0], min(_FIRST_TRY, self._patience)
                if not run_id:
                    self._warn("Redis does not state its run id (INFO server)")
                await self._hold_until_lost(protocol, run_id)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, _PAUSES[1])

    def unseen(self, since: float) -> None:
        """Drops the connection if it is older than `since`, by the loop's clock: Redis, asked then, counted no
        subscriber, so the connection is half-open."""
        if self._protocol is not None and self._connected_at < since:
            self._protocol.abort()

    async def _connect(self) -> tuple[RedisProtocol, str]:
        connection = self._redis.connection_pool.make_connection()
        connection.retry = Retry(NoBackoff(), 0)  # redis-py's own pauses are longer
        greeting = _Greeting()
        protocol = await RedisProtocol.open(connection, greeting.receive, greeting.lost)
        try:
            # Before the subscription: a connection that has one takes no INFO.
            protocol.send(pack(("INFO", "server")))
            protocol.send(pack(("SUBSCRIBE", self._channel)))
            return protocol, await greeting.done
        except BaseException:
            protocol.leave()
            raise

    async def _hold_until_lost(self, protocol: RedisProtocol, run_id: str) -> None:
        self._protocol, self.run_id = protocol, run_id
        self._connected_at = asyncio.get_running_loop().time()
        self.changed.set()
        try:
            await protocol.lost.wait()
        finally:
            protocol.leave()
            self._protocol = self.run_id = None
            self.changed.set()

    def _warn(self, reason: object) -> None:
        if not self._warned:
            self._warned = True
            logger.warning("%s: if this worker is killed, its jobs wait until its lease is over", reason)


class _Refused(RedisError):
    """Redis does not allow the subscription."""


class _Greeting:
    """The replies to INFO and SUBSCRIBE. `done`: the run id of this Redis, "" if Redis does not state it."""

    def __init__(self) -> None:
        self.done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._run_id: str | None = None

    def receive(self, reply: Any) -> None:
        if self.done.done():  # a message on the channel means nothing
            return
        refused = isinstance(reply, RedisError) and as_ours(reply) is None
        if isinstance(reply, Exception) and not refused:
            self.done.set_exception(reply)  # Redis is busy with a script, for example: `hold` tries again
        elif self._run_id is None:
            self._run_id = "" if refused else _run_id(reply)
        elif refused:
            self.done.set_exception(_Refused(str(reply)))
        else:
            self.done.set_result(self._run_id)

    def lost(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


def _run_id(info: Any) -> str:
    if isinstance(info, bytes):
        for line in info.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name == b"run_id":
                return value.decode(errors="replace")
    return ""
