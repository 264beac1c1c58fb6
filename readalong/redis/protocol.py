"""A connection to Redis whose answers are parsed where they arrive, with no task between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Self, cast

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError, InvalidResponse

from readalong.redis.error_replies import error_of
from readalong.redis.plain_transport import PlainTransport
from readalong.redis.redis_internals import MISSING, take_writer

#: What the parser says when an answer is not whole yet. None is an answer.
_PART: Final = object()

#: A command as Redis reads it. The parser's author means a tuple of any length.
pack: Final[Callable[[tuple[str | bytes | int, ...]], bytes]] = cast(Any, hiredis.pack_command)


class RedisProtocol(asyncio.Protocol):
    """redis-py connects and greets (TLS, password, database). Then this protocol takes the transport.

    `on_answer(answer)` is called for each reply, in order. A refusal is an exception object. `on_lost(error)` is
    called once, at the end.
    """

    def __init__(
        self,
        connection: AbstractConnection,
        on_answer: Callable[[Any], None],
        on_lost: Callable[[Exception], None],
    ) -> None:
        """Raises ConnectionError if the connection is gone."""
        self._on_answer = on_answer
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(protocolError=InvalidResponse, replyError=error_of, notEnoughData=_PART)
        self._out: list[bytes] = []
        self._error = ConnectionError("the connection was closed")
        #: Set when the connection is gone.
        self.lost = asyncio.Event()
        self._transport: asyncio.WriteTransport | PlainTransport
        if MISSING:
            self._transport = PlainTransport(connection, self._answered, self.connection_lost)
        else:
            self._stream = take_writer(connection)
            self._transport = self._stream.transport
            self._transport.set_protocol(self)

    @classmethod
    async def open(
        cls,
        connection: AbstractConnection,
        on_answer: Callable[[Any], None],
        on_lost: Callable[[Exception], None],
    ) -> Self:
        """Connects first. Raises redis-py's errors."""
        try:
            await connection.connect()
            return cls(connection, on_answer, on_lost)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise

    def send(self, packed: bytes) -> None:
        """Sends a packed command, in one write with the others of this turn of the loop."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(packed)

    def abort(self) -> None:
        """Drops the connection. `on_lost` is called soon."""
        self._transport.abort()

    def leave(self) -> None:
        """Drops the connection without a further callback."""
        self._on_answer = self._on_lost = lambda _: None
        self.abort()

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        reader.feed(data)
        try:
            while (answer := reader.gets()) is not _PART:
                self._on_answer(answer)
        except InvalidResponse as error:
            self._error = ConnectionError(f"not Redis' protocol: {error}")
            self.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._on_lost(ConnectionError(str(error)) if error is not None else self._error)
        self.lost.set()

    def _answered(self, answer: Any) -> None:
        # Looked up for each answer: `leave` sets another callback.
        self._on_answer(answer)

    def _flush(self) -> None:
        data, self._out = b"".join(self._out), []
        if not self._transport.is_closing():
            self._transport.write(data)
