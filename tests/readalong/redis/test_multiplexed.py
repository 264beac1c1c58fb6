"""One connection for the calls of many tasks: order, refusals, cancelled callers, breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from arq.connections import ArqRedis
from redis.exceptions import ConnectionError, ReadOnlyError, ResponseError, TimeoutError

from readalong.core.errors import StoreUnavailable
from readalong.core.settings import Settings
from readalong.redis.client import connect
from readalong.redis.facade import RedisFacade
from readalong.redis.multiplexed import MultiplexedConnection
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer, free_port
from tests.support.waiting import WITHIN, until


@asynccontextmanager
async def multiplexed(url: str, patience: float = 1.0) -> AsyncIterator[tuple[ArqRedis, MultiplexedConnection]]:
    redis = connect(Settings.model_validate({"redis_url": url}))
    connection = MultiplexedConnection(redis, patience)
    try:
        yield redis, connection
    finally:
        await connection.close()
        await redis.aclose()


async def blocking(redis: ArqRedis, besides: int = 0) -> int:
    """Returns the id of another blocked connection as soon as there is one: Redis sends no sign of it."""

    async def one() -> int:
        ids = [int(client["id"]) for client in await redis.client_list() if client["cmd"] == "blpop"]
        return max(ids, default=0) if besides not in ids else 0

    return await until(one, "a BLPOP")


async def connections(redis: ArqRedis) -> int:
    """Returns the number of this server's connections, without the one that asks."""
    return len(await redis.client_list()) - 1


async def test_a_thousand_calls_share_one_connection_and_get_their_own_answers(redis_url: str) -> None:
    async with multiplexed(redis_url) as (redis, connection):
        answers = await asyncio.gather(*(connection.execute_command("ECHO", str(n)) for n in range(1000)))
        assert answers == [str(n).encode() for n in range(1000)]
        assert await connections(redis) == 1


async def test_calls_are_made_in_the_order_in_which_they_began(redis_url: str) -> None:
    async with multiplexed(redis_url) as (_, connection):
        await asyncio.gather(*(connection.execute_command("RPUSH", "list", n) for n in range(200)))
        assert await connection.execute_command("LRANGE", "list", 0, -1) == [str(n).encode() for n in range(200)]


async def test_a_refusal_reaches_its_caller_alone(redis_url: str) -> None:
    async with multiplexed(redis_url) as (_, connection):
        commands = (("ECHO", "a"), ("NO_SUCH_COMMAND",), ("ECHO", "b"))
        answers = await asyncio.gather(
            *(connection.execute_command(*each) for each in commands), return_exceptions=True
        )
        assert answers[::2] == [b"a", b"b"]
        assert isinstance(answers[1], ResponseError)


async def test_a_cancelled_caller_shifts_no_other_callers_reply(redis_url: str) -> None:
    async with multiplexed(redis_url) as (_, connection):
        await connection.execute_command("PING")
        gone = asyncio.create_task(connection.execute_command("ECHO", "gone"))
        stays = asyncio.create_task(connection.execute_command("ECHO", "stays"))
        await asyncio.sleep(0)
        gone.cancel()
        assert await stays == b"stays"
        with pytest.raises(asyncio.CancelledError):
            await gone


async def test_calls_that_a_break_cuts_off_are_made_once_more(redis_url: str) -> None:
    async with multiplexed(redis_url, patience=WITHIN) as (redis, connection):
        await connection.execute_command("PING")
        blocked = asyncio.create_task(connection.execute_command("BLPOP", "nothing", 0))
        cut_off = await blocking(redis)
        await redis.client_kill_filter(_type="normal", skipme=True)
        await redis.client_unblock(await blocking(redis, besides=cut_off))
        assert await blocked is None
        assert await connection.execute_command("ECHO", "back") == b"back"


async def test_a_connection_that_does_not_answer_is_given_up_and_made_anew(redis_url: str) -> None:
    async with multiplexed(redis_url) as (_, connection):
        calls = [connection.execute_command("BLPOP", "nothing", 30), connection.execute_command("PING")]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(answer) for answer in answers] == [TimeoutError, TimeoutError]
        assert await connection.execute_command("ECHO", "back") == b"back"


async def test_without_a_server_a_script_is_unavailable() -> None:
    async with multiplexed("redis://127.0.0.1:1/0") as (redis, connection):
        with pytest.raises(StoreUnavailable):
            await RedisFacade(redis, Settings(), connection).call("depth", ["queue"])


async def test_a_script_that_redis_forgot_is_sent_again(redis_url: str, resources: AsyncExitStack) -> None:
    redis, connection = await resources.enter_async_context(multiplexed(redis_url))
    for _ in range(2):
        assert (await RedisFacade(redis, Settings(), connection).call("depth", ["queue"]))[1] == 0
        await redis.script_flush()


async def test_callers_that_wait_for_a_connection_share_one_try_and_its_failure(redis_server: RedisServer) -> None:
    """Behind a route that forwards nothing, they would otherwise wait for one another's tries, in turn."""
    async with Proxy(redis_server.port) as proxy, multiplexed(proxy.url) as (_, connection):
        proxy.refusing = True
        calls = (connection.execute_command("PING") for _ in range(100))
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(answer) for answer in answers} == {ConnectionError}
        assert proxy.accepted <= 3, "redis-py's own tries of one connection"
        proxy.refusing = False
        assert await connection.execute_command("ECHO", "back") == b"back"


async def test_a_caller_that_is_cancelled_while_it_connects_takes_the_connection_from_no_other(redis_url: str) -> None:
    async with multiplexed(redis_url) as (_, connection):
        first, second = (asyncio.create_task(connection.execute_command("ECHO", word)) for word in ("first", "second"))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == b"second"
        assert first.cancelled()


async def test_a_close_during_the_connect_fails_the_waiting_calls() -> None:
    async with Proxy(target=1) as proxy, multiplexed(proxy.url, patience=WITHIN) as (_, connection):
        proxy.stall()
        waiting = asyncio.create_task(connection.execute_command("PING"))
        await until(lambda: proxy.accepted, "a try")
        await connection.close()
        with pytest.raises(ConnectionError):
            await waiting


@pytest.mark.parametrize("way", ["multiplexed", "pool"])
async def test_after_a_failover_the_name_is_resolved_again_though_the_old_primary_still_replies(
    redis_server: RedisServer, resources: AsyncExitStack, way: str
) -> None:
    """The old primary is a replica now, and would refuse each write for ever."""
    old = resources.enter_context(RedisServer.start(binary=redis_server.binary))
    proxy = await resources.enter_async_context(Proxy(old.port))
    redis, connection = await resources.enter_async_context(multiplexed(proxy.url))
    execute = connection.execute_command if way == "multiplexed" else redis.execute_command
    await execute("SET", "before", "1")
    old.command("REPLICAOF", "127.0.0.1", free_port())
    proxy.target = redis_server.port

    async def written() -> bool:
        try:
            await execute("SET", "after", "1")
        except ReadOnlyError:
            return False
        return True

    await until(written, "a write on the new primary")
    assert redis_server.command("GET", "after") == "1"
