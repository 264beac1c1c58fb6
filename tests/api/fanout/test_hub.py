"""The hub on a real Redis: a watcher that joins, leaves or is cut off at any time sees every event once, in order."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest
from arq.connections import ArqRedis

from readalong.api.fanout.hub import Hub
from readalong.api.fanout.watcher_set import AT_ONCE
from readalong.core.errors import JobNotFound, Stopping
from readalong.core.keys import new_job_id
from readalong.core.settings import Settings
from readalong.core.sse import HEARTBEAT
from readalong.store.log import Log
from tests.api.fanout.test_feed import calls
from tests.api.helpers import Client, Player, check_stream, without_debug
from tests.api.serving import a_hub, on_valkey, short_settings
from tests.readalong.redis.test_pubsub import sizes, wait_for_subscribers
from tests.support.waiting import until


def is_empty(hub: Hub) -> bool:
    """Returns whether the hub has no feed, and its connection no channel of a job."""
    return repr(hub).startswith("<Hub feeds=0 watchers=0 ") and " connected wanted=0 confirmed=0>" in repr(hub)


async def write_fast(player: Player, stop: asyncio.Event, end_after: int) -> None:
    """Appends as fast as Redis takes it, until told to stop and at least so many; then ends the job."""
    while not stop.is_set() or player.last < end_after:
        await player.say(random.randint(1, 4))
    await player.finish()


async def test_two_hundred_watchers_that_join_while_a_writer_writes_see_every_event_once(
    settings: Settings, log: Log
) -> None:
    """Register, then snapshot, then live: there is no hole between them, and nothing comes twice."""
    without_debug()
    player = await Player.start(log)
    stop = asyncio.Event()
    async with a_hub(settings) as hub, asyncio.timeout(200):
        clients: list[tuple[int, Client]] = []
        async with asyncio.TaskGroup() as group:
            group.create_task(write_fast(player, stop, 300))
            for number in range(200):
                position = random.choice((0, 0, 1, 2, random.randint(0, player.last)))
                client = Client()
                clients.append((position, client))
                group.create_task(client.watch(hub, player.job_id, position))
                if number % 4 == 0:
                    await asyncio.sleep(random.uniform(0, 0.005))
            stop.set()
        for position, client in clients:
            check_stream(client.seen, position, player.last)


def open_feeds(hub: Hub) -> set[str]:
    return {feed.job_id for feed in hub._feeds.values()}


@on_valkey
async def test_first_watchers_of_many_jobs_miss_nothing(log: Log, redis_url: str) -> None:
    """The moment of the hole is when a feed opens: here eighty open while their jobs are written to."""
    without_debug()
    players = [await Player.start(log) for _ in range(20)]
    async with a_hub(short_settings(redis_url, feed_linger=0.01)) as hub, asyncio.timeout(200):

        async def one(player: Player) -> None:
            for _ in range(4):
                client = Client()
                watching = asyncio.create_task(client.watch(hub, player.job_id, 0))
                await player.say(1)
                await player.say(2)
                await client.reaches(player.last, "all so far")
                client.leave()
                await watching
                await until(lambda: player.job_id not in open_feeds(hub), "the feed ends")
            client = Client()
            await asyncio.gather(client.watch(hub, player.job_id, 0), player.finish())
            check_stream(client.seen, 0, player.last)

        await asyncio.gather(*(one(player) for player in players))


@on_valkey
async def test_the_same_job_watched_and_left_many_times_quickly_loses_nothing(log: Log, redis_url: str) -> None:
    """With no linger each leaving unsubscribes and each coming subscribes: they must not overtake each other."""
    player = await Player.start(log)
    async with a_hub(short_settings(redis_url, feed_linger=0)) as hub, asyncio.timeout(200):
        for number in range(60):
            client = Client()
            watching = asyncio.create_task(client.watch(hub, player.job_id, player.last))
            for _ in range(number % 5):
                await asyncio.sleep(0)
            if number % 3 == 0:
                client.leave()
                await watching
                continue
            await player.say(1)
            await client.reaches(player.last, f"round {number}")
            client.leave()
            if number % 2:
                await watching
        last = Client()
        await asyncio.gather(last.watch(hub, player.job_id), player.finish())
        check_stream(last.seen, 0, player.last)


async def test_a_feed_without_linger_serves_its_first_watcher(log: Log, redis_url: str) -> None:
    """0 means: it ends with its last watcher, not before its first one."""
    player = await Player.start(log)
    async with a_hub(short_settings(redis_url, feed_linger=0)) as hub:
        for _ in range(5):
            feed = await hub.feed(player.job_id, 2)
            assert not feed.is_complete_at(2), "a live job is not over"
            hub.release(feed)
            await asyncio.sleep(0)


@on_valkey
async def test_a_thousand_watchers_that_come_back_at_once_cost_a_handful_of_reads(
    redis_url: str, log: Log, redis: ArqRedis
) -> None:
    """And one subscription: no Redis command for each watcher or token."""
    without_debug()
    player = await Player.start(log)
    for _ in range(10):
        await player.say(500 - (player.last == 2) * 2)
    assert player.last == 5000
    # Reading, the thousand hold the hub's own loop for longer than three short heartbeats: it would reconnect.
    async with a_hub(short_settings(redis_url, hub_heartbeat=60)) as hub, asyncio.timeout(200):
        await until(lambda: "connected" in repr(hub), "a connection")
        await redis.config_resetstat()
        clients = [(position, Client()) for position in random.sample(range(5001), 1000)]
        async with asyncio.TaskGroup() as group:
            for position, client in clients:
                group.create_task(client.watch(hub, player.job_id, position))
            await until(lambda: "watchers=1000 " in repr(hub), "all are there", 50)
            await until(lambda: all(client.position == 5000 for at, client in clients if at < 5000), "all have all", 50)
            assert await calls(redis, "xrange") <= 10
            assert await calls(redis, "hgetall") <= 1
            assert await calls(redis, "subscribe") <= 1
            assert len(await redis.client_list(_type="pubsub")) == 1
            await player.say(10)
            await player.finish()
        assert await calls(redis, "xrange") <= 10
        for position, client in clients:
            check_stream(client.seen, position, 5011)


async def test_the_last_watcher_s_leaving_ends_the_feed(log: Log, redis: ArqRedis, redis_url: str) -> None:
    """After the linger: the feed is dropped and the channel unsubscribed."""
    player = await Player.start(log)
    channel = short_settings(redis_url).keys.live(player.job_id)
    async with a_hub(short_settings(redis_url, feed_linger=0.1)) as hub:
        before = sizes(hub)
        clients = [Client() for _ in range(3)]
        tasks = [asyncio.create_task(client.watch(hub, player.job_id)) for client in clients]
        await until(lambda: all(client.position == 2 for client in clients), "the beginning")
        await wait_for_subscribers(redis, channel, 1)
        for client in clients:
            client.leave()
        await asyncio.gather(*tasks)
        assert "feeds=1 watchers=0 " in repr(hub), "it lingers"
        await until(lambda: is_empty(hub), "an empty hub")
        await wait_for_subscribers(redis, channel, 0)
        assert sizes(hub) == before


async def test_who_comes_back_within_the_linger_costs_nothing(settings: Settings, log: Log, redis: ArqRedis) -> None:
    player = await Player.start(log)
    async with a_hub(settings) as hub:
        for number in range(5):
            client = Client()
            watching = asyncio.create_task(client.watch(hub, player.job_id))
            await client.reaches(2)
            if number == 0:
                await redis.config_resetstat()
            client.leave()
            await watching
        assert [await calls(redis, name) for name in ("xrange", "hgetall", "subscribe", "unsubscribe")] == [0] * 4


async def test_a_feed_that_no_watcher_came_for_ends_too(settings: Settings, log: Log) -> None:
    """The client was gone before its response began."""
    player = await Player.start(log)
    async with a_hub(settings) as hub:
        watching = asyncio.create_task(hub.feed(player.job_id, 0))
        await asyncio.sleep(0)
        watching.cancel()
        await until(lambda: "feeds=1" in repr(hub), "the feed opens")
        await until(lambda: is_empty(hub), "an empty hub")


@on_valkey
async def test_a_first_watcher_that_leaves_while_the_feed_opens_does_not_hurt_the_second(
    log: Log, redis_url: str
) -> None:
    player = await Player.start(log)
    async with a_hub(short_settings(redis_url, feed_linger=0.05)) as hub:
        for turns in range(8):
            first, second = Client(), Client()
            leaving = asyncio.create_task(first.watch(hub, player.job_id))
            staying = asyncio.create_task(second.watch(hub, player.job_id))
            for _ in range(turns):
                await asyncio.sleep(0)
            leaving.cancel()
            await second.reaches(2, f"the second, after {turns} turns")
            second.leave()
            await staying
            await until(lambda: is_empty(hub), "an empty hub")
            assert leaving.done()


async def test_a_job_that_is_none_is_not_found_and_leaves_nothing(settings: Settings) -> None:
    async with a_hub(settings) as hub:
        await until(lambda: "connected" in repr(hub), "a connection")
        for _ in range(3):
            with pytest.raises(JobNotFound):
                await hub.feed(new_job_id(), 0)
        assert is_empty(hub)


async def test_an_ended_job_that_is_erased_elsewhere_is_served_no_more(
    settings: Settings, log: Log, redis: ArqRedis
) -> None:
    """Its feed lingers, and each client that comes back would keep it."""
    player = await Player.start(log)
    await player.say(3)
    await player.finish()
    channel = settings.keys.live(player.job_id)

    async def heard() -> bool:
        return bool(dict(await redis.pubsub_numsub(channel))[channel.encode()])

    async with a_hub(settings) as hub:
        await until(lambda: "connected" in repr(hub), "a connection")
        client = Client()
        await client.watch(hub, player.job_id)
        check_stream(client.seen, 0, player.last)
        assert "feeds=1" in repr(hub)
        await until(heard, "a subscription")
        await log.delete(player.job_id)
        await redis.publish(channel, b"erased")
        await until(lambda: is_empty(hub), "an empty hub")
        with pytest.raises(JobNotFound):
            await hub.feed(player.job_id, 0)


async def test_a_closed_hub_ends_its_streams_and_takes_no_more(settings: Settings, log: Log) -> None:
    """Without a terminal event, and never with the answer that the job is over: the client must come back elsewhere."""
    player = await Player.start(log)
    async with a_hub(settings) as hub:
        clients = [Client() for _ in range(3)]
        tasks = [asyncio.create_task(client.watch(hub, player.job_id)) for client in clients]
        await until(lambda: all(client.position == 2 for client in clients), "the beginning")
        await hub.close()
        await asyncio.gather(*tasks)
        assert all(client.complete and not client.ended for client in clients)
        for job_id in (player.job_id, (await Player.start(log)).job_id):
            with pytest.raises(Stopping):
                await hub.feed(job_id, 0)


@pytest.mark.parametrize(("how", "error"), [("closed", Stopping), ("erased", JobNotFound)])
async def test_a_feed_that_is_closed_as_soon_as_it_is_open_does_not_pass_for_an_ended_job_s(
    settings: Settings, log: Log, how: str, error: type[Exception]
) -> None:
    """The watcher that asked for it has not had its turn yet. A 204 would keep a browser from ever coming back."""
    player = await Player.start(log)
    async with a_hub(settings) as hub:
        asking = asyncio.create_task(hub.feed(player.job_id, 0))
        await asyncio.sleep(0)
        (starting,) = hub._starting.values()
        while not starting.done():  # noqa: ASYNC110  # turn by turn: the moment lasts for one or two of them
            await asyncio.sleep(0)
        if how == "closed":
            await hub.close()
        else:
            hub._on_message(settings.keys.live(player.job_id).encode(), b"erased")
        with pytest.raises(error):
            await asking


async def test_who_gets_its_turn_long_after_the_feed_is_open_is_not_told_that_the_job_is_gone(
    settings: Settings, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that stood still finds the time over that a feed waits for its first watcher."""
    player = await Player.start(log)
    loop = asyncio.get_running_loop()
    really, time = loop.call_later, loop.time
    stood = 0.0

    def call_later(delay: float, callback: Any, *args: Any, **more: Any) -> asyncio.TimerHandle:
        nonlocal stood
        handle = really(delay, callback, *args, **more)
        if callback == hub._end:
            stood += delay + 1
        return handle

    async with a_hub(settings) as hub:
        monkeypatch.setattr(loop, "call_later", call_later)
        monkeypatch.setattr(loop, "time", lambda: time() + stood)
        feed = await hub.feed(player.job_id, 0)
        assert stood
        assert not feed.closed
        await until(lambda: is_empty(hub), "an empty hub")


