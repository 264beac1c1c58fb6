"""Redis behind Sentinels: each connection is made to the present primary.

https://redis.io/docs/latest/develop/reference/sentinel-clients/
"""

from __future__ import annotations

import logging
from typing import cast
from urllib.parse import unquote

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection, Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, ConnectionError, RedisError

from readalong.core.settings import Settings
from readalong.redis.connections import connection_class

logger = logging.getLogger(__name__)


class Sentinels:
    """The Sentinels of the settings. Each connection asks anew: after a failover the answer is another."""

    def __init__(self, settings: Settings) -> None:
        self._addresses = settings.sentinel_addresses
        self._service = settings.redis_url.host or ""
        self._password = unquote(settings.redis_url.password or "")
        self._timeout = settings.redis_timeout

    async def primary(self) -> tuple[str, int]:
        """Returns the primary's host and port. Raises ConnectionError when no Sentinel knows."""
        for address in list(self._addresses):  # a copy: other callers move the addresses meanwhile
            # Last until it answers: a caller that gives up meanwhile asks another one next time.
            self._addresses.remove(address)
            self._addresses.append(address)
            try:
                found = await self._ask(*address)
            except (RedisError, OSError) as error:
                logger.warning("Sentinel %s:%d: %s", *address, type(error).__name__)
                continue
            if found:
                # The one that answered is asked first from now on.
                self._addresses.remove(address)
                self._addresses.insert(0, address)
                return found[0], int(found[1])
        raise ConnectionError(f"no Sentinel knows {self._service!r}")

    async def _ask(self, host: str, port: int, password: str | None = None) -> list[str] | None:
        try:
            pool = ConnectionPool(
                connection_class(Connection),
                host=host,
                port=port,
                password=password,
                socket_timeout=self._timeout,
                socket_connect_timeout=self._timeout,
                decode_responses=True,
            )
            async with Redis.from_pool(pool) as sentinel:
                return cast(
                    list[str] | None,
                    await sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service),
                )
        except AuthenticationError:
            if password is not None or not self._password:
                raise
        # Not at first: one without a password would refuse it.
        return await self._ask(host, port, self._password)


def sentinel_connection(kind: type[AbstractConnection], sentinels: Sentinels) -> type[AbstractConnection]:
    """Returns a subclass of this kind of TCP connection that connects to the primary."""

    class Led(kind):  # type: ignore[valid-type, misc]  # the base is a variable
        retry: Retry

        async def connect(self) -> None:
            # redis-py's own tries would all go to the address of the first, which a failover may have left.
            retry, self.retry = self.retry, Retry(NoBackoff(), 0)
            try:
                await retry.call_with_retry(self._connect_to_primary, self._give_up)
            finally:
                self.retry = retry

        async def _connect_to_primary(self) -> None:
            if not self.is_connected:
                self.host, self.port = await sentinels.primary()
            await super().connect()

        async def _give_up(self, _: Exception) -> None:
            await self.disconnect()

    return Led
