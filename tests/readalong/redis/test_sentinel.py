"""The order of Sentinels: the next one to be asked is one that replies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import hiredis
from pydantic import AnyUrl

from readalong.core.settings import Settings
from readalong.redis.client import connect
from readalong.redis.protocol import pack
from readalong.redis.sentinel import Sentinels
from tests.support.servers import RedisServer, free_port
from tests.support.waiting import until

_PRIMARY = ("127.0.0.1", 6379)


class _Sentinel:
    """A Sentinel. Without `answers` it accepts connections and sends nothing, as the kernel of a machine that hangs
    does."""

    def __init__(self, answers: bool) -> None:
        self.port = 0
        self.answers = answers
        self.asked = 0
        #: The primary's, at each question; the last of them from then on.
        self.ports = [6379]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        parser = hiredis.Reader()
        while self.answers and (data := await reader.read(65_536)):
            parser.feed(data)
            while command := parser.gets():
                asks = command[0] == b"SENTINEL"
                writer.write(self._primary() if asks else b"+OK\r\n")
        if not self.answers:
            await reader.read()
        writer.close()

    def _primary(self) -> bytes:
        port = self.ports.pop(0) if len(self.ports) > 1 else self.ports[0]
        return pack(("127.0.0.1", port))


@asynccontextmanager
async def _a_sentinel(*, answers: bool) -> AsyncIterator[_Sentinel]:
    sentinel = _Sentinel(answers)
    server = await asyncio.start_server(sentinel.serve, "127.0.0.1", 0)
    async with server:
        sentinel.port = server.sockets[0].getsockname()[1]
        yield sentinel


def _sentinels(*among: _Sentinel, timeout: float) -> Sentinels:
    addresses = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in among)
    return Sentinels(Settings(redis_url=AnyUrl("redis://mymaster/0"), sentinels=addresses, redis_timeout=timeout))


async def test_a_caller_that_gave_up_on_a_silent_sentinel_asks_another_next() -> None:
    """The time-out of a subscription's whole connect is as short as a Sentinel's time to reply: it would ask the
    silent one for ever."""
    async with AsyncExitStack() as stack:
        silent = await stack.enter_async_context(_a_sentinel(answers=False))
        good = await stack.enter_async_context(_a_sentinel(answers=True))
        sentinels = _sentinels(silent, good, timeout=20)
        first = asyncio.create_task(sentinels.primary())
        await until(lambda: silent.asked, "the silent one to be asked")
        first.cancel()
        await asyncio.wait([first])
        async with asyncio.timeout(200):
            assert await sentinels.primary() == _PRIMARY
        assert (silent.asked, good.asked) == (1, 1)


async def test_two_concurrent_callers_do_not_put_a_silent_sentinel_first_again() -> None:
    """Each caller that finds a silent one first waits for it, and each connection of a process asks."""
    async with AsyncExitStack() as stack:
        silent = await stack.enter_async_context(_a_sentinel(answers=False))
        good = await stack.enter_async_context(_a_sentinel(answers=True))
        sentinels = _sentinels(silent, good, timeout=0.5)
        found = await asyncio.gather(*(sentinels.primary() for _ in range(2)))
        assert found == [_PRIMARY, _PRIMARY]
        asked = silent.asked
        assert await sentinels.primary() == _PRIMARY
        assert silent.asked == asked


async def test_each_try_to_connect_asks_where_the_primary_is(redis_server: RedisServer) -> None:
    """After a failover the address of the first try may be that of a dead server."""
    async with _a_sentinel(answers=True) as sentinel:
        sentinel.ports = [free_port(), redis_server.port]
        client = connect(Settings(redis_url=AnyUrl("redis://mymaster/0"), sentinels=f"127.0.0.1:{sentinel.port}"))
        connection = client.connection_pool.make_connection()
        await connection.connect()
        assert (connection.port, sentinel.asked) == (redis_server.port, 2)
        await connection.disconnect()
        await client.aclose()
