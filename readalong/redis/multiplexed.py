"""One Redis connection that carries the calls of many tasks at once.

A pooled client takes a connection for each call and waits for its answer before it gives it back. The appends of a
busy process are many and small: here the calls of one turn of the event loop leave in one write, and the answers come
back in order (docs/decisions/0006-one-multiplexed-connection.md).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import ConnectionError, ReadOnlyError, TimeoutError

from readalong.redis.protocol import RedisProtocol, pack

_TRIES: Final = 3
#: Seconds from a connection that failed to the next try: many callers that wait for Redis would try without a pause.
_PAUSE: Final = 0.1
#: Seconds after which a connection to a server that turns out to be a replica is given up; reads go on meanwhile.
_REPLICA: Final = 1.0


class MultiplexedConnection:
    """Connects when it is first used and again after a break. A call whose reply is lost is made three times in all:
    all calls of readalong may be repeated."""

    def __init__(self, redis: Redis, timeout: float, first: Sequence[bytes] = ()) -> None:
        """`timeout`: seconds that a reply may take before the connection counts as dead. `first`: packed commands that
        each new connection begins with. Their replies are ignored."""
        self._pool = redis.connection_pool
        self._timeout = timeout
        self._first = first
        self._protocol: RedisProtocol | None = None
        #: The newest try to connect. It returns the reason of its failure.
        self._opening: asyncio.Task[Exception | None] | None = None
        self._failed_at = -_PAUSE
        self._opened_at = 0.0
        self._waiting: deque[tuple[Callable[[Any], None], float]] = deque()
        self._watch: asyncio.TimerHandle | None = None

    async def execute_command(self, *args: str | bytes | int) -> Any:
        """Returns Redis' reply. Raises ResponseError for a refusal, ConnectionError or TimeoutError without a reply."""
        packed = pack(args)
        tries = _TRIES
        while True:
            if self._protocol is None:
                await self._connect()
            try:
                return await self._call(packed)
            except (ConnectionError, TimeoutError):
                tries -= 1
                if not tries:
                    raise

    def send(self, packed: bytes, on_answer: Callable[[Any], None]) -> bool:
        """Sends a packed command if there is a connection. Returns whether there is one.

        `on_answer` is called once where the reply arrives, in no task: with the reply, or with the exception in its
        place. It must not raise.
        """
        if self._protocol is None:
            return False
        self._protocol.send(packed)
        self._waiting.append((on_answer, asyncio.get_running_loop().time()))
        return True

    async def close(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        if (protocol := self._protocol) is not None:
            protocol.abort()
            await protocol.lost.wait()

    async def _call(self, packed: bytes) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if not self.send(packed, partial(_settle, answer)):
            raise ConnectionError("not connected")
        return await answer

    async def _connect(self) -> None:
        """All callers share one try: behind a route that swallows everything each would wait for the others' tries."""
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._open(), name="multiplexed connects")
        # Not awaited itself: the first caller's cancellation must not take the connection from the others.
        [opening], _ = await asyncio.wait([self._opening])
        if opening.cancelled():
            raise ConnectionError("the connection was closed")
        if (failure := opening.result()) is not None:
            raise failure

    async def _open(self) -> Exception | None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._failed_at + _PAUSE - loop.time())
        try:
            self._protocol = await RedisProtocol.open(self._pool.make_connection(), self._answered, self._lost)
        except Exception as error:
            self._failed_at = loop.time()
            return error
        self._opened_at = loop.time()
        for packed in self._first:
            self.send(packed, _unheard)
        self._look()
        return None

    def _answered(self, answer: Any) -> None:
        if not self._waiting:
            raise RuntimeError(f"a reply without a call: {answer!r}")
        on_answer, _ = self._waiting.popleft()
        on_answer(answer)
        if isinstance(answer, ReadOnlyError):
            self._leave_replica()

    def _leave_replica(self) -> None:
        """Drops the connection: after a failover the same name may lead to the new primary, this connection never."""
        now = asyncio.get_running_loop().time()
        if self._protocol is not None and now - self._opened_at > _REPLICA:
            self._protocol.leave()
            self._lost(ConnectionError("connected to a replica"))

    def _lost(self, error: Exception) -> None:
        waiting, self._waiting = self._waiting, deque()
        # Before the callers are told: a caller that calls again must not get this connection.
        self._protocol = None
        if self._watch is not None:
            self._watch.cancel()
        for on_answer, _ in waiting:
            on_answer(error)

    def _look(self) -> None:
        """Breaks a connection whose oldest call has waited too long: a half-open one would hang for ever."""
        loop = asyncio.get_running_loop()
        if self._waiting and self._protocol is not None and loop.time() - self._waiting[0][1] > self._timeout:
            self._protocol.leave()
            self._lost(TimeoutError("Redis did not answer in time"))
        else:
            self._watch = loop.call_later(self._timeout / 4, self._look)


def _unheard(_: Any) -> None:
    """Ignores the reply to a command that was sent for its effect alone."""


def _settle(future: asyncio.Future[Any], answer: Any) -> None:
    if future.done():  # its caller was cancelled meanwhile
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
