"""The set of jobs that end without watchers, on a real server; its times are Redis' own."""

from __future__ import annotations

import asyncio

import pytest
from arq.connections import ArqRedis

from readalong.core.keys import Keys
from readalong.core.options import LONGEST_GRACE
from readalong.core.settings import Settings
from readalong.redis.facade import RedisFacade
from readalong.store.job_index import JobIndex
from readalong.store.presence import RENEW_EVERY, PresenceStore, Visit, first_ms, lease_ms
from readalong.store.queue import Queue
from tests.readalong.helpers import command
from tests.support.waiting import until

A, B, C = "watched-job-000-a", "watched-job-000-b", "watched-job-000-c"


@pytest.fixture
def watched(redis: ArqRedis, settings: Settings) -> PresenceStore:
    return PresenceStore(RedisFacade(redis, settings), settings)


def visit(job_id: str, name: str = "api-1:1", grace: int | None = None) -> Visit:
    return Visit(job_id, name, grace)


async def overdue(redis: ArqRedis, keys: Keys, *job_ids: str) -> None:
    """Makes these jobs overdue: without a watcher for too long, while a worker has looked all the time."""
    for job_id in job_ids:
        await command(redis, "ZADD", keys.presence, 1, job_id)
    await command(redis, "SET", keys.orphans_from, 1, "PX", 60_000)


async def left(redis: ArqRedis, keys: Keys, index: JobIndex, job_id: str) -> float:
    """Returns the milliseconds for which the job may still be without a watcher."""
    score = await redis.zscore(keys.presence, job_id)
    assert score is not None
    return float(score) - await index.now()


def test_a_watcher_that_returns_within_the_grace_is_in_time(settings: Settings) -> None:
    """The last renewal was up to an interval before the watcher left, and the next one comes up to one after its
    return. A process whose connection is dead notices that in time to report its watchers."""
    settings = settings.model_copy(update={"redis_timeout": 5.0})
    for grace in (0.0, 2.0, 10.0, 3600.0):
        found = lease_ms(settings.model_copy(update={"disconnect_grace": grace}))
        assert found >= (grace + 2 * RENEW_EVERY) * 1000
        assert found >= (settings.redis_timeout + RENEW_EVERY) * 1000
        assert found <= (max(grace, settings.redis_timeout) + 2 * RENEW_EVERY) * 1000
        assert lease_ms(settings, int(grace * 1000)) == found


async def test_a_listed_job_is_in_the_set_only_if_it_wants_to(
    index: JobIndex, queue: Queue, redis: ArqRedis, keys: Keys, settings: Settings
) -> None:
    await queue.enqueue(A, 1)
    assert not await redis.exists(keys.presence)
    await queue.enqueue(B, 1, watched=True)
    assert await redis.zrange(keys.presence, 0, -1) == [B.encode()]
    first = first_ms(settings, None)
    assert first - 2_000 < await left(redis, keys, index, B) <= first
    assert lease_ms(settings) + LONGEST_GRACE * 1000 < await redis.pttl(keys.presence)
    assert [cursor.job_id for cursor in await index.open_jobs(None, 9)] == [A, B]


async def test_a_renewal_gives_the_whole_time_and_adds_no_job(
    index: JobIndex, watched: PresenceStore, redis: ArqRedis, keys: Keys, settings: Settings
) -> None:
    """A job that was cancelled or forgotten meanwhile stays out of the set."""
    await overdue(redis, keys, A, B)
    await command(redis, "PEXPIRE", keys.presence, 5_000)
    await watched.touch([visit(A), visit(C)])
    assert await left(redis, keys, index, A) > lease_ms(settings) - 2_000
    assert await left(redis, keys, index, B) < 0
    assert await redis.zcard(keys.presence) == 2
    assert await redis.pttl(keys.presence) > lease_ms(settings)
    kept = lease_ms(settings) + settings.standstill * 1000
    assert lease_ms(settings) < await redis.pttl(keys.watchers(A)) <= kept


