"""The way to Redis: a subscription ends as a whole, and closing a facade closes what is its own."""

from __future__ import annotations

import pytest
from arq.connections import ArqRedis
from pydantic import AnyUrl

from readalong.core.settings import Settings
from readalong.redis.facade import RedisFacade
from readalong.redis.pubsub import PubSubConnection
from tests.support.waiting import until


async def test_a_bug_in_a_part_of_a_subscription_ends_all_of_it(
    redis: ArqRedis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its caller is told, and Redis holds no subscription that no task looks after."""

    async def has_subscribers(count: int) -> bool:
        [(_, found)] = await redis.pubsub_numsub("c")
        return int(found) == count

    async def broken(_: PubSubConnection) -> None:
        await until(lambda: has_subscribers(1), "the subscription")
        raise RuntimeError("planted")

    monkeypatch.setattr(PubSubConnection, "_beat", broken)
    facade = RedisFacade.connect(Settings(redis_url=AnyUrl(redis_url)))
    with pytest.raises(RuntimeError, match="planted"):
        await facade.subscribe(["c"], on_message=lambda *_: None).run()
    await until(lambda: has_subscribers(0), "the end of the subscription")
    await facade.close()


async def test_a_facade_for_blocking_leaves_the_pool_to_the_facade_that_it_was_made_from(
    redis: ArqRedis, redis_url: str
) -> None:
    facade = RedisFacade.connect(Settings(redis_url=AnyUrl(redis_url)))
    pool = facade.for_arq()
    pooled = await pool.client_id()
    blocking = facade.for_blocking()
    await blocking.command("PING")
    await blocking.close()
    assert await pool.client_id() == pooled

    async def is_closed() -> bool:
        return pooled not in {int(client["id"]) for client in await redis.client_list()}

    await facade.close()
    await until(is_closed, "the end of the pool's connection")
