"""A connection of redis-py in the place of a transport, by public methods alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError, RedisError, ResponseError


class PlainTransport:
    """For a redis-py without the names in `redis_internals`. It takes more CPU: tasks read and send
    (docs/decisions/0032-one-private-name-of-redis-py.md)."""

    def __init__(
        self,
        connection: AbstractConnection,
        on_answer: Callable[[Any], None],
        on_lost: Callable[[Exception | None], None],
    ) -> None:
        """`on_answer` is called for each answer, in order, `on_lost` once, at the end. Raises ConnectionError if the
        connection is gone."""
        if not connection.is_connected:
            raise ConnectionError("the connection was closed")
        connection.socket_timeout = None  # a subscription may be quiet for hours
        self._connection = connection
        self._on_answer = on_answer
        self._on_lost = on_lost
        self._unsent: asyncio.Queue[bytes] = asyncio.Queue()
        self._closing = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="plain transport")

    def write(self, data: bytes) -> None:
        self._unsent.put_nowait(data)

    def is_closing(self) -> bool:
        return self._closing.is_set()

    def abort(self) -> None:
        self._closing.set()

    async def _run(self) -> None:
        parts: list[asyncio.Task[Any]] = [
            asyncio.create_task(part) for part in (self._closing.wait(), self._read(), self._send())
        ]
        await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        self._closing.set()
        for part in parts:
            part.cancel()
        ends = await asyncio.gather(*parts, return_exceptions=True)
        await self._connection.disconnect(nowait=True)
        error = next((end for end in ends if isinstance(end, Exception)), None)
        self._on_lost(error)
        if error is not None and not isinstance(error, RedisError | OSError):
            raise error  # a bug of a callback: asyncio logs it

    async def _read(self) -> None:
        while not self._closing.is_set():  # answers that are here already are read without a pause
            try:
                answer = await self._connection.read_response()
            except ResponseError as refusal:
                answer = refusal
            self._on_answer(answer)

    async def _send(self) -> None:
        while True:
            # The health check would read an answer that `_read` waits for.
            await self._connection.send_packed_command(await self._unsent.get(), check_health=False)
