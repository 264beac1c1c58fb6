"""One Redis connection that carries the calls of many tasks at once.

A pooled client takes a connection for each call and waits for its answer before it gives it back. The appends of a
busy process are many and small: here the calls of one turn of the event loop leave in one write, and the answers come
back in order. No task stands between the socket and whoever waits: the answers are parsed where they arrive
(docs/decisions/0006-one-pipe-for-appends.md).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError, InvalidResponse, TimeoutError

#: What the parser says when an answer is not whole yet. None is an answer.
_PART: Final = object()
#: The parser's author means a tuple of any length.
_pack: Callable[[tuple[str | bytes | int, ...]], bytes] = cast(Any, hiredis.pack_command)


class Pipe:
    """Connects when first used and again after a break. A call that a break cut off is made once more: all that we
    send may be repeated."""

    def __init__(self, redis: Redis, timeout: float) -> None:
        """`timeout` is seconds that an answer may take before the connection counts as dead."""
        self._pool = redis.connection_pool
        self._timeout = timeout
        self._link: _Link | None = None
        self._connecting = asyncio.Lock()

    async def execute_command(self, *args: str | bytes | int) -> Any:
        """Redis' answer. Raises ResponseError for a refusal; ConnectionError, TimeoutError when there is no answer."""
        packed = _pack(args)
        try:
            link = self._link or await self._connect()
            return await link.call(packed)
        except ConnectionError:
            link = self._link or await self._connect()
            return await link.call(packed)

    async def close(self) -> None:
        if (link := self._link) is not None:
            link.abort()
            await link.lost

    async def _connect(self) -> _Link:
        async with self._connecting:
            if self._link is None:
                connection: AbstractConnection = self._pool.make_connection()
                try:
                    await connection.connect()
                    self._link = _Link(connection, self._timeout, self._forget)
                except BaseException:
                    await connection.disconnect(nowait=True)
                    raise
            return self._link

    def _forget(self) -> None:
        self._link = None


class _Link(asyncio.Protocol):
    """A connection after redis-py's greeting: its transport is ours from then on."""

    def __init__(self, connection: AbstractConnection, timeout: float, on_lost: Callable[[], None]) -> None:
        self._connection = connection
        self._on_lost = on_lost
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse, replyError=connection._parser.parse_error, notEnoughData=_PART
        )
        self._out: list[bytes] = []
        self._waiting: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._error: Exception = ConnectionError("the connection was closed")
        #: Done when the connection is gone.
        self.lost: asyncio.Future[None] = self._loop.create_future()
        writer = connection._writer
        if writer is None:
            raise ConnectionError("the connection was closed")
        self._transport = writer.transport
        self._transport.set_protocol(self)
        if self._transport.is_closing():  # the protocol before us has been told, and we shall not be
            raise ConnectionError("the connection was closed")
        self._watch = self._loop.call_later(timeout / 4, self._look)

    def call(self, packed: bytes) -> asyncio.Future[Any]:
        """Sends a packed command at the end of this turn of the loop; its answer, or its error."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(packed)
        self._waiting.append((answer, self._loop.time()))
        return answer

    def abort(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        reader.feed(data)
        try:
            while (answer := reader.gets()) is not _PART:
                future, _ = self._waiting.popleft()
                if future.done():  # its caller was cancelled meanwhile
                    continue
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)
        except (InvalidResponse, IndexError) as error:  # not Redis' protocol, or an answer that nobody asked for
            self._error = ConnectionError(f"not an answer: {error}")
            self.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._watch.cancel()
        self._connection._close()  # it warns of a connection that it takes for open
        # Before the callers hear of it: who calls again must not get this one.
        self._on_lost()
        if error is not None:
            self._error = ConnectionError(str(error))
        for future, _ in self._waiting:
            if not future.done():
                future.set_exception(self._error)
        self._waiting.clear()
        self.lost.set_result(None)

    def _flush(self) -> None:
        data, self._out = b"".join(self._out), []
        if not self._transport.is_closing():
            self._transport.write(data)

    def _look(self) -> None:
        """Breaks a connection whose oldest call has waited too long: a half-open one would hang for ever."""
        if self._waiting and self._loop.time() - self._waiting[0][1] > self._timeout:
            late = TimeoutError("Redis did not answer in time")
            for future, _ in self._waiting:
                if not future.done():
                    future.set_exception(late)
            self.abort()
        else:
            self._watch = self._loop.call_later(self._timeout / 4, self._look)
