"""SIGTERM on an API process with a thousand open streams."""

from __future__ import annotations

import asyncio
import time

import pytest

from readalong.store.log import Log
from tests.api.helpers import Player, without_debug
from tests.api.listener import Listener, assert_whole, room_for_many
from tests.api.process import ApiProcess
from tests.api.serving import on_valkey
from tests.support.waiting import until

pytestmark = [on_valkey, pytest.mark.slow]

_STREAMS = 1000
#: Seconds for the process to end. An idle machine takes less than 2, as `make bench` measures; here other tests run at
#: the same time.
_END_WITHIN = 100.0


async def test_sigterm_with_a_thousand_open_streams_ends_them_whole_and_another_process_goes_on(
    redis_url: str, log: Log
) -> None:
    """Some of the jobs are silent, and some stream all the while. No stream has a terminal event or breaks. Every
    client resumes at its position and misses nothing."""
    without_debug()
    room_for_many()
    players = streaming, busy, silent, begun = [await Player.start(log) for _ in range(4)]
    await begun.say(100)
    listeners = [Listener(player) for player in players for _ in range(_STREAMS // 4)]
    # A long time-out of Redis: beside other tests, a process that accepts a thousand clients is busy for a second.
    async with (
        ApiProcess(redis_url, cold=True, redis_timeout=10) as first,
        ApiProcess(redis_url, cold=True, redis_timeout=10) as second,
    ):
        await first.wait_for_serving()
        await second.wait_for_serving()
        await asyncio.gather(*(listener.open(first.port) for listener in listeners))
        stop = asyncio.Event()

        async def stream(player: Player, count: int) -> None:
            while not stop.is_set():
                await player.say(count)
                await asyncio.sleep(0.01)

        sources = [asyncio.create_task(stream(streaming, 1)), asyncio.create_task(stream(busy, 20))]
        try:
            await asyncio.gather(*(listener.reach(3) for listener in listeners[: _STREAMS // 2]))
            began = time.monotonic()
            first.signal()
            await until(lambda: first.code is not None, f"the end of the process; it says {first.log}", _END_WITHIN)
            took = time.monotonic() - began
            assert first.code == 0, f"after {took:.2f} s with {first.code}: {first.log}"
            assert "Traceback" not in first.log
            for listener in listeners:
                await listener.wait_closed()
                assert listener.complete, f"cut at {listener.position}; the process took {took:.2f} s"
                assert not listener.ended
            await asyncio.gather(*(listener.open(second.port) for listener in listeners))
        finally:
            stop.set()
            await asyncio.gather(*sources)
        await silent.say(10)
        for player in players:
            await player.finish()
        for listener in listeners:
            await listener.wait_closed()
            assert listener.complete
        for place, player in enumerate(players):
            assert_whole(player, *listeners[place * (_STREAMS // 4) : (place + 1) * (_STREAMS // 4)])
