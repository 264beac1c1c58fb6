"""The promises that the API keeps, by their names in the docs and the architecture: one log, and no watcher hurts
another."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from arq.connections import ArqRedis

from readalong.core.settings import Settings
from readalong.store.log import Log
from tests.api.fanout.test_feed import calls
from tests.api.fanout.test_hub import write_fast
from tests.api.helpers import Player, check_stream, number
from tests.api.serving import Site, Stream, a_site, on_valkey, short_settings
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer
from tests.support.waiting import until

pytestmark = on_valkey


async def read_with_drops(sites: list[Site], player: Player, drops: int) -> list[Any]:
    """Reads with this many lost connections; each reconnect goes to another process, with the position."""
    seen: list[Any] = []
    for drop in range(drops + 1):
        position = seen[-1].id if seen else "0"
        path = f"/v1/jobs/{player.job_id}/events"
        async with await sites[drop % 2].open(path, headers=[f"Last-Event-ID: {position}"]) as stream:
            if stream.status == 204:
                return seen
            if drop == drops:
                return seen + await stream.rest()
            for _ in range(random.randint(1, 3)):
                more = await stream.messages()
                if more is None:
                    return seen
                seen += more
    raise AssertionError("unreachable")


async def test_promise_1_one_log_every_client_sees_each_event_once_in_order_up_to_one_end(
    redis: ArqRedis, redis_server: RedisServer, log: Log
) -> None:
    """Two processes, and fifty watchers that join at any time, disconnect and change over. Subscriptions break
    meanwhile."""
    player = await Player.start(log)
    stop = asyncio.Event()
    async with Proxy(redis_server.port) as proxy, asyncio.timeout(200):
        settings = short_settings(proxy.url, replay_buffer_bytes=8192)
        async with a_site(settings) as one, a_site(settings) as two:
            readers: list[asyncio.Task[list[Any]]] = []
            async with asyncio.TaskGroup() as group:
                group.create_task(write_fast(player, stop, 400))
                for number in range(50):
                    sites = [one, two] if number % 2 else [two, one]
                    readers.append(group.create_task(read_with_drops(sites, player, number % 11)))
                    if number % 10 == 5:
                        await redis.client_kill_filter(_type="pubsub")
                    await asyncio.sleep(random.uniform(0, 0.02))
                stop.set()
            for reader in readers:
                check_stream(reader.result(), 0, player.last)


async def test_promise_6_no_watcher_can_hurt_anyone(redis_url: str, redis: ArqRedis, log: Log) -> None:
    """Hundreds of readers stop, vanish and return. The others get every event when it is written, over one
    subscription, and no token or watcher costs a Redis command."""
    player = await Player.start(log)
    path = f"/v1/jobs/{player.job_id}/events"
    async with a_site(short_settings(redis_url, feed_linger=0.1)) as site, asyncio.timeout(200):
        sound = [await site.open(path) for _ in range(5)]
        stuck = [await site.open(path, receive_buffer=4096) for _ in range(10)]
        await until(lambda: "watchers=15 " in repr(site.hub), "all watchers")
        await redis.config_resetstat()

        async def come_and_go() -> None:
            stream = await site.open(path)
            stream.vanish()

        async def hear(stream: Stream, seen: list[Any]) -> None:
            while len(seen) < player.last:
                seen += await stream.some(1)

        seen: list[list[Any]] = [[] for _ in sound]
        for _ in range(40):
            await player.say(1, pad="x" * 20_000)
            restless = asyncio.gather(*(come_and_go() for _ in range(5)))
            async with asyncio.timeout(200):
                await asyncio.gather(*(hear(stream, found) for stream, found in zip(sound, seen, strict=True)))
            await restless
        assert await calls(redis, "xrange") == 0
        assert await calls(redis, "subscribe") == 0
        assert len(await redis.client_list(_type="pubsub")) == 1
        await player.finish()
        for stream, found in zip(sound, seen, strict=True):
            whole = [*found, *await stream.rest()]
            assert [number(message) for message in whole] == list(range(1, player.last + 1))
        for stream in stuck:
            late = await stream.rest()
            assert number(late[-1]) == player.last
            assert late[-1].event == "done"
            stream.vanish()
        for stream in sound:
            stream.vanish()
        await until(lambda: "feeds=0 watchers=0" in repr(site.hub), "the hub to be empty")


async def test_promise_6_a_watcher_costs_no_redis_command(settings: Settings, redis: ArqRedis, log: Log) -> None:
    """With a hundred watchers and a hundred tokens, Redis runs the appends and nothing else."""
    player = await Player.start(log)
    async with a_site(settings.model_copy(update={"hub_heartbeat": 600})) as site:
        streams = [await site.open(f"/v1/jobs/{player.job_id}/events") for _ in range(100)]
        await until(lambda: "watchers=100 " in repr(site.hub), "all watchers")
        await redis.config_resetstat()
        for _ in range(100):
            await player.say(1)
        stats = await redis.info("commandstats")
        await player.finish()
        for stream in streams:
            check_stream(await stream.rest(), 0, player.last)
            stream.vanish()
    ours = {name.removeprefix("cmdstat_"): row["calls"] for name, row in stats.items()}
    # Calls inside scripts count too, and one periodic call of the process may come in between.
    allowed = {"time", "evalsha", "eval", "hmget", "hget", "get", "xadd", "hset", "publish", "config|resetstat", "info"}
    assert ours.keys() <= allowed | {"client|setinfo", "select"}, ours
    assert ours["xadd"] == ours["publish"] == 100
