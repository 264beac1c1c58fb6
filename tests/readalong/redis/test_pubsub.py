"""The one subscription connection of a process: it confirms subscriptions, reports gaps, and hears its own
heartbeat."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from arq.connections import ArqRedis
from pydantic import AnyUrl
from redis.exceptions import ResponseError

from readalong.core.errors import StoreUnavailable
from readalong.core.settings import Settings
from readalong.redis.client import connect
from readalong.redis.pubsub import PubSubConnection
from tests.api.serving import on_valkey
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer
from tests.support.waiting import until

OWN = "test:heartbeat:own"


class Heard:
    """A subscription connection and everything that it reported."""

    def __init__(self, redis: ArqRedis, heartbeat: float = 5, patience: float = 2) -> None:
        self.messages: list[tuple[bytes, bytes]] = []
        self.gaps = 0
        self.subscriber = PubSubConnection(
            redis,
            OWN,
            heartbeat=heartbeat,
            patience=patience,
            on_message=lambda channel, data: self.messages.append((channel, data)),
            on_gap=self._gap,
        )

    def _gap(self) -> None:
        self.gaps += 1

    @property
    def state(self) -> str:
        return repr(self.subscriber)

    async def reaches_gap(self, number: int) -> None:
        await until(lambda: self.gaps == number, f"gap {number}")


@asynccontextmanager
async def listening(url: str, heartbeat: float = 5, patience: float = 2) -> AsyncIterator[Heard]:
    redis = connect(Settings(redis_url=AnyUrl(url), redis_timeout=patience))
    heard = Heard(redis, heartbeat, patience)
    heard.subscriber.start()
    try:
        yield heard
    finally:
        await heard.subscriber.close()
        await redis.aclose()


async def subscribers(redis: ArqRedis, channel: str) -> int:
    ((_, count),) = await redis.pubsub_numsub(channel)
    return int(count)


async def wait_for_subscribers(redis: ArqRedis, channel: str, count: int) -> None:
    async def there() -> bool:
        return await subscribers(redis, channel) == count

    await until(there, f"{count} subscribers")


async def test_what_is_published_after_subscribe_returned_is_heard(redis: ArqRedis, redis_url: str) -> None:
    """Redis itself confirms: from then on no message is missed."""
    async with listening(redis_url) as heard:
        for number in range(50):
            channel = f"c{number}"
            await heard.subscriber.subscribe(channel)
            assert await redis.publish(channel, b"%d" % number) == 1
        await until(lambda: len(heard.messages) == 50, "50 messages")
        assert heard.messages == [(b"c%d" % n, b"%d" % n) for n in range(50)]
        assert heard.gaps == 0
        assert heard.state == "<PubSubConnection connected wanted=50 confirmed=50>"


async def test_a_channel_that_is_subscribed_already_is_confirmed_at_once(redis_url: str) -> None:
    async with listening(redis_url) as heard:
        await heard.subscriber.subscribe("c")
        await heard.subscriber.subscribe("c")
        assert heard.state == "<PubSubConnection connected wanted=1 confirmed=1>"


async def test_two_concurrent_subscribes_are_both_confirmed(redis: ArqRedis, redis_url: str) -> None:
    async with listening(redis_url) as heard:
        await asyncio.gather(heard.subscriber.subscribe("c"), heard.subscriber.subscribe("c"))
        await redis.publish("c", b"x")
        await until(lambda: heard.messages, "the message")
        assert heard.messages == [(b"c", b"x")]


async def test_an_unsubscribed_channel_is_silent(redis: ArqRedis, redis_url: str) -> None:
    async with listening(redis_url) as heard:
        await heard.subscriber.subscribe("c")
        heard.subscriber.unsubscribe("c")
        await wait_for_subscribers(redis, "c", 0)
        assert heard.state == "<PubSubConnection connected wanted=0 confirmed=0>"


async def test_subscribe_right_after_unsubscribe_hears_what_follows(redis: ArqRedis, redis_url: str) -> None:
    """In one turn of the loop, and many times: Redis must get both, in this order."""
    async with listening(redis_url) as heard:
        await heard.subscriber.subscribe("c")
        for number in range(60):
            heard.subscriber.unsubscribe("c")
            await heard.subscriber.subscribe("c")
            assert await redis.publish("c", b"%d" % number) == 1, f"round {number}"
        await until(lambda: len(heard.messages) == 60, "60 messages")
        assert [data for _, data in heard.messages] == [b"%d" % n for n in range(60)]


async def test_subscribe_unsubscribe_subscribe_before_any_answer_ends_subscribed(
    redis: ArqRedis, redis_url: str
) -> None:
    """Only the last SUBSCRIBE's confirmation counts: our own UNSUBSCRIBE may follow an older one."""
    async with listening(redis_url) as heard:
        await heard.subscriber.subscribe("first")
        for number in range(40):
            channel = f"c{number}"
            impatient = asyncio.create_task(heard.subscriber.subscribe(channel))
            await asyncio.sleep(0)
            impatient.cancel()
            heard.subscriber.unsubscribe(channel)
            await heard.subscriber.subscribe(channel)
            assert await redis.publish(channel, b"x") == 1, f"round {number}"
        await until(lambda: len(heard.messages) == 40, "40 messages")


