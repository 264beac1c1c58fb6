"""Connections to Redis: a cancellation is never lost, and a failed send says its reason."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import ConnectionError, TimeoutError

from readalong.redis.connections import connection_class
from tests.readalong.helpers import settings_for
from tests.support.clients import client_of
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer
from tests.support.waiting import WITHIN


async def connected(url: str, resources: AsyncExitStack) -> Any:
    redis = client_of(settings_for(url, redis_timeout=0.2), resources, max_connections=1)
    await redis.ping()
    return await redis.connection_pool.get_connection()


async def test_a_cancellation_that_comes_as_the_bytes_leave_is_not_lost(
    redis_url: str, resources: AsyncExitStack
) -> None:
    """Otherwise a cancelled loop would run for ever."""
    connection = await connected(redis_url, resources)
    drain = connection._writer.drain

    async def drain_and_be_cancelled() -> None:
        await drain()
        asyncio.get_running_loop().call_soon(task.cancel)

    async def use() -> None:
        connection._writer.drain = drain_and_be_cancelled
        await connection.send_command("PING")
        await asyncio.sleep(30)

    task = asyncio.create_task(use())
    done, _ = await asyncio.wait([task], timeout=WITHIN)
    assert done
    assert task.cancelled()


async def takes_too_long() -> None:
    await asyncio.sleep(30)


async def breaks() -> None:
    raise BrokenPipeError


@pytest.mark.parametrize(("drain", "error"), [(takes_too_long, TimeoutError), (breaks, ConnectionError)])
async def test_a_send_that_fails_has_its_own_error_and_closes_the_connection(
    redis_url: str, resources: AsyncExitStack, drain: Any, error: type[Exception]
) -> None:
    connection = await connected(redis_url, resources)
    connection._writer.drain = drain
    with pytest.raises(error):
        await connection.send_command("PING")
    assert not connection.is_connected


async def test_a_connection_that_swallows_its_end_is_dropped(
    redis_server: RedisServer, resources: AsyncExitStack
) -> None:
    """With TLS every half-open connection does so; this one accepts no more bytes."""
    async with Proxy(redis_server.port) as proxy:
        connection = await connected(proxy.url, resources)
        proxy.stall()
        transport = connection._writer.transport
        transport.write(bytes(50_000_000))
        await connection.disconnect()
        assert not connection.is_connected
        assert transport.get_write_buffer_size() == 0


@pytest.mark.parametrize("kind", [Connection, SSLConnection, UnixDomainSocketConnection])
def test_each_kind_of_connection_stays_what_it_is(kind: type[AbstractConnection]) -> None:
    ours = connection_class(kind)
    assert issubclass(ours, kind)
    assert issubclass(ours, SSLConnection) is (kind is SSLConnection)


def test_another_kind_of_connection_is_refused() -> None:
    other = type("Other", (AbstractConnection,), {})
    with pytest.raises(TypeError):
        connection_class(other)
