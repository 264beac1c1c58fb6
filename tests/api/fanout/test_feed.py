"""A feed: the newest events of one job, whole, whatever the channel repeats, loses or invents."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from arq.connections import ArqRedis

from readalong.api.fanout.batch import Batch
from readalong.api.fanout.feed import Feed
from readalong.api.wire.native import native
from readalong.core.errors import JobNotFound
from readalong.core.events import Event, merge
from readalong.core.settings import Settings
from readalong.core.sse import Decoder, Message
from readalong.store.job_record import JobState
from readalong.store.log import Log
from tests.api.helpers import Player, check_stream, number
from tests.api.serving import a_log, on_valkey, short_settings
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer
from tests.support.waiting import WITHIN, until

pytestmark = on_valkey

LARGE = 1 << 20


async def read_all(feed: Feed, position: int = 0) -> list[Message]:
    """Returns all that a watcher at this position gets now, from the window or from the log."""
    decoder = Decoder()
    messages: list[Message] = []
    while True:
        batch = feed.encoded(native).batch(position)
        if batch is None:
            batch = await history(feed, position)
        elif batch.position == position:
            return messages
        assert batch.position > position
        position = batch.position
        messages += decoder.feed(batch.frames)


async def history(feed: Feed, position: int) -> Batch:
    """Returns what follows this position, from the log, which stays the same."""
    batch = await feed.encoded(native).history(position)
    assert batch is not None
    return batch


async def calls(redis: ArqRedis, command: str) -> int:
    stats = await redis.info("commandstats")
    return int(stats.get(f"cmdstat_{command}", {"calls": 0})["calls"])


async def compacted(log: Log, player: Player) -> None:
    """Does what the job's worker does after the end."""
    events = await log.read(player.job_id, 2, 100_000)
    assert await log.compact(player.job_id, player.attempt, 3, list(merge(events)))


@asynccontextmanager
async def started(log: Log, job_id: str, position: int, last_seq: int, max_bytes: int = LARGE) -> AsyncIterator[Feed]:
    feed = Feed(job_id, log, max_bytes, Feed.close)
    await feed.start(position, last_seq)
    try:
        yield feed
    finally:
        feed.close()
        await asyncio.sleep(0)


@pytest.mark.parametrize("position", [0, 1, 7, 10, 11])
async def test_a_new_feed_holds_what_its_first_watcher_wants(log: Log, position: int) -> None:
    player = await Player.start(log)
    await player.say(8)
    async with started(log, player.job_id, position, 10) as feed:
        seen = await read_all(feed, position)
        assert [number(message) for message in seen] == list(range(position + 1, 11))
        assert feed.newest == 10


async def test_a_first_watcher_far_behind_does_not_make_the_feed_read_the_whole_log(log: Log, redis: ArqRedis) -> None:
    """It reads the newest eight pages, then what the watcher asks for, a page at a time."""
    player = await Player.start(log)
    await player.say(9998)
    await redis.config_resetstat()
    async with started(log, player.job_id, 0, 10_000) as feed:
        assert await calls(redis, "xrange") <= 9
        assert repr(feed).startswith(f"<Feed {player.job_id} 1808..10000 ")
        await player.finish()
        feed.repair()
        await until(lambda: feed.ended, "the end")
        check_stream(await read_all(feed), 0, 10_001)


async def test_what_the_channel_repeats_is_skipped_and_what_it_lost_is_read(log: Log) -> None:
    """By the numbers alone."""
    player = await Player.start(log)
    async with started(log, player.job_id, 0, 2) as feed:
        await player.say(10)
        events = await log.read(player.job_id, 0, 100)
        feed.take(events[:5])
        assert feed.newest == 5
        feed.take(events[1:4])
        feed.take(events[3:7])
        assert feed.newest == 7
        feed.take(events[9:10])  # 8 and 9 were lost
        await until(lambda: feed.newest == 12, "the gap is filled")
        feed.take(events)
        await player.finish()
        feed.take(await log.read(player.job_id, 12, 10))
        assert feed.ended
        check_stream(await read_all(feed), 0, 13)