async def test_channels_that_come_and_go_leave_nothing(redis: ArqRedis, redis_url: str) -> None:
    """A process lives for months: its memory of a channel must end with the channel."""
    async with listening(redis_url) as heard:
        await heard.subscriber.subscribe("stays")
        before = sizes(heard.subscriber)
        for number in range(200):
            await heard.subscriber.subscribe(f"c{number}")
            heard.subscriber.unsubscribe(f"c{number}")
        await wait_for_subscribers(redis, "c199", 0)
        await until(lambda: sizes(heard.subscriber) == before, f"{before} again")


def sizes(thing: object) -> dict[str, int]:
    """Returns the sizes of an object's containers."""
    return {name: len(value) for name, value in vars(thing).items() if isinstance(value, dict | set | list)}


async def test_a_killed_connection_comes_back_with_all_channels_and_says_that_there_was_a_gap(
    redis: ArqRedis, redis_url: str
) -> None:
    """redis-py's own PubSub would hide the gap."""
    async with listening(redis_url) as heard:
        for number in range(20):
            await heard.subscriber.subscribe(f"c{number}")
        for gaps in (1, 2, 3):
            await redis.client_kill_filter(_type="pubsub")
            await heard.reaches_gap(gaps)
            # When it reports the gap, it hears every channel again.
            for number in range(20):
                assert await redis.publish(f"c{number}", b"x") == 1
        await until(lambda: len(heard.messages) == 60, "60 messages")
        assert heard.state == "<PubSubConnection connected wanted=20 confirmed=20>"


async def test_the_first_connection_is_no_gap(redis_url: str) -> None:
    async with listening(redis_url) as heard:
        await heard.subscriber.subscribe("c")
        assert heard.gaps == 0


async def test_garbage_on_its_own_channel_and_on_others_does_no_harm(redis: ArqRedis, redis_url: str) -> None:
    async with listening(redis_url) as heard:
        await heard.subscriber.subscribe("c")
        await redis.publish(OWN, b"\xff\x00")
        await redis.publish("c", b"\xff\x00")
        await until(lambda: heard.messages, "the message")
        assert heard.messages == [(b"c", b"\xff\x00")]