@pytest.mark.parametrize("own", [None, 0, 60_000])
async def test_the_last_watchers_leaving_leaves_the_grace_and_no_more(
    index: JobIndex, queue: Queue, watched: PresenceStore, redis: ArqRedis, keys: Keys, *, own: int | None
) -> None:
    """The settings give three seconds, or the job gives its own. With a grace of 0 the job is due at the next look."""
    grace = 3000 if own is None else own
    await queue.enqueue(A, 1, watched=True, grace=own)
    await command(redis, "SET", keys.orphans_from, 1, "PX", 60_000)
    assert await left(redis, keys, index, A) > max(3000, grace)
    await watched.touch([visit(A, grace=own)])
    await watched.depart([visit(A, grace=own)])
    assert grace - 2_000 < await left(redis, keys, index, A) <= grace
    assert await watched.find_abandoned(10) == ([] if grace else [A])
    assert not await redis.exists(keys.watchers(A))


@pytest.mark.parametrize("other", ["api-2:1", "api-1:2"])
async def test_a_watcher_that_leaves_while_another_watches_changes_nothing(
    index: JobIndex, queue: Queue, watched: PresenceStore, redis: ArqRedis, keys: Keys, *, other: str
) -> None:
    """The other watcher is at another replica, or has returned to the same one before a late copy of the report that
    it left."""
    await queue.enqueue(A, 1, watched=True, grace=0)
    for name in ("api-1:1", other):
        await watched.touch([visit(A, name, 0)])
    await watched.depart([visit(A, "api-1:1", 0)])
    assert await left(redis, keys, index, A) > 0
    # A killed replica has no watcher: its report holds for no longer than the next one may take.
    await command(redis, "ZADD", keys.watchers(A), "XX", 1, other)
    await watched.depart([visit(A, "api-1:1", 0)])
    assert await left(redis, keys, index, A) <= 0


async def stood_still(redis: ArqRedis, keys: Keys, index: JobIndex, name: str, ms: int) -> None:
    """Makes the job due, with its presence expired for this long."""
    await overdue(redis, keys, A)
    await command(redis, "ZADD", keys.watchers(A), "XX", await index.now() - ms, name)


