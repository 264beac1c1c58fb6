"""One connection for the calls of many tasks: order, refusals, cancelled callers, breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from arq.connections import ArqRedis
from redis.exceptions import ResponseError, TimeoutError

from readalong.connection import connect
from readalong.errors import StoreUnavailable
from readalong.pipe import Pipe
from readalong.scripts import Scripts
from readalong.settings import Settings
from tests.support.waiting import WITHIN, until


@asynccontextmanager
async def piped(url: str, patience: float = 1.0) -> AsyncIterator[tuple[ArqRedis, Pipe]]:
    redis = connect(Settings.model_validate({"redis_url": url}))
    pipe = Pipe(redis, patience)
    try:
        yield redis, pipe
    finally:
        await pipe.close()
        await redis.aclose()


async def blocking(redis: ArqRedis, besides: int = 0) -> int:
    """The id of another connection that blocks, as soon as there is one: Redis tells nobody who begins to."""

    async def one() -> int:
        ids = [int(client["id"]) for client in await redis.client_list() if client["cmd"] == "blpop"]
        return max(ids, default=0) if besides not in ids else 0

    return await until(one, "a BLPOP")


async def connections(redis: ArqRedis) -> int:
    """Connections of this server besides the one that asks."""
    return len(await redis.client_list()) - 1


async def test_a_thousand_calls_share_one_connection_and_get_their_own_answers(redis_url: str) -> None:
    async with piped(redis_url) as (redis, pipe):
        answers = await asyncio.gather(*(pipe.execute_command("ECHO", str(n)) for n in range(1000)))
        assert answers == [str(n).encode() for n in range(1000)]
        assert await connections(redis) == 1


async def test_calls_are_made_in_the_order_in_which_they_began(redis_url: str) -> None:
    async with piped(redis_url) as (_, pipe):
        await asyncio.gather(*(pipe.execute_command("RPUSH", "list", n) for n in range(200)))
        assert await pipe.execute_command("LRANGE", "list", 0, -1) == [str(n).encode() for n in range(200)]


async def test_a_refusal_reaches_its_caller_alone(redis_url: str) -> None:
    async with piped(redis_url) as (_, pipe):
        commands = (("ECHO", "a"), ("NO_SUCH_COMMAND",), ("ECHO", "b"))
        answers = await asyncio.gather(*(pipe.execute_command(*each) for each in commands), return_exceptions=True)
        assert answers[::2] == [b"a", b"b"]
        assert isinstance(answers[1], ResponseError)


async def test_a_caller_that_is_cancelled_shifts_nobody_elses_answer(redis_url: str) -> None:
    async with piped(redis_url) as (_, pipe):
        await pipe.execute_command("PING")
        gone = asyncio.create_task(pipe.execute_command("ECHO", "gone"))
        stays = asyncio.create_task(pipe.execute_command("ECHO", "stays"))
        await asyncio.sleep(0)
        gone.cancel()
        assert await stays == b"stays"
        with pytest.raises(asyncio.CancelledError):
            await gone


async def test_calls_that_a_break_cuts_off_are_made_once_more(redis_url: str) -> None:
    async with piped(redis_url, patience=WITHIN) as (redis, pipe):
        await pipe.execute_command("PING")
        blocked = asyncio.create_task(pipe.execute_command("BLPOP", "nothing", 0))
        cut_off = await blocking(redis)
        await redis.client_kill_filter(_type="normal", skipme=True)
        await redis.client_unblock(await blocking(redis, besides=cut_off))
        assert await blocked is None
        assert await pipe.execute_command("ECHO", "back") == b"back"


async def test_a_connection_that_does_not_answer_is_given_up_and_made_anew(redis_url: str) -> None:
    async with piped(redis_url) as (_, pipe):
        calls = [pipe.execute_command("BLPOP", "nothing", 30), pipe.execute_command("PING")]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(answer) for answer in answers] == [TimeoutError, TimeoutError]
        assert await pipe.execute_command("ECHO", "back") == b"back"


async def test_without_a_server_a_script_is_unavailable() -> None:
    async with piped("redis://127.0.0.1:1/0") as (_, pipe):
        with pytest.raises(StoreUnavailable):
            await Scripts(pipe)("room", ["queue"])


async def test_a_script_that_redis_forgot_is_sent_again(redis_url: str, resources: AsyncExitStack) -> None:
    redis, pipe = await resources.enter_async_context(piped(redis_url))
    for _ in range(2):
        assert (await Scripts(pipe)("room", ["queue"]))[1] == 0
        await redis.script_flush()