async def test_what_the_channel_says_while_the_log_is_read_is_not_lost(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log was read before an event and its message came before the feed began: the feed reads again."""
    player = await Player.start(log)
    read, arrived = log.read_merged, asyncio.Event()

    async def late(job_id: str, after: int, count: int) -> list[Event]:
        events = await read(job_id, after, count)
        await arrived.wait()
        return events

    feed = Feed(player.job_id, log, LARGE, Feed.close)
    with monkeypatch.context() as patch:
        patch.setattr(log, "read_merged", late)
        starting = asyncio.create_task(feed.start(0, 2))
        redis_has_answered = asyncio.create_task(read(player.job_id, 0, 1))
        await redis_has_answered
        await player.say(3)
        feed.take(await read(player.job_id, 2, 10))
        arrived.set()
        await starting
    await until(lambda: feed.newest == 5, "what was said meanwhile")
    assert [number(message) for message in await read_all(feed)] == [1, 2, 3, 4, 5]
    feed.close()


async def test_a_feed_begins_though_the_channel_speaks_during_each_read(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that appends more often than its log can be read would have no watcher before its end."""
    player = await Player.start(log)
    feed = Feed(player.job_id, log, LARGE, Feed.close)
    read = log.read_merged

    begun = False

    async def overtaken(job_id: str, after: int, count: int) -> list[Event]:
        events = await read(job_id, after, count)
        if not begun:
            await player.say()
            feed.take(await read(job_id, player.last - 1, 1))
        return events

    monkeypatch.setattr(log, "read_merged", overtaken)
    async with asyncio.timeout(WITHIN):
        await feed.start(0, 2)
    begun = True
    await player.finish()
    feed.take(await read(player.job_id, player.last - 1, 1))
    await until(lambda: feed.ended, "the end")
    check_stream(await read_all(feed), 0, player.last)


async def test_nothing_follows_the_terminal_event(log: Log) -> None:
    """Not even if the channel says so."""
    player = await Player.start(log)
    await player.finish()
    async with started(log, player.job_id, 0, 3) as feed:
        feed.take([Event(4, "content", b'{"content":"ghost"}')])
        assert (feed.newest, feed.ended) == (3, True)
        assert feed.is_complete_at(3)
        assert feed.is_complete_at(99)
        assert not feed.is_complete_at(2)


async def test_a_number_far_ahead_is_looked_up_and_waits(log: Log, redis: ArqRedis) -> None:
    """A forged or premature number moves nothing: only the log says what there is."""
    player = await Player.start(log)
    async with started(log, player.job_id, 0, 2) as feed:
        before = await calls(redis, "xrange")
        feed.take([Event(1000, "content", b'{"content":"ghost"}')])

        async def looked() -> bool:
            return await calls(redis, "xrange") != before

        await until(looked, "a look into the log")
        assert feed.newest == 2
        await player.say(1)
        feed.take(await log.read(player.job_id, 2, 10))
        assert [number(message) for message in await read_all(feed)] == [1, 2, 3]


@pytest.mark.parametrize("merged", [False, True])
async def test_what_the_channel_says_while_a_repair_reads_is_taken_once(
    log: Log, monkeypatch: pytest.MonkeyPatch, merged: bool
) -> None:
    """The log's answer holds events that the channel has brought meanwhile, also as a part of a merged one."""
    player = await Player.start(log)
    read, asked, go_on = log.read_merged, asyncio.Event(), asyncio.Event()

    async def late(job_id: str, after: int, count: int) -> list[Event]:
        events = await read(job_id, after, count)
        asked.set()
        await go_on.wait()
        return events

    async with started(log, player.job_id, 0, 2) as feed:
        await player.say(5)
        await player.finish()
        first = await log.read(player.job_id, 2, 3)
        if merged:
            await compacted(log, player)
        with monkeypatch.context() as patch:
            patch.setattr(log, "read_merged", late)
            feed.repair()
            await asked.wait()
            feed.take(first)
            go_on.set()
            await until(lambda: feed.ended, "the rest")
        check_stream(await read_all(feed), 0, 8)


async def test_a_job_that_ends_between_the_two_reads_of_a_repair_is_read_to_its_end(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log was read before the end, and its state after it: its streams would be closed as those of a broken log."""
    player = await Player.start(log)
    async with started(log, player.job_id, 0, 2) as feed:
        read, state, over = log.read_merged, log.states, asyncio.Event()

        async def read_early(job_id: str, after: int, count: int) -> list[Event]:
            events = await read(job_id, after, count)
            if not over.is_set():
                await player.finish()
                over.set()
            return events

        async def ask_later(job_ids: Sequence[str]) -> list[JobState | None]:
            await over.wait()
            return await state(job_ids)

        monkeypatch.setattr(log, "read_merged", read_early)
        monkeypatch.setattr(log, "states", ask_later)
        feed.repair()
        await until(lambda: feed.ended or feed.closed, "the end, or a closed feed")
        check_stream(await read_all(feed), 0, player.last)


async def test_a_log_that_is_gone_is_said_to_be_gone(log: Log) -> None:
    player = await Player.start(log)
    async with started(log, player.job_id, 2, 2) as feed:
        await log.delete(player.job_id)
        with pytest.raises(JobNotFound):
            await history(feed, 0)


async def test_a_repair_goes_on_until_redis_answers(redis_server: RedisServer) -> None:
    async with Proxy(redis_server.port) as proxy, a_log(short_settings(proxy.url)) as log:
        player = await Player.start(log)
        async with started(log, player.job_id, 0, 2) as feed:
            await player.say(3)
            proxy.refusing = True
            proxy.cut()
            feed.repair()
            tries = proxy.accepted
            await until(lambda: proxy.accepted > tries + 3, "it tried and tried again")
            assert feed.newest == 2
            proxy.refusing = False
            await until(lambda: feed.newest == 5, "the gap is filled")


async def test_closing_ends_a_repair_under_way(redis_server: RedisServer) -> None:
    """The loop of the test checks that no task is left."""
    async with Proxy(redis_server.port) as proxy, a_log(short_settings(proxy.url)) as log:
        player = await Player.start(log)
        async with started(log, player.job_id, 0, 2) as feed:
            proxy.refusing = True
            proxy.cut()
            tries = proxy.accepted
            feed.repair()
            await until(lambda: proxy.accepted > tries, "a try")
            feed.close()
            assert feed.is_complete_at(0)


async def test_any_order_of_takes_ends_with_the_log(log: Log) -> None:
    """Pieces of the channel in every order of three, some lost: the feed's history is the log's."""
    player = await Player.start(log)
    await player.say(6)
    events = await log.read(player.job_id, 0, 100)
    pieces = [events[:3], events[3:5], events[5:8]]
    for count in (1, 2, 3):
        for order in itertools.permutations(pieces, count):
            async with started(log, player.job_id, 0, 0) as feed:
                for piece in order:
                    feed.take(piece)
                await until(lambda: feed.newest == 8, "all events")
                assert [number(message) for message in await read_all(feed)] == list(range(1, 9))


async def test_a_hole_that_a_person_made_in_the_log_does_not_make_the_feed_read_for_ever(
    log: Log, redis: ArqRedis, settings: Settings
) -> None:
    """After an XDEL by hand the rest cannot be shown in order, so it is not shown; but Redis is left in peace."""
    player = await Player.start(log)
    await player.say(2500)
    await redis.xdel(settings.keys.events(player.job_id), "700-0")
    async with asyncio.timeout(WITHIN), started(log, player.job_id, 0, player.last) as feed:
        assert feed.newest == 699


async def test_a_feed_of_a_job_that_redis_lost_since_it_was_looked_up_does_not_begin(log: Log) -> None:
    """Its watchers would wait for ever. A job without its newest events waits for its worker to send them again."""
    player = await Player.start(log)
    async with started(log, player.job_id, 0, 7) as feed:
        assert feed.newest == 2
    await log.delete(player.job_id)
    with pytest.raises(JobNotFound):
        async with started(log, player.job_id, 0, 2):
            pass
