"""The proxy of the tests: it holds data back, delays it, and resets connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from tests.support.proxy import Proxy
from tests.support.waiting import WITHIN, until

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def proxied() -> AsyncIterator[tuple[Proxy, list[bytes]]]:
    """A proxy before a server that keeps its input and echoes it."""
    heard: list[bytes] = []
    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        try:
            while line := await reader.readline():
                heard.append(line)
                writer.write(line)
        except ConnectionResetError:
            heard.append(b"reset")
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, asyncio.timeout(WITHIN):
        async with Proxy() as proxy:
            proxy.target = server.sockets[0].getsockname()[1]
            yield proxy, heard
        await asyncio.gather(*filter(None, serving))


def drop(writer: asyncio.StreamWriter) -> None:
    """Not the transport's own: an unclosed writer that is dropped warns."""
    writer.transport.abort()


async def connect(proxy: Proxy, resources: AsyncExitStack) -> Ends:
    """Returns a connection that has got through."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    resources.callback(drop, writer)
    writer.write(b"hello\n")
    assert await reader.readline() == b"hello\n"
    return reader, writer


async def test_what_was_stalled_comes_through_in_order_when_it_resumes(resources: AsyncExitStack) -> None:
    """A late packet, not a lost one."""
    async with proxied() as (proxy, heard):
        reader, writer = await connect(proxy, resources)
        proxy.stall()
        writer.write(b"late\n")
        await until(lambda: proxy.held, "the proxy has it")
        assert heard == [b"hello\n"]
        proxy.resume()
        assert await reader.readline() == b"late\n"


async def test_healing_leaves_the_stalled_half_open_until_they_are_reset(resources: AsyncExitStack) -> None:
    async with proxied() as (proxy, heard):
        reader, writer = await connect(proxy, resources)
        proxy.stall()
        proxy.heal()
        await connect(proxy, resources)
        writer.write(b"lost\n")
        await until(lambda: proxy.held, "the proxy has it")
        proxy.cut_stalled()
        with suppress(ConnectionResetError):  # or the end of the stream, depending on the loop
            assert await reader.readline() == b""
        assert b"lost\n" not in heard
        await until(lambda: proxy.open_connections == 1, "the stalled connection is gone, the other is not")


async def test_a_delay_holds_up_each_piece(resources: AsyncExitStack) -> None:
    async with proxied() as (proxy, _):
        reader, writer = await connect(proxy, resources)
        proxy.delay = 0.05
        begun = asyncio.get_running_loop().time()
        writer.write(b"slow\n")
        assert await reader.readline() == b"slow\n"
        assert asyncio.get_running_loop().time() - begun >= 0.09


async def test_what_was_half_open_when_it_healed_is_not_brought_back_by_a_later_resume(
    resources: AsyncExitStack,
) -> None:
    """Its client has given it up long ago."""
    async with proxied() as (proxy, heard):
        _, writer = await connect(proxy, resources)
        proxy.stall()
        writer.write(b"lost\n")
        await until(lambda: proxy.held, "the proxy has it")
        proxy.heal()
        proxy.stall()
        proxy.resume()
        await connect(proxy, resources)
        assert heard == [b"hello\n", b"hello\n"]


async def test_a_connection_that_is_being_made_goes_on_with_the_others(resources: AsyncExitStack) -> None:
    """It was accepted in the stall, and its connection to the server exists after the resume."""
    async with proxied() as (proxy, _):
        proxy.stall()
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        resources.callback(drop, writer)
        writer.write(b"late\n")
        while not proxy.accepted:  # noqa: ASYNC110  # turn by turn: it connects for one or two of them
            await asyncio.sleep(0)
        proxy.resume()
        assert await reader.readline() == b"late\n"
