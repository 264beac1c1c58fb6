"""What a stream costs is bounded: clients that do not read, long jobs, and many that come and go.

Real processes and sockets; memory is what the system says of the API's process.
"""

from __future__ import annotations

import asyncio

import pytest

from bench.harness.memory import memory_kb
from readalong.core.settings import Settings
from readalong.store.log import Log
from tests.api.helpers import Player, without_debug
from tests.api.listener import Listener, assert_whole, room_for_many
from tests.api.process import ApiProcess
from tests.api.serving import on_valkey
from tests.support.servers import RedisServer
from tests.support.waiting import until

pytestmark = [on_valkey, pytest.mark.slow]

_FEED = 262_144
#: KB that a feed may cost: its window, as much again in pages of the log, two times 512 KB of batches that watchers
#: share, and the message that is being taken in.
_FEED_KB = 4096
#: KB that a process of CPython may grow by in such a test whatever it does: arenas, and what malloc does not give back.
_SLACK_KB = 3072
#: KB that a client which does not read may cost: up to 64 in the transport, a batch of up to 64 beyond that, and one
#: that waits.
_CLIENT_KB = 208


_KILOBYTE = "x" * 1000
_WORDS = "a few words of text, as from a fast model "


async def tell(player: Player, kilobytes: int) -> None:
    """Appends so much text, in events of 1 KB."""
    for _ in range(0, kilobytes, 32):
        await player.say(32, pad=_KILOBYTE)


async def test_clients_that_stop_reading_cost_a_fixed_number_of_bytes_and_later_get_every_event(
    redis_url: str, log: Log
) -> None:
    """The transport's 64 KB and a batch of as much, however long the stream; another client is not held up."""
    without_debug()
    player = await Player.start(log)
    async with ApiProcess(redis_url, cold=True, replay_buffer_bytes=_FEED, send_timeout=60) as api:
        (pid,) = await api.wait_for_serving()
        quick = Listener(player, _KILOBYTE)
        await tell(player, 4096)
        await quick.open(api.port)
        await quick.reach(player.last)
        before = memory_kb(pid)
        slow = [Listener(player, _KILOBYTE) for _ in range(50)]
        for place, listener in enumerate(slow):
            # At positions of their own, so that they share no bytes; every second one is behind the feed's window.
            listener.position = (2 if place % 2 else player.last - 100) + 2 * place
            await listener.open(api.port, receive_buffer=4096)
            listener.stop_reading()
        await tell(player, 4096)
        await quick.reach(player.last)
        early = memory_kb(pid)
        await tell(player, 8192)
        await quick.reach(player.last)
        late = memory_kb(pid)
        grown = f"KB before, with clients that do not read, and after 8 MB more: {before}, {early}, {late}"
        assert early - before < len(slow) * _CLIENT_KB + _FEED_KB, grown
        assert late - early < _SLACK_KB, grown
        await player.finish()
        assert not any(listener.closed for listener in slow)
        for listener in slow:
            listener.read_on()
        for listener in (quick, *slow):
            await listener.wait_closed()
        assert_whole(player, quick, *slow)
        assert {listener.connections for listener in slow} == {1}


async def test_clients_that_do_not_read_the_end_of_their_job_cost_what_the_others_do(redis_url: str, log: Log) -> None:
    """It repeats 8 MB of text, of which a process has what one client needs, wherever the clients stood before it."""
    without_debug()
    end = 8192
    player = await Player.start(log)
    await player.say(14)
    await player.finish(content="x" * 1024 * end)
    # With room for all in the window: what it keeps ready for one position drives out that for another.
    async with ApiProcess(redis_url, cold=True, replay_buffer_bytes=1 << 25, send_timeout=60) as api:
        (pid,) = await api.wait_for_serving()
        before = memory_kb(pid)
        quick, *slow = [Listener(player) for _ in range(31)]
        for place, listener in enumerate(slow):
            listener.position = 2 + place % 15
            await listener.open(api.port, receive_buffer=4096)
            listener.stop_reading()
        await quick.open(api.port)
        await quick.wait_closed()
        after = memory_kb(pid)
        # As Redis gave it, as an event, as frames; and what each of these was made of.
        most = 6 * end + len(slow) * _CLIENT_KB + _FEED_KB
        assert after - before < most, f"KB before and with clients that do not read: {before}, {after}"
        slow[0].read_on()
        await slow[0].wait_closed()
        assert_whole(player, quick, slow[0])
        for listener in slow[1:]:
            listener.leave()


