"""A dead worker's jobs are freed at once, a live one's never; and the jobs that wait for a worker. On real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest
from arq.connections import ArqRedis

from readalong.core.errors import StoreRefused
from readalong.core.keys import Keys
from readalong.store.job_index import JobIndex
from readalong.store.queue import Queue
from readalong.store.worker_registry import WorkerRegistry
from tests.readalong.helpers import command, enqueue, ids_of, places_of
from tests.readalong.jobs import WORKER
from tests.support.waiting import until

LEASE_MS = 10_000


async def run_of(redis: ArqRedis) -> str:
    info = await redis.info("server")
    return str(info["run_id"])


async def alive(
    registry: WorkerRegistry, redis: ArqRedis, index: JobIndex, worker_id: str, *, says: object = None
) -> None:
    """Registers a worker whose liveness record says that it is subscribed, at this Redis or where the test `says`."""
    details = {"id": worker_id, "connected_to": await run_of(redis) if says is None else says}
    await registry.heartbeat(worker_id, orjson.dumps(details), await index.now(), LEASE_MS)


@asynccontextmanager
async def subscribed(redis: ArqRedis, *worker_ids: str) -> AsyncIterator[None]:
    """Keeps these workers' subscriptions open."""
    channels = list(map(Keys().alive, worker_ids))

    async def all_seen() -> bool:
        return all(count for _, count in await redis.pubsub_numsub(*channels))

    async with redis.pubsub() as pubsub:
        await pubsub.subscribe(*channels)
        await until(all_seen, "the subscription")
        yield


async def test_a_dead_workers_jobs_wait_at_their_old_places_and_wake_one_worker_each(
    registry: WorkerRegistry, queue: Queue, index: JobIndex, redis: ArqRedis, keys: Keys
) -> None:
    """Their leases have long to go. Another worker's job, and a queued one, do not change."""
    ids = await enqueue(queue, index, 4)
    first, kept = await queue.acquire("dead", 1), await queue.acquire("other", 1)
    second = await queue.acquire("dead", 1)
    await redis.delete(keys.wake)
    await alive(registry, redis, index, "dead")
    await alive(registry, redis, index, "me")
    async with subscribed(redis, "me"):
        freed = await registry.reap("dead", "me", await run_of(redis))
        assert freed is not None
        assert sorted(freed) == sorted(ids_of([*first, *second]))
        # A second caller that finds it dead is late.
        assert await registry.reap("dead", "me", await run_of(redis)) is None
    assert sorted(await command(redis, "LRANGE", keys.wake, 0, -1)) == sorted(job_id.encode() for job_id in freed)
    assert await redis.ttl(keys.wake) > 0
    assert await registry.workers() == ["me"]
    assert await redis.exists(keys.worker("dead")) == 0
    assert await redis.zrange(keys.leases, 0, -1) == [kept[0].job_id.encode()]
    taken = await queue.acquire("me", 10)
    assert places_of(taken) == [*places_of([*first, *second]), (ids[3], taken[2].score)]
    assert await queue.renew("dead", ids_of([*first, *second])) == ids_of([*first, *second]), "they are another's"


@pytest.mark.parametrize(
    "why", ["it is subscribed", "it took that back", "it was so at another Redis", "it has left", "we are not seen"]
)
async def test_a_worker_that_may_live_keeps_its_jobs(
    why: str, registry: WorkerRegistry, queue: Queue, index: JobIndex, redis: ArqRedis
) -> None:
    await enqueue(queue, index)
    held = await queue.acquire("other", 1)
    says = {"it took that back": 0, "it was so at another Redis": "f" * 40}.get(why)
    await alive(registry, redis, index, "other", says=says)
    if why == "it has left":
        await registry.leave("other")
    there = {"it is subscribed": ["me", "other"], "we are not seen": ["third"]}.get(why, ["me"])
    async with subscribed(redis, *there):
        assert await registry.reap("other", "me", await run_of(redis)) is None
    assert await queue.renew("other", ids_of(held)) == []


