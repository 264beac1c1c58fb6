"""How many read along, told to the streams that ask, over all replicas; the others cost and hear nothing of it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import orjson
import pytest
from arq.connections import ArqRedis

from readalong.core.settings import Settings
from readalong.core.sse import Message
from readalong.store.log import Log
from readalong.store.readers import ReaderStore
from tests.api.helpers import Player, check_stream
from tests.api.routes.test_submit import problem
from tests.api.serving import Site, Stream, a_site, on_valkey
from tests.readalong.helpers import command
from tests.support.waiting import until

pytestmark = on_valkey


class Seat:
    """One client's stream, and the numbers of readers that it was told."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.seen: list[Message] = []

    @property
    def counts(self) -> list[int]:
        return [int(orjson.loads(message.data)["count"]) for message in self.seen if message.event == "readers"]

    @property
    def events(self) -> list[Message]:
        return [message for message in self.seen if message.event != "readers"]

    async def reaches(self, count: int) -> None:
        """Reads until it is told this number."""
        while not self.counts or self.counts[-1] != count:
            more = await self.stream.messages()
            assert more is not None, f"the stream ended before {count} readers; it was told {self.counts}"
            self.seen += more

    async def ends(self) -> None:
        self.seen += await self.stream.rest()


class House:
    def __init__(self, resources: AsyncExitStack) -> None:
        self._resources = resources

    async def seat(self, site: Site, job_id: str, query: str = "?readers=true") -> Seat:
        stream = await self._resources.enter_async_context(await site.open(f"/v1/jobs/{job_id}/events{query}"))
        assert stream.status == 200
        return Seat(stream)


async def test_all_that_ask_are_told_of_each_other_over_two_replicas_until_the_end(
    settings: Settings, log: Log
) -> None:
    player = await Player.start(log)
    async with a_site(settings) as one, a_site(settings) as two, AsyncExitStack() as resources:
        house = House(resources)
        first = await house.seat(one, player.job_id)
        await first.reaches(1)
        plain = await house.seat(one, player.job_id, "")
        second, third = await house.seat(two, player.job_id), await house.seat(one, player.job_id)
        for seat in (first, second, third):
            await seat.reaches(3)
        third.stream.vanish()
        for seat in (first, second):
            await seat.reaches(2)
        await player.say(3)
        await player.finish()
        for seat in (first, second, plain):
            await seat.ends()
        # The events are those of any stream, and the number has no position of its own.
        for seat in (first, second, plain):
            check_stream(seat.events, 0, player.last)
        assert plain.counts == []
        told = next(message for message in first.seen if message.event == "readers")
        assert orjson.loads(told.data) == {"type": "readers", "count": 1}
        assert b"event: readers" in first.stream.body
        assert b"\n\nid:" not in first.stream.body.replace(b"\n\nid: ", b"")


async def test_a_replica_that_is_gone_counts_no_more(settings: Settings, log: Log, redis: ArqRedis) -> None:
    player = await Player.start(log)
    async with a_site(settings) as site, AsyncExitStack() as resources:
        seat = await House(resources).seat(site, player.job_id)
        await ReaderStore(site.deps.redis, settings).report("killed", {player.job_id: 40})
        await seat.reaches(41)
        await seat.reaches(1)
        seat.stream.vanish()

        async def forgotten() -> bool:
            return not await redis.exists(settings.keys.readers(player.job_id))

        await until(forgotten, "the key's end")


async def test_streams_that_do_not_ask_send_nothing_for_it(settings: Settings, log: Log, redis: ArqRedis) -> None:
    player = await Player.start(log)
    async with a_site(settings) as site, AsyncExitStack() as resources:
        house = House(resources)
        for query in ("", "?readers=false"):
            seat = await house.seat(site, player.job_id, query)
            await player.finish() if query else await player.say(5)
        await seat.ends()
        assert not await redis.keys(f"{settings.prefix}:job:*:readers")
        wrong = await site.http.get(f"/v1/jobs/{player.job_id}/events?readers=2")
        problem(wrong, 422, "invalid_parameter", "readers")


@pytest.mark.parametrize(
    "value",
    [{"other": "x"}, {"other": "5"}, {"other": "99999999999999999999 99999999999999"}, {b"\xff": b"\xff"}, "a string"],
)
async def test_what_a_person_writes_there_counts_nothing(
    settings: Settings, log: Log, redis: ArqRedis, value: Any
) -> None:
    player = await Player.start(log)
    async with a_site(settings) as site, AsyncExitStack() as resources:
        name = settings.keys.readers(player.job_id)
        if isinstance(value, str):
            await redis.set(name, value)
        else:
            await command(redis, "HSET", name, *(part for pair in value.items() for part in pair))
        seat = await House(resources).seat(site, player.job_id)
        await seat.reaches(1)