async def test_a_client_that_reads_nothing_for_the_send_time_out_is_closed_whatever_its_job_does(
    redis_url: str, redis_server: RedisServer, log: Log, settings: Settings
) -> None:
    """The job goes on, or ends meanwhile, or all of its end is in the buffer; each client resumes without a gap. One
    that reads, and has nothing to read for as long, stays."""
    without_debug()
    players = goes_on, ends, at_end, quiet = [await Player.start(log) for _ in range(4)]
    async with ApiProcess(redis_url, cold=True, send_timeout=1, feed_linger=0) as api:
        await api.wait_for_serving()
        *stalled, reader = listeners = [Listener(player, _KILOBYTE) for player in players]
        for listener in listeners:
            await listener.open(api.port, receive_buffer=4096)
            await listener.reach(2)
        for listener in stalled:
            listener.stop_reading()

        async def gone(player: Player) -> None:
            channel = settings.keys.live(player.job_id)
            await until(lambda: not redis_server.command("PUBSUB", "NUMSUB", channel)[1], "no watcher")

        await tell(ends, 9216)
        await ends.finish()
        await at_end.finish(content="x" * 9_000_000)
        await tell(goes_on, 9216)
        for player in (ends, at_end, goes_on):
            await gone(player)
        await goes_on.finish()
        for player, listener in zip(players, stalled, strict=False):
            listener.read_on()
            await listener.wait_closed()
            assert not listener.complete, "a body that seems whole"
            assert not listener.ended
            assert listener.position < player.last
            await listener.open(api.port)
            await listener.wait_closed()
            assert_whole(player, listener)
        await tell(quiet, 32)
        await quiet.finish()
        await reader.wait_closed()
        assert_whole(quiet, reader)
        assert reader.connections == 1


async def test_a_job_that_streams_for_an_hour_does_not_grow_the_process(redis_url: str, log: Log) -> None:
    """100,000 events, as many as come in an hour at 28 a second; 4 MB of text, so that keeping it would show."""
    without_debug()
    player = await Player.start(log)
    async with ApiProcess(redis_url, cold=True, replay_buffer_bytes=_FEED) as api:
        (pid,) = await api.wait_for_serving()
        listeners = [Listener(player, _WORDS), Listener(player, _WORDS)]
        for listener in listeners:
            await listener.open(api.port)
        memory = []
        for _ in range(10):
            for _ in range(200):
                await player.say(50, pad=_WORDS)
            for listener in listeners:
                await listener.reach(player.last)
            memory.append(memory_kb(pid))
        assert memory[-1] - memory[0] < _SLACK_KB, f"KB after each tenth: {memory}"
        await player.finish()
        for listener in listeners:
            await listener.wait_closed()
        assert_whole(player, *listeners)


async def test_a_job_of_very_many_tokens_does_not_grow_the_process(redis_url: str, log: Log) -> None:
    """300,000: of each, twelve bytes would show. Neither for a client that watches it live nor for a client that comes
    at its end and reads all of it.
    """
    without_debug()
    player = await Player.start(log)
    async with ApiProcess(redis_url, cold=True, replay_buffer_bytes=_FEED) as api:
        (pid,) = await api.wait_for_serving()
        live, late = Listener(player), Listener(player)
        await live.open(api.port)
        memory = []
        for _ in range(10):
            for _ in range(15):
                await player.say(2000)
            await live.reach(player.last)
            memory.append(memory_kb(pid))
        await player.finish()
        assert player.last > 300_000
        await late.open(api.port)
        for listener in (live, late):
            await listener.wait_closed()
        memory.append(memory_kb(pid))
        assert memory[-2] - memory[0] < _SLACK_KB, f"KB after each tenth, and after a late join: {memory}"
        assert memory[-1] - memory[0] < _SLACK_KB + _FEED_KB, f"KB after each tenth, and after a late join: {memory}"
        assert_whole(player, live, late)


async def test_thousands_of_streams_that_come_and_go_leave_nothing(
    redis_url: str, redis_server: RedisServer, log: Log
) -> None:
    """No memory in the process, no channel in Redis; and all of them share one connection that is subscribed."""
    without_debug()
    room_for_many()
    async with ApiProcess(redis_url, cold=True, feed_linger=0, redis_timeout=10) as api:
        (pid,) = await api.wait_for_serving()
        await until(lambda: redis_server.command("PUBSUB", "CHANNELS"), "the hub's own channel")
        channels = redis_server.command("PUBSUB", "CHANNELS")
        memory: list[int] = []
        # How much the allocator takes at first depends on how many come at the same moment; then it has enough for all.
        while len(memory) < 3 or memory[-1] - memory[-3] >= 512:
            assert len(memory) < 10, f"KB after each thousand: {memory}"
            players = [await Player.start(log) for _ in range(10)]
            for _ in range(5):
                listeners = [Listener(player) for player in players for _ in range(20)]
                await asyncio.gather(*(listener.open(api.port) for listener in listeners))
                for listener in listeners[::2]:
                    await listener.reach(2)
                assert len(redis_server.command("CLIENT", "LIST", "TYPE", "PUBSUB").splitlines()) == 1
                for listener in listeners:
                    listener.leave()
            await until(lambda: redis_server.command("PUBSUB", "CHANNELS") == channels, "no channel of a job")
            memory.append(memory_kb(pid))
