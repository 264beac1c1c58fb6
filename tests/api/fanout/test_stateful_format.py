"""A format with state: the bytes after a position are the same for all watchers, wherever and whenever they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from arq.connections import ArqRedis

from readalong.api.fanout.hub import Hub
from readalong.api.fanout.sse_response import SseResponse
from readalong.core.events import NewEvent
from readalong.core.settings import Settings
from readalong.core.sse import HEARTBEAT
from readalong.store.epochs import Epochs
from readalong.store.log import Log
from tests.api.fanout.test_feed import compacted
from tests.api.forgetful import Worker, job
from tests.api.helpers import Client, Player, without_debug
from tests.api.serving import a_hub, on_valkey, short_settings
from tests.api.wire.parts import Parts, frames_of
from tests.support.waiting import WITHIN, until

pytestmark = on_valkey

START = Parts().start(None)


async def bytes_after(hub: Hub, job_id: str, position: int, wire: Parts) -> bytes:
    """Returns all that a watcher gets from this position to the job's end."""
    client = Client()
    async with asyncio.timeout(WITHIN):
        await client.watch(hub, job_id, position, wire)
    return client.raw.replace(HEARTBEAT, b"")


@asynccontextmanager
async def watching(hub: Hub, job_id: str, position: int, wire: Parts) -> AsyncIterator[Client]:
    """Yields a client that watches, and waits for its end when the block ends."""
    client = Client()
    task = asyncio.create_task(client.watch(hub, job_id, position, wire))
    yield client
    async with asyncio.timeout(WITHIN):
        await task


async def say(player: Player, count: int, pad: str = "") -> None:
    """Appends runs of text of two kinds, and events that belong to no text."""
    for place in range(count):
        kind = ("content", "content", "reasoning", "tool_call_delta", "content")[place % 5]
        more = {"index": 0} if kind == "tool_call_delta" else {}
        await player.append(NewEvent(kind, {"content": f"{place} {pad}", **more}))


async def frames_in(log: Log, job_id: str) -> list[bytes]:
    """Returns the frames of a stream, one for each number of the job's log."""
    record = await log.record(job_id)
    assert record is not None
    epochs = Epochs(record.epochs)
    events = await log.read(job_id, 0, 10_000)
    return frames_of(Parts(), [event._replace(epoch=epochs.at(event.seq)) for event in events])


async def test_all_watchers_get_the_same_bytes_after_each_position(settings: Settings, log: Log) -> None:
    """From the start, late, coming back at each position, by another process, after an attempt and after compaction."""
    without_debug()
    wire = Parts()
    player = await Player.start(log)
    async with AsyncExitStack() as stack:
        one, two = [await stack.enter_async_context(a_hub(settings)) for _ in range(2)]
        async with watching(one, player.job_id, 0, wire) as first:
            await say(player, 7)
            await first.reaches(9)
            async with watching(one, player.job_id, 5, wire) as late:
                await player.say(20)
                await player.claim("second")
                await say(player, 13)
                await player.finish()
        frames = await frames_in(log, player.job_id)
        assert len(frames) == player.last
        assert (first.raw, late.raw) == (START + b"".join(frames), START + b"".join(frames[5:]))
        for position in range(player.last):
            for hub in (one, two):
                assert await bytes_after(hub, player.job_id, position, wire) == START + b"".join(frames[position:])
        await compacted(log, player)
        async with a_hub(settings) as third:
            for position in range(0, player.last, 7):
                assert await bytes_after(third, player.job_id, position, wire) == START + b"".join(frames[position:])


async def test_watchers_behind_what_is_kept_get_the_same_bytes(redis_url: str, log: Log) -> None:
    """Pages of the log are encoded from the states at their starts, some of them after the live ones."""
    without_debug()
    wire = Parts()
    player = await Player.start(log)
    async with AsyncExitStack() as stack:
        settings = short_settings(redis_url, replay_buffer_bytes=65_536)
        one, two = [await stack.enter_async_context(a_hub(settings)) for _ in range(2)]
        async with watching(one, player.job_id, 0, wire) as first:
            for _ in range(6):
                await say(player, 10, "x" * 500)
                await player.say(500)
            await first.reaches(player.last)
            async with watching(one, player.job_id, 0, wire) as late:
                await late.reaches(player.last)
                await player.say(3)
                await player.finish()
        frames = await frames_in(log, player.job_id)
        assert first.raw == late.raw == START + b"".join(frames)
        positions = [0, 1, 1023, 1024, 1025, 2047, 2048, 2500, player.last - 1]
        found = await asyncio.gather(
            *(bytes_after(hub, player.job_id, position, wire) for position in positions for hub in (one, two))
        )
        wanted = [START + b"".join(frames[position:]) for position in positions for _ in (one, two)]
        assert found == wanted


