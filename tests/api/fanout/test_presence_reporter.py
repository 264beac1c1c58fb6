"""What an API process tells Redis of its watchers: which jobs they keep, in one call, however many."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from arq.connections import ArqRedis

from readalong.api.fanout.feed import Feed
from readalong.core.errors import StoreUnavailable
from readalong.core.keys import Keys
from readalong.core.options import JobOptions
from readalong.core.settings import Settings
from readalong.store.job_index import JobIndex
from readalong.store.log import Log
from readalong.store.presence import PresenceStore
from readalong.store.queue import Queue
from tests.api.helpers import Client, Player, check_stream
from tests.api.serving import Site, a_site, on_valkey
from tests.readalong.helpers import command
from tests.readalong.jobs import submission
from tests.support.waiting import until

pytestmark = on_valkey


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("readalong.api.fanout.presence_reporter.RENEW_EVERY", 0.02)


class Calls:
    """The jobs of each renewal so far."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[list[str]] = []
        self.failing = False
        really = PresenceStore.touch

        async def touch(watched: PresenceStore, visits: Any) -> None:
            if visits:
                self.made.append([visit.job_id for visit in visits])
            if self.failing:
                raise StoreUnavailable("away")
            await really(watched, visits)

        monkeypatch.setattr(PresenceStore, "touch", touch)

    async def more(self, count: int = 2) -> list[list[str]]:
        """Waits for so many further renewals; returns the last."""
        so_far = len(self.made)
        await until(lambda: len(self.made) >= so_far + count, "renewals")
        return self.made[-count + 1 :]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch)


async def a_job(log: Log, queue: Queue, *, wish: bool = True, grace: float | None = None) -> Player:
    """A running job that is to end with its last watcher, or not."""
    new = submission(terms=JobOptions(cancel_on_disconnect=wish, grace=grace))
    await log.submit(new)
    await queue.enqueue(new.job_id, 1, watched=wish, grace=new.terms.grace_ms)
    return await Player.start(log, new.job_id)