async def test_an_erased_job_s_watchers_are_let_go(settings: Settings, log: Log, redis: ArqRedis) -> None:
    """Nothing will come any more: their streams end, and the feed with them."""
    player = await Player.start(log)
    async with a_hub(settings) as hub:
        client = Client()
        watching = asyncio.create_task(client.watch(hub, player.job_id))
        await client.reaches(2)
        await log.delete(player.job_id)
        await redis.publish(settings.keys.live(player.job_id), b"erased")
        await watching
        assert client.complete
        assert not client.ended
        await until(lambda: is_empty(hub), "an empty hub")
        with pytest.raises(JobNotFound):
            await hub.feed(player.job_id, 0)


@on_valkey
async def test_watchers_of_many_jobs_share_one_connection(settings: Settings, log: Log, redis: ArqRedis) -> None:
    players = [await Player.start(log) for _ in range(10)]
    async with a_hub(settings) as hub:
        clients = [(player, Client()) for player in players for _ in range(3)]
        tasks = [asyncio.create_task(client.watch(hub, player.job_id)) for player, client in clients]
        await until(lambda: all(client.position == 2 for _, client in clients), "the beginning")
        assert len(await redis.client_list(_type="pubsub")) == 1
        await asyncio.gather(*(player.finish() for player in players))
        await asyncio.gather(*tasks)
        for player, client in clients:
            check_stream(client.seen, 0, player.last)


@on_valkey
async def test_heartbeats_go_to_some_watchers_in_each_turn_of_the_loop(log: Log, redis_url: str) -> None:
    """Comments to ten thousand in one turn are a tenth of a second in which no event of any job leaves."""
    without_debug()
    players = [await Player.start(log) for _ in range(3)]
    turn = 0
    counting = True
    comments: list[int] = []

    def tick() -> None:
        nonlocal turn
        turn += 1
        if counting:
            asyncio.get_running_loop().call_soon(tick)

    class Quiet(Client):
        async def send(self, message: Any) -> None:
            if message.get("body") == HEARTBEAT:
                comments.append(turn)
            await super().send(message)

    async with a_hub(short_settings(redis_url, sse_keepalive=0.6)) as hub:
        clients = [(player, Quiet()) for player in players for _ in range(100)]
        tasks = [asyncio.create_task(client.watch(hub, player.job_id)) for player, client in clients]
        await until(lambda: all(client.position == 2 for _, client in clients), "the beginning")
        tick()
        await until(lambda: len(comments) >= 3 * len(clients), "three comments to each")
        counting = False
        assert max(Counter(comments).values()) <= AT_ONCE
        for _, client in clients:
            client.leave()
        await asyncio.gather(*tasks)
