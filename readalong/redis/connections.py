"""redis-py's connections, on which no cancellation gets lost.

redis-py 5 sends through `asyncio.wait_for`, which until Python 3.12 swallows a cancellation that arrives just as the
bytes have left: a task that was told to stop goes on for ever, and a caller that waits for its end hangs.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Iterable
from typing import Any

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import ConnectionError, ReadOnlyError, TimeoutError

from readalong.redis.redis_internals import transport_of


class _Cancellable(AbstractConnection):
    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        untyped: Any = self  # in redis-py these two have no types
        if not self.is_connected:
            await untyped.connect()
        elif check_health:
            await untyped.check_health()
        # Without a time-out of its own redis-py sends without `wait_for`, which can swallow a cancellation.
        timeout, self.socket_timeout = self.socket_timeout, None
        try:
            async with asyncio.timeout(timeout):
                await super().send_packed_command(command, check_health=False)
        except builtins.TimeoutError:
            raise TimeoutError("Timeout writing to socket") from None
        except IndexError:  # redis-py reads the arguments of an OSError that has none
            raise ConnectionError("Error while writing to socket") from None
        finally:
            self.socket_timeout = timeout

    async def disconnect(self, nowait: bool = False) -> None:
        transport = transport_of(self)
        try:
            await super().disconnect(nowait)
        except TimeoutError:
            # Half-open: TLS waits for the peer's farewell, TCP for its acknowledgement. To give up a broken connection
            # must not fail.
            if transport is not None:
                transport.abort()

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super().read_response(*args, **kwargs)
        except ReadOnlyError:
            # The server was the primary once. A new connection finds the present one.
            await self.disconnect(nowait=True)
            raise


class _Tcp(_Cancellable, Connection):
    """redis://"""


class _Tls(_Cancellable, SSLConnection):
    """rediss://"""


class _Unix(_Cancellable, UnixDomainSocketConnection):
    """unix://"""


def connection_class(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    """Returns the class of this module for a kind of redis-py's connections. Raises TypeError for an unknown kind."""
    for ours in (_Tcp, _Tls, _Unix):  # a TLS connection is a TCP one too
        if issubclass(ours, kind):
            return ours
    raise TypeError(f"not a kind of redis-py's connections: {kind}")
