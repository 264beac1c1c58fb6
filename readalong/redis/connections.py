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
from redis.exceptions import ReadOnlyError, TimeoutError

from readalong.redis.redis_internals import transport_of


class _Cancellable(AbstractConnection):
    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        if not self.is_connected:
            await self.connect()  # type: ignore[no-untyped-call]  # redis-py's own has no types
        elif check_health:
            await self.check_health()  # type: ignore[no-untyped-call]  # likewise
        timeout, self.socket_timeout = self.socket_timeout, None  # without one redis-py sends without `wait_for`
        try:
            async with asyncio.timeout(timeout):
                await super().send_packed_command(command, check_health=False)
        except builtins.TimeoutError:
            raise TimeoutError("Timeout writing to socket") from None
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
    """The same kind of connection, as above."""
    for ours in (_Tcp, _Tls, _Unix):  # a TLS connection is a TCP one too
        if issubclass(ours, kind):
            return ours
    raise TypeError(f"not a kind of redis-py's connections: {kind}")
