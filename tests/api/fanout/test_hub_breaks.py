"""The hub when Redis, the network or the channel fails it: every event still comes once and in order."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack

import orjson
import pytest
from arq.connections import ArqRedis

from readalong.api.wire.chat_stream import chat_stream
from readalong.core.errors import JobNotFound, StoreUnavailable
from readalong.core.settings import Settings
from readalong.store.log import Log
from tests.api.fanout.test_hub import write_fast
from tests.api.helpers import Client, Player, again, check_stream
from tests.api.serving import a_hub, a_log, on_valkey, short_settings
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer
from tests.support.waiting import until


async def test_events_that_the_channel_lost_come_from_the_log(
    settings: Settings, log: Log, redis_server: RedisServer
) -> None:
    """Every third message never arrives; the next one shows the gap, and the log fills it."""
    player = await Player.start(log)
    lost = 0
    seen = 0

    def keeps(piece: bytes) -> bool:
        nonlocal lost, seen
        if b"message" not in piece or b":live" not in piece:
            return True
        seen += 1
        lost += seen % 3 == 0
        return seen % 3 != 0

    async def say() -> None:
        before = seen
        await player.say(1)
        await until(lambda: seen > before, "it was published")

    async with Proxy(redis_server.port) as proxy, a_hub(short_settings(proxy.url)) as hub:
        client = Client()
        watching = asyncio.create_task(client.watch(hub, player.job_id))
        await client.reaches(2)
        proxy.keeps = keeps
        for _ in range(30):
            await say()
        assert lost >= 10
        proxy.keeps = None
        await player.finish()
        await watching
        check_stream(client.seen, 0, player.last)


async def test_a_lost_terminal_event_is_found_at_the_next_reconnection(
    settings: Settings, log: Log, redis: ArqRedis, redis_server: RedisServer
) -> None:
    """After the last event no further number would show the gap."""
    player = await Player.start(log)
    async with Proxy(redis_server.port) as proxy, a_hub(short_settings(proxy.url)) as hub:
        client = Client()
        watching = asyncio.create_task(client.watch(hub, player.job_id))
        await client.reaches(2)
        proxy.keeps = lambda piece: b":live" not in piece
        await player.finish()
        proxy.keeps = None
        await redis.client_kill_filter(_type="pubsub")
        await watching
        check_stream(client.seen, 0, player.last)


async def test_what_the_channel_repeats_is_not_shown_twice(settings: Settings, log: Log, redis: ArqRedis) -> None:
    player = await Player.start(log)
    channel = settings.keys.live(player.job_id)
    async with a_hub(settings) as hub, redis.pubsub() as tap:
        await tap.subscribe(channel)
        client = Client()
        watching = asyncio.create_task(client.watch(hub, player.job_id))
        await client.reaches(2)
        said = []
        for _ in range(10):
            await player.say(2)
            message = None
            while message is None or message["type"] != "message":
                message = await tap.get_message(timeout=100)
            said.append(message["data"])
            for repeat in random.choices(said, k=3):
                await redis.publish(channel, repeat)
        await player.finish()
        await watching
        check_stream(client.seen, 0, player.last)


GARBAGE = (
    b"",
    b"hello",
    b"\xff\xfe",
    b'{"id":',
    b'{"id":x,"type":"content","content":"x"}',
    b'{"id":4}',
    b'{"id":99999,"type":"content","content":"ghost"}',
    b'{"id":-1,"type":"content","content":"ghost"}',
    b'{"id":1,"type":"done"}',
    b'{"type":"content","id":4}',
    b"[1,2]",
    b"null",
)


async def test_garbage_on_the_channel_is_ignored(
    settings: Settings, log: Log, redis: ArqRedis, caplog: pytest.LogCaptureFixture
) -> None:
    """A person with redis-cli may publish anything; the log has what was really appended."""
    player = await Player.start(log)
    channel = settings.keys.live(player.job_id)
    async with a_hub(settings) as hub:
        client = Client()
        watching = asyncio.create_task(client.watch(hub, player.job_id))
        await client.reaches(2)
        for garbage in GARBAGE:
            assert await redis.publish(channel, garbage) == 1
            await player.say(1)
            await client.reaches(player.last, f"the event after {garbage!r}")
        await player.finish()
        await watching
        check_stream(client.seen, 0, player.last)
    assert {record.levelname for record in caplog.records if record.name == "readalong.api.fanout.hub"} == {"WARNING"}
    assert "broke its receiver" not in caplog.text, "it was expected"


async def test_a_forged_event_of_one_job_does_not_stop_another_job_s_events(
    settings: Settings, log: Log, redis: ArqRedis
) -> None:
    """It has the right number and no content: the format that looks inside breaks, and nothing else does."""
    forged, sound = await Player.start(log), await Player.start(log)
    async with a_hub(settings) as hub:
        victim, third = Client(), Client()
        others = [Client() for _ in range(10)]
        broken = asyncio.create_task(victim.watch(hub, forged.job_id, wire=chat_stream))
        tasks = [asyncio.create_task(client.watch(hub, forged.job_id)) for client in others]
        sound_task = asyncio.create_task(third.watch(hub, sound.job_id))
        await until(lambda: "watchers=12 " in repr(hub), "all watch")
        await redis.publish(settings.keys.live(forged.job_id), b'{"seq":3,"type":"reasoning","nothing":1}')
        await until(lambda: all(client.position == 3 for client in others), "it reaches clients of the other format")
        await broken  # dropped at once; it may come back
        await sound.say(3)
        await sound.finish()
        await sound_task
        check_stream(third.seen, 0, sound.last)
        for client in others:
            client.leave()
        await asyncio.gather(*tasks)


async def test_killed_subscriptions_cost_no_event(settings: Settings, log: Log, redis: ArqRedis) -> None:
    """CLIENT KILL again and again while the writer writes: reconnect, subscribe again, fill the gap."""
    players = [await Player.start(log) for _ in range(3)]
    stop = asyncio.Event()
    async with a_hub(settings) as hub, asyncio.timeout(200):
        clients = [(player, Client()) for player in players for _ in range(5)]
        async with asyncio.TaskGroup() as group:
            for player in players:
                group.create_task(write_fast(player, stop, 50))
            for player, client in clients:
                group.create_task(client.watch(hub, player.job_id))
            for _ in range(5):
                await until(lambda: "connected" in repr(hub), "a connection")
                await redis.client_kill_filter(_type="pubsub")
                await asyncio.sleep(0.02)
            stop.set()
        for player, client in clients:
            check_stream(client.seen, 0, player.last)


async def test_a_restart_of_redis_in_mid_stream_costs_no_event() -> None:
    """With an append-only file, as the operations page asks for: watchers wait, and go on where they were."""
    with RedisServer.start(aof=True) as server:
        settings = short_settings(server.url)
        async with AsyncExitStack() as stack, asyncio.timeout(200):
            hub = await stack.enter_async_context(a_hub(settings))
            writer = await stack.enter_async_context(a_log(settings))
            player = await Player.start(writer)
            clients = [Client() for _ in range(5)]
            tasks = [asyncio.create_task(client.watch(hub, player.job_id)) for client in clients]
            await player.say(5)
            await until(lambda: all(client.position == player.last for client in clients), "the beginning")
            await asyncio.to_thread(server.restart)
            await again(player.say, 5)
            await again(player.finish)
            await asyncio.gather(*tasks)
            for client in clients:
                check_stream(client.seen, 0, player.last)


async def test_a_half_open_subscription_is_found_and_its_gap_filled(
    settings: Settings, log: Log, redis_server: RedisServer
) -> None:
    player = await Player.start(log)
    async with (
        Proxy(redis_server.port) as proxy,
        a_hub(short_settings(proxy.url, hub_heartbeat=0.2, redis_timeout=3)) as hub,
    ):
        client = Client()
        watching = asyncio.create_task(client.watch(hub, player.job_id))
        await client.reaches(2)
        proxy.stall()
        proxy.heal()
        await player.say(5)
        await client.reaches(player.last, "what was said into the hole")
        await player.finish()
        await watching
        check_stream(client.seen, 0, player.last)


async def test_a_hub_that_starts_before_redis_serves_when_redis_comes(log: Log, redis_server: RedisServer) -> None:
    player = await Player.start(log)
    async with Proxy(redis_server.port) as proxy:
        proxy.refusing = True
        async with a_hub(short_settings(proxy.url, redis_timeout=5)) as hub:
            with pytest.raises(StoreUnavailable):
                await hub.feed(player.job_id, 0)
            proxy.refusing = False
            client = Client()
            await player.finish()
            await again(client.watch, hub, player.job_id)
            check_stream(client.seen, 0, player.last)


async def test_the_streams_of_a_job_that_redis_lost_end_and_it_is_unknown(
    settings: Settings, log: Log, redis: ArqRedis
) -> None:
    """A Redis that came back without it: no event will come, and a closed feed would pass for an ended job."""
    lost, kept = await Player.start(log), await Player.start(log)
    async with a_hub(settings) as hub, asyncio.timeout(200):
        clients = [Client() for _ in range(3)]
        watching = [asyncio.create_task(client.watch(hub, lost.job_id)) for client in clients]
        other = Client()
        other_watching = asyncio.create_task(other.watch(hub, kept.job_id))
        await until(lambda: all(client.position == 2 for client in [*clients, other]), "the beginning")
        await redis.delete(*settings.keys.of_job(lost.job_id))
        await redis.client_kill_filter(_type="pubsub")
        await asyncio.gather(*watching)
        assert all(client.complete and not client.ended for client in clients)
        with pytest.raises(JobNotFound):
            await hub.feed(lost.job_id, 2)
        await kept.finish()
        await other_watching
        check_stream(other.seen, 0, kept.last)


@pytest.mark.parametrize("what", ["erased", "lost its end"])
async def test_an_ended_job_that_redis_does_not_have_so_any_more_is_served_no_more(
    settings: Settings, log: Log, redis: ArqRedis, redis_server: RedisServer, what: str
) -> None:
    """Erased, or back with an older log, while the subscription was away. A client that comes back would keep the feed
    for ever: it would show what is erased, or an end that no other process shows."""
    player = await Player.start(log)
    names = settings.keys.of_job(player.job_id)[:2]
    before = [await redis.dump(name) for name in names]
    await player.finish()
    kept = await Player.start(log)
    await kept.finish()
    async with Proxy(redis_server.port) as proxy, a_hub(short_settings(proxy.url, feed_linger=60)) as hub:
        for job_id in (player.job_id, kept.job_id):
            client = Client()
            await client.watch(hub, job_id)
            assert client.ended
        proxy.refusing = True
        proxy.cut()
        if what == "erased":
            await log.delete(player.job_id)
        else:
            for name, value in zip(names, before, strict=True):
                await redis.restore(name, 0, value, replace=True)
        proxy.refusing = False
        if what == "erased":
            await until(lambda: "feeds=1 " in repr(hub), "its feed to go, and the other to stay")
            with pytest.raises(JobNotFound):
                await hub.feed(player.job_id, 0)
        else:
            feed = await hub.feed(player.job_id, 0)
            await until(lambda: not feed.ended, "its feed to forget the end")
            assert (await hub.feed(kept.job_id, 0)).ended


@pytest.mark.parametrize("heard", [True, False], ids=["heard", "not heard"])
async def test_a_watcher_beyond_the_end_of_another_attempt_is_told_and_gets_that_one(
    settings: Settings, log: Log, redis: ArqRedis, redis_server: RedisServer, heard: bool
) -> None:
    """Redis comes back with an older log, whose worker is dead too; the next attempt ends before the number that a
    watcher has seen. No event would ever follow it."""
    player = await Player.start(log)
    names = settings.keys.of_job(player.job_id)[:2]
    before = [await redis.dump(name) for name in names]
    async with Proxy(redis_server.port) as proxy, a_hub(short_settings(proxy.url)) as hub, asyncio.timeout(200):
        client = Client()
        watching = asyncio.create_task(client.watch(hub, player.job_id))
        await client.reaches(2)
        await player.say(20)
        await client.reaches(22)
        if not heard:
            proxy.refusing = True
            proxy.cut()
        for name, value in zip(names, before, strict=True):
            await redis.restore(name, 0, value, replace=True)
        await player.claim("second")
        await player.say(2)
        await player.finish()
        assert player.last < client.position
        proxy.refusing = False
        await watching
        late = Client()
        await late.watch(hub, player.job_id, 22, epoch="first")
        kinds = [message.event for message in client.seen]
        for seen in (client.seen[kinds.index("restarted") :], late.seen):
            assert {message.id.partition("-")[2] for message in seen} == {"second"}
            assert [seen[0].id, seen[-1].id] == ["3-second", "6-second"]
            assert seen[0].event == "restarted"
            assert orjson.loads(seen[0].data)["reason"] == "log_lost"
            assert seen[-1].event == "done"
        other = Client()
        await other.watch(hub, player.job_id)
        assert [message.event for message in other.seen][-1] == "done"
        assert other.position == player.last


@on_valkey
async def test_a_watch_that_waits_for_its_subscription_hears_of_the_erase(
    log: Log, redis: ArqRedis, redis_server: RedisServer
) -> None:
    """It would wait as long as Redis may take to answer, and then be told that Redis is away."""
    player = await Player.start(log)
    async with (
        Proxy(redis_server.port) as proxy,
        a_hub(short_settings(proxy.url, redis_timeout=60)) as hub,
        asyncio.timeout(200),
    ):
        await until(lambda: "connected" in repr(hub), "a connection")
        proxy.keeps = lambda piece: b"subscribe" not in piece.lower()
        watching = asyncio.create_task(hub.feed(player.job_id, 0))
        await until(lambda: "wanted=1 confirmed=0" in repr(hub), "it waits")
        await log.delete(player.job_id)
        await hub.evict(player.job_id)
        with pytest.raises(JobNotFound):
            await watching


async def test_a_log_that_a_person_broke_ends_its_streams_alone(
    settings: Settings, log: Log, redis: ArqRedis, caplog: pytest.LogCaptureFixture
) -> None:
    """Its repair cannot go on. Without an end its watchers would wait for ever; the other jobs' see nothing of it."""
    broken, sound = await Player.start(log), await Player.start(log)
    async with a_hub(settings) as hub:
        victim, other = Client(), Client()
        ended = asyncio.create_task(victim.watch(hub, broken.job_id))
        watching = asyncio.create_task(other.watch(hub, sound.job_id))
        await until(lambda: victim.position == other.position == 2, "the beginning")
        await redis.set(settings.keys.events(broken.job_id), "not a stream")
        await redis.publish(settings.keys.live(broken.job_id), b'{"seq":9,"type":"content","content":"a gap"}')
        await ended
        assert (victim.complete, victim.ended) == (True, False)
        assert f"job {broken.job_id} cannot be read" in caplog.text
        await sound.finish()
        await watching
        check_stream(other.seen, 0, sound.last)
