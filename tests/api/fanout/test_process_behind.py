"""An API process that has heard less of a job than the client that comes to it: nothing is lost."""

from __future__ import annotations

import asyncio

from arq.connections import ArqRedis

from readalong.core.position import Position
from readalong.core.settings import Settings
from readalong.store.log import Log
from tests.api.forgetful import Worker, attempt, check, job, told, watch, watching
from tests.api.serving import a_hub, on_valkey, short_settings
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer
from tests.support.waiting import until

pytestmark = on_valkey


async def test_a_process_that_is_behind_tells_no_watcher_that_the_log_is_lost(
    settings: Settings, log: Log, redis: ArqRedis, redis_server: RedisServer
) -> None:
    """A watcher comes from another one, which has heard of the new attempt already."""
    job_id, _, _ = await attempt(log, redis, settings, kept=2)
    async with (
        Proxy(redis_server.port) as proxy,
        a_hub(short_settings(proxy.url)) as hub,
        watching(hub, job_id, 4) as client,
    ):
        proxy.keeps = lambda piece: b":live" not in piece
        two = await Worker.claims(log, job_id, "bbb")
        await two.say(2)
        late = asyncio.create_task(watch(hub, job_id, "6-bbb"))
        await client.reaches(7, "what the channel lost")
        proxy.keeps = None
        await two.say(2)
        await two.finish()
        assert [message.id for message in await late] == ["7-bbb", "8-bbb", "9-bbb", "10-bbb"]
    assert told(client.seen) == []
    check(client.seen, Position(0), "10-bbb")


async def test_a_process_that_has_missed_two_claims_keeps_a_position_of_the_first(
    settings: Settings, log: Log, redis: ArqRedis, redis_server: RedisServer
) -> None:
    """The watcher has its position from a process that has heard of more."""
    job_id, _ = await job(log, redis, settings)
    async with (
        Proxy(redis_server.port) as proxy,
        a_hub(short_settings(proxy.url)) as hub,
        watching(hub, job_id, 1),
    ):
        proxy.keeps = lambda piece: b":live" not in piece
        one = await Worker.claims(log, job_id, "aaa")
        await one.say(8)
        two = await Worker.claims(log, job_id, "bbb")
        late = asyncio.create_task(watch(hub, job_id, "4-aaa"))
        await until(lambda: "watchers=2" in repr(hub), "the late watcher")
        proxy.keeps = None
        await two.say(2)
        await two.finish()
        seen = await late
        assert [message.id for message in seen] == [
            *(f"{n}-aaa" for n in range(5, 11)),
            *(f"{n}-bbb" for n in range(11, 15)),
        ]
        assert told(seen) == []


async def test_a_feed_stays_while_a_watcher_waits_for_redis_to_say_which_log_it_has(
    settings: Settings, log: Log, redis: ArqRedis, redis_server: RedisServer
) -> None:
    """Longer than a feed lingers without a watcher: it would be told that its job is gone."""
    job_id, _, one = await attempt(log, redis, settings)
    await one.finish()
    async with Proxy(redis_server.port) as proxy, a_hub(short_settings(proxy.url, feed_linger=0.05)) as hub:
        feed = await hub.feed(job_id, 0)
        proxy.refusing = True
        proxy.cut()
        late = asyncio.create_task(watch(hub, job_id, "2-bbb"))
        await until(lambda: hub._asking[job_id], "the watcher")
        hub.release(feed)
        tries = proxy.accepted
        await until(lambda: proxy.accepted > tries + 3, "some tries")
        await until(lambda: not hub._timers, "the end of its linger")
        proxy.refusing = False
        assert told(await late) == ["2-aaa"]
