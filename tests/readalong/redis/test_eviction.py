"""A warning names a Redis that may evict keys, once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from arq.connections import ArqRedis

from readalong.core.errors import StoreUnavailable
from readalong.core.settings import Settings
from readalong.redis.eviction import Eviction
from readalong.redis.facade import RedisFacade
from tests.support.servers import RedisServer


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    with RedisServer.start() as server:
        yield server


@pytest.mark.parametrize(
    "case",
    [
        ("noeviction", 100_000_000, None),
        ("allkeys-lru", 100_000_000, "maxmemory is 100000000 bytes"),
        ("volatile-ttl", 0, "maxmemory is not set yet"),
    ],
    ids=lambda case: case[0],
)
async def test_a_policy_that_may_drop_keys_is_said_once(
    redis_server: RedisServer,
    settings: Settings,
    redis: ArqRedis,
    caplog: pytest.LogCaptureFixture,
    case: tuple[str, int, str | None],
) -> None:
    """All our keys have a time to live, so a `volatile` policy evicts them too."""
    policy, maxmemory, words = case
    redis_server.command("CONFIG", "SET", "maxmemory-policy", policy)
    redis_server.command("CONFIG", "SET", "maxmemory", maxmemory)
    eviction = Eviction(RedisFacade(redis, settings), settings)
    with caplog.at_level("INFO"):
        for _ in range(2):
            await eviction.look()
    assert sum("Redis answers at" in line for line in caplog.messages) == 1
    loud = [record for record in caplog.records if record.levelname == "ERROR"]
    assert (eviction.policy, len(loud)) == ((None, 0) if words is None else (policy, 1))
    if words is not None:
        assert f"maxmemory-policy is {policy}, and {words}" in loud[0].message


async def test_a_redis_that_does_not_allow_the_question_is_asked_no_more(
    redis_server: RedisServer, settings: Settings, redis: ArqRedis, caplog: pytest.LogCaptureFixture
) -> None:
    """Managed servers may forbid INFO: a worker must work all the same."""
    redis_server.command("ACL", "SETUSER", "default", "-info")
    eviction = Eviction(RedisFacade(redis, settings), settings)
    for _ in range(2):
        await eviction.look_once()
    assert eviction.policy is None
    assert ["does not say" in line for line in caplog.messages] == [True]


async def test_a_redis_that_is_away_is_asked_again(
    redis_server: RedisServer, settings: Settings, redis: ArqRedis, caplog: pytest.LogCaptureFixture
) -> None:
    redis_server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lfu")
    eviction = Eviction(RedisFacade(redis, settings), settings)
    redis_server.kill()
    with pytest.raises(StoreUnavailable):
        await eviction.look_once()
    redis_server.settings = {"maxmemory-policy": "allkeys-lfu"}
    redis_server.restart()
    await eviction.look_once()
    assert eviction.policy == "allkeys-lfu"
    assert "REDIS MAY DROP JOBS" in caplog.text