async def turns_without_calls(site: Site, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the process look for watched jobs some times more, and checks that it tells Redis nothing."""
    asked = 0
    really = site.hub.with_watchers

    def with_watchers() -> list[Feed]:
        nonlocal asked
        asked += 1
        return really()

    so_far = len(calls.made)
    with monkeypatch.context() as patch:
        patch.setattr(site.hub, "with_watchers", with_watchers)
        await until(lambda: asked >= 3, "some turns")
    assert len(calls.made) == so_far


async def overdue(redis: ArqRedis, keys: Keys, job_id: str) -> None:
    await command(redis, "ZADD", keys.presence, "XX", 1, job_id)


async def renewed(redis: ArqRedis, keys: Keys, job_id: str) -> bool:
    score = await redis.zscore(keys.presence, job_id)
    return score is not None and score > 1


@pytest.mark.parametrize("path", ["/v1/jobs", "/chat/stream"])
async def test_a_submit_that_wants_it_is_in_the_set_and_another_is_not(
    settings: Settings, redis: ArqRedis, path: str
) -> None:
    """Also without a word in the request: by default so for /chat/stream alone."""
    async with a_site(settings) as site:
        seen = []
        for more in ({}, {"cancel_on_disconnect": True}, {"cancel_on_disconnect": False}):
            body = {"messages": [{"role": "user", "content": "hi"}], **more}
            async with site.http.stream("POST", path, json=body) as answer:
                job_id = answer.headers["location"].rsplit("/", 1)[1]
                seen.append(await redis.zscore(settings.keys.presence, job_id) is not None)
    assert seen == [path == "/chat/stream", True, False]


async def test_jobs_with_watchers_are_renewed_in_one_call_however_many_watch(
    settings: Settings, log: Log, queue: Queue, redis: ArqRedis, calls: Calls
) -> None:
    async with a_site(settings) as site:
        jobs = {(await a_job(log, queue)).job_id for _ in range(2)}
        other = (await a_job(log, queue, wish=False)).job_id
        streams = [await site.open(f"/v1/jobs/{job_id}/events") for job_id in (*jobs, *jobs, *jobs, other)]
        assert [sorted(call) for call in await calls.more()] == [sorted(jobs)]
        for job_id in jobs:
            await overdue(redis, settings.keys, job_id)
        await until(lambda: _all_renewed(redis, settings.keys, jobs))
        for stream in streams:
            stream.vanish()


async def _all_renewed(redis: ArqRedis, keys: Keys, jobs: set[str]) -> bool:
    return all([await renewed(redis, keys, job_id) for job_id in jobs])


async def test_a_feed_that_only_lingers_keeps_no_job(
    settings: Settings, log: Log, queue: Queue, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One watcher of two that leaves changes nothing; with the last one the renewals end, though the feed is there."""
    settings = settings.model_copy(update={"feed_linger": 3600})
    async with a_site(settings) as site:
        job_id = (await a_job(log, queue)).job_id
        one, other = [await site.open(f"/v1/jobs/{job_id}/events") for _ in range(2)]
        one.vanish()
        await until(lambda: "watchers=1" in repr(site.hub))
        assert await calls.more() == [[job_id]]
        other.vanish()
        await until(lambda: "watchers=0" in repr(site.hub))
        assert "feeds=1" in repr(site.hub)
        await turns_without_calls(site, calls, monkeypatch)


async def left_ms(redis: ArqRedis, index: JobIndex, keys: Keys, job_id: str) -> float:
    """Milliseconds that the job may still go without a watcher."""
    score = await redis.zscore(keys.presence, job_id)
    assert score is not None
    return float(score) - await index.now()


@pytest.mark.parametrize("grace", [None, 0])
async def test_the_last_watcher_s_leaving_is_told_at_once_and_its_return_too(
    settings: Settings, log: Log, queue: Queue, index: JobIndex, redis: ArqRedis, *, grace: float | None
) -> None:
    """Not by silence. Of two that watch at two replicas the first to leave says nothing that harms the other."""
    keys, ms = settings.keys, 3000 if grace is None else 0
    async with a_site(settings) as site, a_site(settings) as other:
        job_id = (await a_job(log, queue, grace=grace)).job_id
        path = f"/v1/jobs/{job_id}/events"

        async def at_replicas(count: int) -> None:
            await until(lambda: _has(redis.zcard(keys.watchers(job_id)), count), f"{count} replicas that watch")

        first, second = await site.open(path), await other.open(path)
        await at_replicas(2)
        first.vanish()
        await at_replicas(1)
        assert await left_ms(redis, index, keys, job_id) > ms
        second.vanish()
        await at_replicas(0)
        assert ms - 2000 < await left_ms(redis, index, keys, job_id) <= ms
        async with await site.open(path):
            await at_replicas(1)
            assert await left_ms(redis, index, keys, job_id) > ms


async def test_a_process_that_stops_does_not_say_that_its_clients_left(
    settings: Settings, log: Log, queue: Queue, index: JobIndex, redis: ArqRedis
) -> None:
    """It sends them to another one, for which they have the whole time, however short the grace of the job."""
    async with a_site(settings) as site:
        job_id = (await a_job(log, queue, grace=0)).job_id
        async with await site.open(f"/v1/jobs/{job_id}/events"):
            await until(lambda: _has(redis.zcard(settings.keys.watchers(job_id)), 1), "it watches")
            told: list[Feed] = []
            site.hub.on_departure = told.append
            await site.hub.close()
            await until(lambda: "watchers=0" in repr(site.hub), "its stream has ended")
            assert told == []
            assert await left_ms(redis, index, settings.keys, job_id) > 0


async def _has(answer: Any, count: int) -> bool:
    return bool(await answer == count)


async def test_a_job_that_has_ended_is_not_renewed(
    settings: Settings, log: Log, queue: Queue, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even for a watcher that does not read its end."""
    async with a_site(settings) as site:
        player = await a_job(log, queue)
        client = Client()
        watching = asyncio.create_task(client.watch(site.hub, player.job_id))
        await calls.more()
        client.reading.clear()
        await player.finish()
        await until(lambda: site.hub.with_watchers() == [])
        assert "watchers=1" in repr(site.hub)
        await turns_without_calls(site, calls, monkeypatch)
        client.reading.set()
        await watching


async def test_a_renewal_that_fails_is_made_again(
    settings: Settings, log: Log, queue: Queue, redis: ArqRedis, calls: Calls
) -> None:
    async with a_site(settings) as site:
        job_id = (await a_job(log, queue)).job_id
        calls.failing = True
        async with await site.open(f"/v1/jobs/{job_id}/events"):
            await calls.more()
            await overdue(redis, settings.keys, job_id)
            calls.failing = False
            await until(lambda: renewed(redis, settings.keys, job_id))


async def test_a_renewal_that_redis_refuses_is_not_the_last(
    settings: Settings, log: Log, queue: Queue, redis: ArqRedis, calls: Calls
) -> None:
    """A person breaks the set by hand, or takes a permission away, and mends it: watched jobs must be kept again."""
    async with a_site(settings) as site:
        job_id = (await a_job(log, queue)).job_id
        async with await site.open(f"/v1/jobs/{job_id}/events"):
            await redis.set(settings.keys.presence, "by hand")
            await calls.more()
            await redis.delete(settings.keys.presence)
            await redis.zadd(settings.keys.presence, {job_id: 1})
            await until(lambda: renewed(redis, settings.keys, job_id))


async def test_without_watchers_nothing_is_sent(
    settings: Settings, log: Log, queue: Queue, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_site(settings) as site:
        await a_job(log, queue)
        await turns_without_calls(site, calls, monkeypatch)
        assert calls.made == []


async def test_a_stream_that_does_not_count_keeps_no_job_and_sees_it_all(
    settings: Settings, log: Log, queue: Queue, redis: ArqRedis
) -> None:
    """An operator looks on: Redis hears of the others alone, and that they have left."""
    new = submission(terms=JobOptions(cancel_on_disconnect=True))
    await log.submit(new)
    await queue.enqueue(new.job_id, new.created_at, watched=True)
    player = await Player.start(log, new.job_id)
    visits = settings.keys.watchers(new.job_id)
    async with a_site(settings) as site:
        events = f"/v1/jobs/{new.job_id}/events"
        async with await site.open(f"{events}?count=false") as onlooker:
            seen = await onlooker.some(2)
            assert site.hub.with_watchers() == []
            async with await site.open(events) as watcher:
                await watcher.some(2)
                await until(lambda: redis.zcard(visits), "the visit of the one that counts")
            await until(lambda: _gone(redis, visits), "its leaving")
            # A second one that does not count leaves: nothing is told of it.
            async with await site.open(f"{events}?count=false&readers=true") as other:
                await other.some(2)
            await player.say(3)
            await player.finish()
            check_stream([*seen, *await onlooker.rest()], 0, player.last)


async def _gone(redis: ArqRedis, name: str) -> bool:
    return not await redis.zcard(name)