async def test_a_client_that_joins_now_is_told_where_and_gets_what_all_get(settings: Settings, log: Log) -> None:
    wire, client = Parts(), Client()
    player = await Player.start(log)
    await say(player, 8)
    async with a_hub(settings) as hub:
        response = await SseResponse.open(hub, player.job_id, wire, None, send_timeout=5)
        assert response is not None
        served = asyncio.create_task(response({"type": "http"}, client.receive, client.send))
        await until(lambda: client.raw, "the opening")
        await say(player, 3)
        await player.finish()
        async with asyncio.timeout(WITHIN):
            await served
    opening, _, rest = client.raw.partition(b"\n\n")
    assert opening.startswith(b": parts from 10-")
    assert rest == b"".join((await frames_in(log, player.job_id))[10:])


class Hashed(Parts):
    """A format that is a value, and counts how often it is hashed."""

    def __init__(self) -> None:
        super().__init__()
        self.hashed = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hashed)

    def __hash__(self) -> int:
        self.hashed += 1
        return 7


async def test_equal_formats_share_their_bytes_and_no_event_hashes_them(settings: Settings, log: Log) -> None:
    """To hash a value costs as much as to write an event."""
    wires = Hashed(), Hashed()
    player = await Player.start(log)
    async with a_hub(settings) as hub, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(watching(hub, player.job_id, 0, wire)) for wire in wires]
        for client in clients:
            await client.reaches(2)
        before = [wire.hashed for wire in wires]
        await say(player, 20)
        for client in clients:
            await client.reaches(player.last)
        assert [wire.hashed for wire in wires] == before
        (feed,) = hub._feeds.values()
        assert len(feed._encoded) == 1
        await player.finish()


async def test_formats_that_clients_have_chosen_go_when_their_clients_have_left(settings: Settings, log: Log) -> None:
    """The options of a format may be a client's words. A format with a watcher stays."""
    wire = Parts()
    player = await Player.start(log)
    async with a_hub(settings) as hub, watching(hub, player.job_id, 0, wire) as stays:
        await stays.reaches(2)
        for _ in range(20):
            leaves = Client()
            task = asyncio.create_task(leaves.watch(hub, player.job_id, 0, Parts()))
            await leaves.reaches(2)
            leaves.leave()
            await task
        (feed,) = hub._feeds.values()
        assert len(feed._encoded) <= 8
        await player.finish()
    assert stays.raw == START + b"".join(await frames_in(log, player.job_id))


async def test_after_a_lost_log_the_state_is_that_of_the_log_that_redis_has(
    settings: Settings, log: Log, redis: ArqRedis
) -> None:
    """Told with the state before the present attempt; then the stream is that of a watcher that never saw the other."""
    wire = Parts()
    job_id, forgetful = await job(log, redis, settings)
    one = await Worker.claims(log, job_id, "aaa")
    await one.say(2)
    await forgetful.keep()
    async with a_hub(settings) as hub:
        async with watching(hub, job_id, 0, wire) as client:
            await one.say(18)
            await client.reaches(22)
            seen = client.raw
            await forgetful.forget()
            two = await Worker.claims(log, job_id, "bbb")
            await two.say(30)
            await two.finish()
        events = await log.read(job_id, 0, 100)
        begins = next(event.seq for event in events if event.type == "restarted")
        whole = await bytes_after(hub, job_id, 0, wire)
        rest = await bytes_after(hub, job_id, begins, wire)
    assert client.raw.startswith(seen)
    told, _, after = client.raw[len(seen) :].partition(b'"restarted"')
    frame, _, after = after.partition(b"\n\n")
    assert START + after == rest
    # The frames of the event whose place it takes, by their numbers and parts.
    assert (told + b'"restarted"' + frame + b"\n\n") in whole


async def test_the_first_watcher_of_a_young_job_needs_no_read_of_the_log(settings: Settings, log: Log) -> None:
    """All that the log holds is in memory, and its first token must not wait for Redis."""
    async with a_hub(settings) as hub:
        player = await Player.start(log)
        await say(player, 3)
        feed = await hub.feed(player.job_id, 0)
        batch = feed.encoded(Parts()).batch(0)
        assert batch is not None
        assert batch.frames == b"".join(await frames_in(log, player.job_id))
