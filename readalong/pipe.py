"""One Redis connection that carries the calls of many tasks at once.

A pooled client takes a connection for each call and waits for its answer before it gives it back. The appends of a
busy process are many and small: here the calls of one turn of the event loop leave in one write, and the answers come
back in order. An append costs a sixth of the CPU that way.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisError, ResponseError, TimeoutError


class Pipe:
    """Connects when first used and again after a break. A call that a break cut off is made once more: all that we
    send may be repeated."""

    def __init__(self, redis: Redis, timeout: float) -> None:
        """`timeout` is seconds that an answer may take before the connection counts as dead."""
        self._pool = redis.connection_pool
        self._timeout = timeout
        self._connection: AbstractConnection | None = None
        self._connecting = asyncio.Lock()
        self._out: list[bytes] = []
        self._waiting: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._reader: asyncio.Task[None] | None = None
        self._watch: asyncio.TimerHandle | None = None

    async def execute_command(self, *args: str | bytes | int) -> Any:
        """Redis' answer. Raises ResponseError for a refusal; ConnectionError, TimeoutError when there is no answer."""
        try:
            return await self._call(*args)
        except ConnectionError:
            return await self._call(*args)

    async def _call(self, *args: str | bytes | int) -> Any:
        connection = self._connection
        if connection is None:
            connection = await self._connect()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        if not self._out:
            loop.call_soon(self._flush, connection)
        self._out += connection.pack_command(*args)
        self._waiting.append((answer, loop.time()))
        return await answer

    async def close(self) -> None:
        reader = self._reader
        if reader is not None:
            reader.cancel()
            with suppress(asyncio.CancelledError):
                await reader

    async def _connect(self) -> AbstractConnection:
        async with self._connecting:
            if self._connection is not None:
                return self._connection
            connection: AbstractConnection = self._pool.make_connection()
            await connection.connect()
            # The watch below is cheaper than a time-out for each read; a retry would repeat one call of many.
            connection.socket_timeout = None
            connection.retry = Retry(NoBackoff(), 0)
            self._connection = connection
            self._reader = asyncio.create_task(self._read(connection), name="redis pipe")
            self._look(connection)
            return connection

    def _flush(self, connection: AbstractConnection) -> None:
        data, self._out = b"".join(self._out), []
        writer = connection._writer  # redis-py's own send waits for a drain, call by call
        if writer is not None:
            writer.write(data)

    async def _read(self, connection: AbstractConnection) -> None:
        error: Exception = ConnectionError("the connection was closed")
        try:
            while True:
                try:
                    answer = await connection.read_response(disconnect_on_error=False)
                except ResponseError as refused:
                    future, _ = self._waiting.popleft()
                    if not future.done():
                        future.set_exception(refused)
                else:
                    future, _ = self._waiting.popleft()
                    if not future.done():  # its caller was cancelled meanwhile
                        future.set_result(answer)
        except (RedisError, OSError) as broken:
            error = broken
        finally:
            self._connection = None
            self._out.clear()
            if self._watch is not None:
                self._watch.cancel()
            for future, _ in self._waiting:
                if not future.done():
                    future.set_exception(error)
            self._waiting.clear()
            await connection.disconnect(nowait=True)

    def _look(self, connection: AbstractConnection) -> None:
        """Breaks a connection whose oldest call has waited too long: a half-open one would hang for ever."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._waiting and now - self._waiting[0][1] > self._timeout:
            late = TimeoutError("Redis did not answer in time")
            for future, _ in self._waiting:
                if not future.done():
                    future.set_exception(late)
            if self._reader is not None:
                self._reader.cancel()
            return
        self._watch = loop.call_later(self._timeout / 4, self._look, connection)