async def test_a_process_that_stands_still_keeps_its_jobs_as_long_as_it_is_subscribed(
    index: JobIndex, watched: PresenceStore, redis: ArqRedis, keys: Keys, settings: Settings
) -> None:
    """A paused process cannot report its watchers. A dead process, or one that is silent for too long, keeps no job;
    nor does an unknown name. A report of another watcher's leave checks this too."""
    name, still_ms = "0123456789abcdef:7", int(settings.standstill * 1000)
    await overdue(redis, keys, A)
    await watched.touch([visit(A, name), visit(A, "fedcba9876543210:1"), visit(A, "a hand's: 1")])
    for other in ("fedcba9876543210:1", "a hand's: 1"):
        await stood_still(redis, keys, index, other, 1)
    async with redis.pubsub() as hub:
        await hub.subscribe(keys.heartbeat("0123456789abcdef"))
        await hub.get_message(timeout=60)
        await stood_still(redis, keys, index, name, still_ms // 2)
        assert await watched.find_abandoned(10) == []
        assert await redis.zrange(keys.watchers(A), 0, -1) == [name.encode()]
        assert await left(redis, keys, index, A) > 0
        before = await redis.zscore(keys.presence, A)
        await watched.depart([visit(A, "fedcba9876543210:1", 0)])
        assert await redis.zscore(keys.presence, A) == before
        await stood_still(redis, keys, index, name, still_ms + 1)
        assert await watched.find_abandoned(10) == [A]
        await watched.touch([visit(A, name)])
    await until(lambda: _unseen(redis, keys), "its connection's end")
    await stood_still(redis, keys, index, name, 1)
    assert await watched.find_abandoned(10) == [A]


async def _unseen(redis: ArqRedis, keys: Keys) -> bool:
    [(_, count)] = await redis.pubsub_numsub(keys.heartbeat("0123456789abcdef"))
    return not count


async def test_a_leaving_brings_no_job_back_that_has_ended(watched: PresenceStore, redis: ArqRedis, keys: Keys) -> None:
    await watched.depart([visit(A)])
    assert await redis.keys("*") == []


async def test_a_renewal_of_many_jobs_is_of_all_of_them(
    watched: PresenceStore, redis: ArqRedis, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("readalong.store.presence._AT_ONCE", 2)
    jobs = [f"watched-job-00000-{number}" for number in range(5)]
    await overdue(redis, keys, *jobs)
    await watched.touch([visit(job_id) for job_id in jobs])
    assert await watched.find_abandoned(10) == []
    assert await redis.zcount(keys.presence, "-inf", 1) == 0


async def test_what_is_due_is_answered_once_until_it_is_forgotten_or_due_again(
    index: JobIndex, queue: Queue, watched: PresenceStore, redis: ArqRedis, keys: Keys
) -> None:
    """The worker that asked may die before it cancels the job. Meanwhile no other worker cancels it."""
    await queue.enqueue(C, 1, watched=True)
    await overdue(redis, keys, A, B)
    first = await watched.find_abandoned(1)
    assert len(first) == 1
    second = await watched.find_abandoned(10)
    assert {*first, *second} == {A, B}
    assert await watched.find_abandoned(10) == []
    await watched.forget([A])
    await overdue(redis, keys, B)
    assert await watched.find_abandoned(10) == [B]
    assert await redis.zscore(keys.presence, A) is None
    assert await left(redis, keys, index, C) > 0


async def test_workers_that_ask_at_the_same_time_get_each_job_once(
    watched: PresenceStore, redis: ArqRedis, keys: Keys
) -> None:
    jobs = {f"watched-job-00000-{number}" for number in range(40)}
    await overdue(redis, keys, *jobs)
    answers = await asyncio.gather(*(watched.find_abandoned(7) for _ in range(10)))
    found = [job_id for answer in answers for job_id in answer]
    assert sorted(found) == sorted(jobs)


@pytest.mark.parametrize("before", [None, "in a far future"])
async def test_after_a_time_without_a_look_all_jobs_get_their_whole_time_again(
    watched: PresenceStore, redis: ArqRedis, index: JobIndex, settings: Settings, before: str | None
) -> None:
    """Redis was away, or its clock jumped, and no process could renew. Jobs that are due, or nearly due, are not
    returned before their watchers' processes could report. A clock that jumps back does not delay them further."""
    keys = settings.keys
    await overdue(redis, keys, A)
    await redis.delete(keys.orphans_from)
    if before is not None:
        await command(redis, "SET", keys.orphans_from, await index.now() + 10**9, "PX", 60_000)
    assert await watched.find_abandoned(10) == []
    assert await watched.find_abandoned(10) == []
    assert await redis.zscore(keys.presence, A) == 1
    value = await redis.get(keys.orphans_from)
    assert value is not None
    lease = lease_ms(settings)
    assert lease - 2_000 < int(value) - await index.now() <= lease
    assert 0 < await redis.pttl(keys.orphans_from) <= lease / 2
    await command(redis, "SET", keys.orphans_from, 1, "PX", 60_000)
    assert await watched.find_abandoned(10) == [A]


async def test_an_empty_set_is_one_cheap_look_that_writes_nothing(watched: PresenceStore, redis: ArqRedis) -> None:
    assert await watched.find_abandoned(10) == []
    assert await redis.keys("*") == []


async def test_an_erased_job_is_in_no_set(index: JobIndex, queue: Queue, redis: ArqRedis, keys: Keys) -> None:
    await queue.enqueue(A, 1, watched=True)
    await index.remove(A)
    assert not await redis.exists(keys.presence, keys.jobs, keys.active)
