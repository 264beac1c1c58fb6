"""redis-py's connections, on which no cancellation gets lost.

redis-py 5 sends through `asyncio.wait_for`, which until Python 3.12 swallows a cancellation that arrives just as the
bytes have left: a task that was told to stop goes on for ever, and a caller that waits for its end hangs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import ConnectionError, ReadOnlyError, TimeoutError


class _Cancellable(AbstractConnection):
    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        untyped: Any = self  # in redis-py these two have no types
        if not self.is_connected:
            await untyped.connect()
        elif check_health:
            await untyped.check_health()
        if isinstance(command, str):
            command = command.encode()
        if isinstance(command, bytes):
            command = [command]
        try:
            async with asyncio.timeout(self.socket_timeout):
                await self._send_packed_command(command)
        except OSError as error:
            await self.disconnect(nowait=True)
            if isinstance(error, asyncio.TimeoutError):
                raise TimeoutError("Timeout writing to socket") from None
            raise ConnectionError(f"Error while writing to socket: {error}") from error
        except BaseException:
            # Half a command may have left.
            await self.disconnect(nowait=True)
            raise

    async def disconnect(self, nowait: bool = False) -> None:
        writer = self._writer
        try:
            await super().disconnect(nowait)
        except TimeoutError:
            # Half-open: TLS waits for the peer's farewell, TCP for its acknowledgement. To give up a broken connection
            # must not fail.
            if writer is not None:
                writer.transport.abort()

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
