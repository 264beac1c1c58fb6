"""Events that a feed does not keep: each page is read from the log once, for all watchers."""

from __future__ import annotations

import asyncio
import random

import pytest
from arq.connections import ArqRedis

from readalong.api.wire.native import native
from readalong.core.errors import StoreUnavailable
from readalong.core.sse import Decoder
from readalong.store.log import Log
from tests.api.fanout.test_feed import calls, compacted, history, read_all, started
from tests.api.helpers import Player, check_stream, number, said, text, without_debug
from tests.api.serving import a_log, on_valkey, short_settings
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer

pytestmark = on_valkey


async def test_a_page_of_history_that_was_read_half_full_is_read_again_when_more_is_there(log: Log) -> None:
    """A slow watcher asks for the page's rest after the window has moved on; the kept page must not say: gone."""
    player = await Player.start(log)
    async with started(log, player.job_id, 0, 2, max_bytes=4096) as feed:

        async def grow() -> None:
            await player.say(60, pad="x" * 200)
            feed.take(await log.read(player.job_id, feed.newest, 100))

        await grow()
        batch = await history(feed, 0)
        position = batch.position
        while position < 62:
            position = (await history(feed, position)).position
        await grow()
        await grow()
        assert feed.encoded(native).batch(position) is None
        rest = await history(feed, position)
        assert rest.position > position


async def test_many_watchers_of_the_same_history_cost_one_command_a_page(log: Log, redis: ArqRedis) -> None:
    player = await Player.start(log)
    await player.say(2998, pad="x" * 50)
    async with started(log, player.job_id, 3000, 3000) as feed:
        await redis.config_resetstat()
        found = await asyncio.gather(*(read_all(feed, position) for position in range(0, 3000, 60)))
        assert await calls(redis, "xrange") == 3
        for position, seen in zip(range(0, 3000, 60), found, strict=True):
            assert number(seen[-1]) == 3000
            assert number(seen[0]) > position


async def test_a_late_join_to_a_finished_job_is_a_few_events_in_one_write(log: Log, redis: ArqRedis) -> None:
    player = await Player.start(log)
    await player.say(4000)
    await player.finish()
    await compacted(log, player)
    await redis.config_resetstat()
    async with started(log, player.job_id, 0, player.last) as feed:
        batch = feed.encoded(native).batch(0)
        assert batch is not None
        assert (batch.position, batch.last) == (4003, True)
        seen = Decoder().feed(batch.frames)
        assert [message.event for message in seen] == ["queued", "started", "content", "done"]
        check_stream(seen, 0, 4003)
        assert await calls(redis, "xrange") <= 4


@pytest.mark.parametrize("ends", [False, pytest.param(True, marks=pytest.mark.slow)])
async def test_a_thousand_positions_behind_the_window_cost_one_read_a_page(
    log: Log, redis: ArqRedis, ends: bool
) -> None:
    """Also of more pages than were ever kept by number; its worker may compact the log meanwhile."""
    without_debug()
    player = await Player.start(log)
    await player.say(9000)
    if ends:
        await player.finish()
        await compacted(log, player)
    async with started(log, player.job_id, player.last, player.last, max_bytes=262_144) as feed:
        await redis.config_resetstat()
        positions = random.Random(1).sample(range(2, 9002), 1000)
        found = await asyncio.gather(*(read_all(feed, position) for position in positions))
        assert await calls(redis, "xrange") <= 9
        for position, seen in zip(positions, found, strict=True):
            assert number(seen[-1]) == player.last
            assert text(seen) == said(position + 1, 9002)


async def test_a_log_that_is_compacted_between_two_reads_gives_each_event_once(log: Log) -> None:
    """A watcher stands in what becomes the middle of an entry."""
    player = await Player.start(log)
    await player.say(3000)
    await player.finish()
    async with started(log, player.job_id, player.last, player.last) as feed:
        assert (await history(feed, 500)).position == 1024
        await compacted(log, player)
        assert text(await read_all(feed, 1500)) == said(1501, 3002)
        assert text(await read_all(feed, 700)) == said(701, 3002)
    async with started(log, player.job_id, 1500, player.last) as feed:
        assert text(await read_all(feed, 1500)) == said(1501, 3002)
        assert text(await read_all(feed, 0)) == said(3, 3002)


async def test_pages_of_history_are_kept_up_to_a_number_of_bytes(log: Log) -> None:
    """A few readers of a long log must not bring all of it into memory."""
    player = await Player.start(log)
    for _ in range(10):
        await player.say(1024, pad="x" * 100)
    async with started(log, player.job_id, player.last, player.last, max_bytes=400_000) as feed:
        assert text(await read_all(feed)).replace("x", "") == said(3, player.last)
        kept = [page.result() for page in feed.pages._pages.values()]
        assert 2 <= len(kept) <= 4
        assert sum(page.cost for page in kept) <= 400_000


async def test_one_reader_s_leaving_does_not_take_the_page_from_the_others(log: Log) -> None:
    player = await Player.start(log)
    await player.say(8)
    async with started(log, player.job_id, 10, 10) as feed:
        first = asyncio.create_task(history(feed, 0))
        second = asyncio.create_task(history(feed, 0))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).position == 10
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_a_page_that_could_not_be_read_is_tried_again_by_the_next(redis_server: RedisServer) -> None:
    """An outage of a moment must not stay in the cache."""
    async with Proxy(redis_server.port) as proxy, a_log(short_settings(proxy.url)) as log:
        player = await Player.start(log)
        async with started(log, player.job_id, 2, 2) as feed:
            proxy.refusing = True
            proxy.cut()
            with pytest.raises(StoreUnavailable):
                await history(feed, 0)
            proxy.refusing = False
            assert (await history(feed, 0)).position == 2