async def test_a_receiver_that_raises_does_not_end_the_subscription(
    redis: ArqRedis, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault in one job must not take the live events from all others."""
    client = connect(Settings(redis_url=AnyUrl(redis_url)))
    seen: list[bytes] = []

    def receive(channel: bytes, data: bytes) -> None:
        seen.append(data)
        if data == b"bad":
            raise KeyError("content")

    subscriber = PubSubConnection(client, OWN, heartbeat=5, patience=2, on_message=receive, on_gap=lambda: None)
    subscriber.start()
    try:
        await subscriber.subscribe("c")
        await redis.publish("c", b"bad")
        await redis.publish("c", b"good")
        await until(lambda: seen == [b"bad", b"good"], "both messages")
        assert "KeyError" in caplog.text
    finally:
        await subscriber.close()
        await client.aclose()


async def test_without_redis_subscribe_gives_up_after_its_patience() -> None:
    """It raises the error of every other call: 503, try again."""
    async with Proxy(target=1) as proxy, listening(proxy.url, patience=0.2) as heard:
        with pytest.raises(StoreUnavailable) as caught:
            await heard.subscriber.subscribe("c")
        assert caught.value.retryable
        assert heard.state == "<PubSubConnection away wanted=1 confirmed=0>"


async def test_a_subscribe_that_waits_is_served_when_redis_comes(redis: ArqRedis, redis_server: RedisServer) -> None:
    async with Proxy(redis_server.port) as proxy:
        proxy.refusing = True
        async with listening(proxy.url, patience=5) as heard:
            waiting = asyncio.create_task(heard.subscriber.subscribe("c"))
            await until(lambda: proxy.accepted > 1, "a second try")
            proxy.refusing = False
            await waiting
            assert await redis.publish("c", b"x") == 1
            await until(lambda: heard.subscriber.subscribed_at is not None, "all channels")
            assert heard.gaps == 0, "a gap ends the streams that waited for the first connection"


async def test_a_half_open_connection_is_found_by_the_heartbeat(redis: ArqRedis, redis_server: RedisServer) -> None:
    """No close and no data arrive: only the missing heartbeat tells this from a quiet Redis."""
    async with Proxy(redis_server.port) as proxy, listening(proxy.url, heartbeat=0.05, patience=0.3) as heard:
        await heard.subscriber.subscribe("c")
        proxy.stall()
        proxy.heal()
        await until(lambda: heard.gaps >= 1, "a reconnection")
        assert await redis.publish("c", b"x") >= 1
        await until(lambda: heard.messages, "the message")


async def test_a_connection_that_dies_in_its_greeting_is_given_up(redis: ArqRedis, redis_server: RedisServer) -> None:
    """A route is lost right after the TCP handshake: without a time-out the hub would be deaf for ever."""
    async with Proxy(redis_server.port) as proxy, listening(proxy.url, heartbeat=0.05, patience=0.3) as heard:
        await heard.subscriber.subscribe("c")
        proxy.stall()
        before = proxy.accepted
        proxy.cut()
        await until(lambda: proxy.accepted > before, "a reconnection into the hole")
        proxy.heal()  # only a further try gets through
        await until(lambda: heard.gaps >= 1, "a reconnection")
        assert await redis.publish("c", b"x") >= 1
        await until(lambda: heard.messages, "the message")


async def test_a_quiet_redis_is_not_mistaken_for_a_dead_one(redis_server: RedisServer) -> None:
    async with Proxy(redis_server.port) as proxy, listening(proxy.url, heartbeat=0.2, patience=1) as heard:
        await heard.subscriber.subscribe("c")
        # More heartbeats than a dead connection may miss come back, on one connection.
        seen = 0

        def count(piece: bytes) -> bool:
            nonlocal seen
            seen += piece.count(b"beat\r\n")
            return True

        proxy.keeps = count
        await until(lambda: seen >= 5, "5 heartbeats")
        assert heard.gaps == 0


async def test_a_heartbeat_that_redis_refuses_is_not_the_last() -> None:
    """A person revokes a permission and grants it again: the death of a connection after that is still found."""
    async with AsyncExitStack() as stack:
        server = stack.enter_context(RedisServer.start())
        proxy = await stack.enter_async_context(Proxy(server.port))
        heard = await stack.enter_async_context(listening(proxy.url, heartbeat=0.1, patience=1))
        await heard.subscriber.subscribe("c")
        server.command("ACL", "SETUSER", "default", "-publish")
        await until(lambda: server.command("ACL", "LOG"), "a heartbeat that is refused")
        server.command("ACL", "SETUSER", "default", "+publish")
        proxy.stall()
        await until(lambda: "away" in heard.state, "the dead connection is found")


async def test_close_while_redis_is_away_leaves_nothing() -> None:
    """A call that waits for a subscription gets an error. No task stays, as the loop of every test checks."""
    async with Proxy(target=1) as proxy:
        async with listening(proxy.url, patience=30) as heard:
            waiting = asyncio.create_task(heard.subscriber.subscribe("c"))
            await until(lambda: proxy.accepted > 0, "a try")
        with pytest.raises(asyncio.CancelledError):
            await waiting


@on_valkey
@pytest.mark.slow
async def test_a_redis_that_is_busy_with_a_script_is_asked_again_until_it_subscribes(
    redis_server: RedisServer, resources: AsyncExitStack
) -> None:
    """Redis refuses the SUBSCRIBE and keeps the connection: no message would ever arrive on it."""
    server = resources.enter_context(RedisServer.start(binary=redis_server.binary))
    server.command("CONFIG", "SET", "lua-time-limit", "1")
    proxy = await resources.enter_async_context(Proxy(server.port))
    heard = await resources.enter_async_context(listening(proxy.url, heartbeat=60))
    await heard.subscriber.subscribe("c")
    refusals = 0

    def count(piece: bytes) -> bool:
        nonlocal refusals
        refusals += piece.count(b"-BUSY")
        return True

    proxy.keeps = count

    async def endless() -> None:
        with pytest.raises(ResponseError):
            await asyncio.to_thread(server.command, "EVAL", "while true do end", 0)

    busy = asyncio.create_task(endless())

    async def is_busy() -> bool:
        try:
            await asyncio.to_thread(server.command, "PING")
        except ResponseError:
            return True
        return False

    await until(is_busy, "a busy server")
    proxy.cut()
    await until(lambda: refusals > 6, "refusals on several connections")
    server.command("SCRIPT", "KILL")
    await busy
    await heard.reaches_gap(1)
    assert server.command("PUBLISH", "c", "x") == 1


@on_valkey
async def test_a_redis_that_drops_each_connection_as_soon_as_it_subscribes_is_not_asked_without_a_pause(
    redis_server: RedisServer,
) -> None:
    """For example, Redis' output limit for subscribers is too small."""
    loop = asyncio.get_running_loop()

    def drops(piece: bytes) -> bool:
        if b"subscribe" in piece:
            loop.call_soon(proxy.cut)
        return True

    async with Proxy(redis_server.port) as proxy:
        proxy.keeps = drops
        async with listening(proxy.url, heartbeat=60) as heard:
            await until(lambda: proxy.accepted > 1, "a second connection")
            await asyncio.sleep(1.5)  # the time itself in which they are counted
            assert proxy.accepted < 40  # without a pause it would be hundreds
            proxy.keeps = None
            await heard.subscriber.subscribe("c")


async def test_without_a_channel_of_its_own_a_connection_that_hears_nothing_is_replaced(
    redis_server: RedisServer,
) -> None:
    """Also a half-open one. The channels given at the start are subscribed without a call."""
    messages: list[bytes] = []
    gaps: list[None] = []
    async with Proxy(redis_server.port) as proxy:
        client = connect(Settings(redis_url=AnyUrl(proxy.url), redis_timeout=5))
        connection = PubSubConnection(
            client,
            None,
            channels=["c"],
            heartbeat=0.1,
            patience=5,
            on_message=lambda _, data: messages.append(data),
            on_gap=lambda: gaps.append(None),
        )
        connection.start()
        try:
            await wait_for_subscribers(client, "c", 1)
            await client.publish("c", b"one")
            await until(lambda: messages == [b"one"], "the message")
            assert not gaps
            proxy.freeze(lambda said: b"SUBSCRIBE" in said)
            await until(lambda: gaps, "another connection")
            await wait_for_subscribers(client, "c", 2)  # Redis does not know that the first is dead
            await client.publish("c", b"two")
            await until(lambda: messages == [b"one", b"two"], "the message")
        finally:
            await connection.close()
            await client.aclose()