async def test_a_sign_of_life_that_is_broken_tells_nothing(
    registry: WorkerRegistry, queue: Queue, index: JobIndex, redis: ArqRedis, keys: Keys
) -> None:
    """No JSON, no object, no text, and another type of key."""
    now = await index.now()
    async with subscribed(redis, "me"):
        for broken in (b"{", b"[1]", b'"x"', b'{"connected_to":7}', b"\xff"):
            await registry.heartbeat("other", broken, now, LEASE_MS)
            assert await registry.reap("other", "me", await run_of(redis)) is None
        await redis.delete(keys.worker("other"))
        await command(redis, "RPUSH", keys.worker("other"), "x")
        assert await registry.reap("other", "me", await run_of(redis)) is None
        await redis.zadd(keys.workers, {b"\xff\xfe": now + LEASE_MS})
        assert await registry.workers() == ["other"]
        assert (await registry.waiting([])).workers == 2


async def test_connections_are_counted_for_all_at_once(registry: WorkerRegistry, redis: ArqRedis) -> None:
    async with subscribed(redis, "a", "c"):
        assert await registry.connections(["a", "b", "c"]) == {"a": 1, "b": 0, "c": 1}


async def test_a_job_waits_when_it_was_given_back_or_its_lease_is_over_or_its_worker_is_dead(
    registry: WorkerRegistry, queue: Queue, index: JobIndex, redis: ArqRedis, keys: Keys
) -> None:
    back, over, dead, runs = await enqueue(queue, index, 4)
    await queue.acquire("w", 2)
    await queue.nack("w", back)
    await queue.acquire_by_id("dead", dead)
    await queue.acquire_by_id("w", runs)
    await redis.zadd(keys.leases, {over: 1}, xx=True)
    await alive(registry, redis, index, "w")
    await alive(registry, redis, index, "dead")
    async with subscribed(redis, "w"):
        found = await registry.waiting([back, over, dead, runs, "never-enqueued-at-all"])
        assert (found.job_ids, found.workers) == (frozenset((back, over, dead)), 1)
        assert abs(found.now - await index.now()) < 60_000
    # Now no worker lives.
    found = await registry.waiting([runs, "never-enqueued-at-all"])
    assert (found.job_ids, found.workers) == (frozenset((runs,)), 0)


async def test_without_the_right_to_ask_the_lease_alone_tells(
    registry: WorkerRegistry, queue: Queue, index: JobIndex, redis: ArqRedis
) -> None:
    """The worker that asks gets an error. For the API, each registered worker lives."""
    [job_id] = await enqueue(queue, index)
    await queue.acquire("w", 1)
    await alive(registry, redis, index, "w")
    user = ("ACL", "SETUSER", "default")
    await command(redis, *user, "-pubsub")
    try:
        with pytest.raises(StoreRefused):
            await registry.connections(["w"])
        with pytest.raises(StoreRefused):
            await registry.reap("w", "me", await run_of(redis))
        assert (await registry.waiting([job_id]))[1:] == (1, frozenset())
    finally:
        await command(redis, *user, "+pubsub")


async def test_a_worker_lives_while_it_gives_signs_of_life(
    registry: WorkerRegistry, index: JobIndex, redis: ArqRedis, keys: Keys
) -> None:
    now = await index.now()
    assert await registry.live_workers(now) == 0
    await registry.heartbeat("w1", WORKER, now, 2_000)
    await registry.heartbeat("w2", WORKER, now, 10_000)
    assert await registry.live_workers(now) == 2
    assert await registry.live_workers(now + 5_000) == 1
    assert await redis.get(keys.worker("w1")) == WORKER
    assert 0 < await redis.pttl(keys.worker("w1")) <= 2_000
    assert await redis.pttl(keys.workers) > 0


async def test_a_worker_that_leaves_is_gone_at_once_and_the_dead_are_forgotten(
    registry: WorkerRegistry, index: JobIndex, redis: ArqRedis, keys: Keys
) -> None:
    now = await index.now()
    await registry.heartbeat("dead", WORKER, now - 60_000, 1_000)
    await registry.heartbeat("w1", WORKER, now, 5_000)
    assert await redis.zrange(keys.workers, 0, -1) == [b"w1"]
    await registry.leave("w1")
    assert await registry.live_workers(now) == 0
    assert not await redis.exists(keys.worker("w1"))
