"""The subscription that shows a worker to other workers opens at once, reopens after a break, and is reported as
lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from arq.connections import ArqRedis

from readalong.redis.facade import RedisFacade
from readalong.worker.lifeline import Lifeline
from tests.readalong.helpers import command
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer
from tests.support.waiting import until
from tests.worker.helpers import Backend, settings_for, working

CHANNEL = "readalong:alive:w1"


@asynccontextmanager
async def held(url: str) -> AsyncIterator[Lifeline]:
    redis = RedisFacade.connect(settings_for(url))
    lifeline = Lifeline(redis, CHANNEL)
    task = asyncio.create_task(lifeline.hold())
    try:
        yield lifeline
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await redis.close()


async def seen(redis: ArqRedis) -> int:
    [(_, count)] = await redis.pubsub_numsub(CHANNEL)
    return int(count)


async def test_it_names_the_run_of_redis_that_sees_it_and_comes_back_after_each_break(
    redis_server: RedisServer, redis: ArqRedis
) -> None:
    """Also to a restarted Redis, which is another run. Messages on the channel mean nothing."""
    async with held(redis_server.url) as lifeline:
        for restarts in (False, True):
            await until(lambda: lifeline.run_id, "the subscription")
            lifeline.changed.clear()
            assert lifeline.run_id == (await redis.info("server"))["run_id"]
            assert await seen(redis) == 1
            await redis.publish(CHANNEL, "x")
            if restarts:
                redis_server.restart()
            else:
                await command(redis, "CLIENT", "KILL", "TYPE", "pubsub")
            await until(lifeline.changed.is_set, "the break")
        await until(lambda: seen(redis))
    await until(lambda: _none(seen(redis)), "the end of the subscription")


async def _none(count: Awaitable[int]) -> bool:
    return await count == 0


async def test_one_that_redis_does_not_see_is_made_anew(redis_server: RedisServer, redis: ArqRedis) -> None:
    """Only Redis' count shows a half-open connection behind a lost route. A connection that is newer than the count
    stays."""
    loop = asyncio.get_running_loop()
    async with Proxy(redis_server.port) as proxy, held(proxy.url) as lifeline:
        await until(lambda: lifeline.run_id, "the subscription")
        before = loop.time() - 60
        assert proxy.freeze(lambda _: True) == 1
        await command(redis, "CLIENT", "KILL", "TYPE", "pubsub")
        lifeline.unseen(before)
        await asyncio.sleep(0)
        assert lifeline.run_id
        lifeline.unseen(loop.time())
        await until(lambda: seen(redis))


async def test_a_redis_that_does_not_allow_it_is_complained_of_once(
    redis_server: RedisServer, redis: ArqRedis, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the subscription nor INFO, which gives the run's id."""
    for right in ("-subscribe", "-info"):
        caplog.clear()
        await command(redis, "ACL", "SETUSER", "default", right)
        try:
            with caplog.at_level(logging.WARNING):
                async with held(redis_server.url) as lifeline:
                    await until(lambda: caplog.records)
                    assert not lifeline.run_id
        finally:
            await command(redis, "ACL", "SETUSER", "default", right.replace("-", "+"))
        [said] = [record.getMessage() for record in caplog.records]
        assert said.endswith(": if this worker is killed, its jobs wait until its lease is over")


async def test_a_subscription_that_is_allowed_later_is_made_without_a_restart(
    redis_server: RedisServer, redis: ArqRedis, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis keeps the connection whose SUBSCRIBE it refuses: nothing would ever break."""
    monkeypatch.setattr("readalong.worker.lifeline._REFUSED", 0.05)
    await command(redis, "ACL", "SETUSER", "default", "-subscribe")
    try:
        async with held(redis_server.url) as lifeline:
            await until(lambda: caplog.records, "the refusal")
            await command(redis, "ACL", "SETUSER", "default", "+subscribe")
            await until(lambda: lifeline.run_id, "the subscription")
    finally:
        await command(redis, "ACL", "SETUSER", "default", "+subscribe")


async def test_a_worker_whose_subscription_breaks_takes_its_word_back_over_another_connection(
    backend: Backend, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis accepts no new connection, as at `maxclients`. Other workers must not take this one for dead."""

    async def says() -> Any:
        return orjson.loads(await backend.redis.get(backend.keys.worker("w1")) or b"{}").get("connected_to")

    async def says_nothing() -> bool:
        return await says() is None

    monkeypatch.setenv("OPENAI_API_KEY", "none")
    async with Proxy(redis_server.port) as proxy:
        slow_to_renew = settings_for(proxy.url, lease=600)
        async with working(slow_to_renew):
            await until(says, "the word")
            proxy.refusing = True
            for address in proxy.addresses(lambda said: b"readalong:alive" in said):
                await command(backend.redis, "CLIENT", "KILL", "ADDR", address)
            await until(says_nothing, "the word to be taken back")
            proxy.refusing = False
            await until(says, "the word again")
