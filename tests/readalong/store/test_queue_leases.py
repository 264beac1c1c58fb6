"""Leases: the holder of a job, the end of the lease, and the job's fate when its holder is silent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from arq.connections import ArqRedis

from readalong.core.keys import Keys
from readalong.core.settings import Settings
from readalong.redis.facade import RedisFacade
from readalong.store.job_index import JobIndex
from readalong.store.queue import LeasedJob, Queue
from tests.readalong.helpers import JOB_TTL, enqueue, ids_of, places_of, settings_for
from tests.support.waiting import until

LEASE = 2.0

#: Lets leases end.
Over = Callable[..., Awaitable[None]]


@pytest.fixture
def short(redis: ArqRedis, settings: Settings) -> Queue:
    """Yields a queue whose leases end soon."""
    return Queue(
        RedisFacade(redis, settings_for(str(settings.redis_url), lease=LEASE)),
        settings_for(str(settings.redis_url), lease=LEASE),
    )


@pytest.fixture
def over(redis: ArqRedis, keys: Keys) -> Over:
    """Ends the leases of these jobs now."""

    async def end(*job_ids: str) -> None:
        assert await redis.zadd(keys.leases, dict.fromkeys(job_ids, 1), xx=True, ch=True) == len(job_ids)

    return end


async def test_a_taken_job_names_its_holder_the_end_of_its_lease_and_its_old_place(
    queue: Queue, index: JobIndex, redis: ArqRedis, keys: Keys, settings: Settings
) -> None:
    [job_id] = await enqueue(queue, index)
    place = await redis.zscore(keys.queue, job_id)
    assert place is not None
    before = await index.now()
    taken = await queue.acquire("worker-1", 1)
    assert await redis.get(keys.arq_in_progress(job_id)) == b"worker-1"
    # Longer than the lease: after an outage it names the job's holder.
    assert 0 < await redis.pttl(keys.arq_in_progress(job_id)) <= JOB_TTL * 1000
    end = await redis.zscore(keys.leases, job_id)
    assert end is not None
    assert taken == [LeasedJob(job_id, int(place), int(end))]
    assert before <= end - settings.lease * 1000 <= await index.now()
    assert await redis.zscore(keys.queue, job_id) == place + 1e14
    await queue.ack("worker-1", job_id)
    assert await redis.exists(keys.queue, keys.leases, keys.arq_in_progress(job_id)) == 0


async def test_a_job_whose_worker_fell_silent_is_taken_when_its_lease_ends_and_not_before(
    short: Queue, index: JobIndex, redis: ArqRedis, keys: Keys
) -> None:
    [job_id] = await enqueue(short, index)
    [taken] = await short.acquire("dead", 1)
    end_of_lease = await redis.zscore(keys.leases, job_id)
    assert end_of_lease is not None
    [again] = await until(lambda: short.acquire("w2", 1))
    assert (again.job_id, again.score) == (taken.job_id, taken.score)
    assert taken.until == end_of_lease <= await index.now() < again.until
    assert await redis.get(keys.arq_in_progress(job_id)) == b"w2"


async def test_a_dead_workers_jobs_come_before_those_that_were_enqueued_meanwhile(
    queue: Queue, index: JobIndex, over: Over
) -> None:
    old = await enqueue(queue, index, 3)
    await queue.acquire("dead", 3)
    await enqueue(queue, index, 2)
    await over(*old)
    for job_id in old:
        assert ids_of(await queue.acquire("w2", 1)) == [job_id]


async def test_a_dead_workers_job_that_found_no_slot_yet_waits_like_any_other(
    queue: Queue, index: JobIndex, redis: ArqRedis, keys: Keys, over: Over
) -> None:
    old = await enqueue(queue, index, 2)
    await queue.acquire("dead", 2)
    await over(*old)
    await queue.acquire("w2", 1)
    assert not await redis.exists(keys.arq_in_progress(old[1]))
    assert await redis.zscore(keys.leases, old[1]) is None
    assert (await queue.depth())[1] == 1


async def test_a_renewed_lease_outlives_its_first_end(
    short: Queue, index: JobIndex, redis: ArqRedis, keys: Keys
) -> None:
    [job_id] = await enqueue(short, index)
    await short.acquire("w1", 1)
    first_end = await redis.zscore(keys.leases, job_id)
    assert first_end is not None

    async def renewed_beyond_its_first_end() -> bool:
        assert await short.renew("w1", [job_id]) == []
        assert await short.acquire("w2", 1) == []
        return bool(await index.now() > first_end + 100)

    await until(renewed_beyond_its_first_end)
    assert await redis.get(keys.arq_in_progress(job_id)) == b"w1"


@pytest.mark.parametrize("seen", [False, True], ids=["unseen", "seen"])
async def test_a_holder_may_renew_an_expired_lease_of_a_job_that_no_other_worker_acquired(
    queue: Queue, index: JobIndex, over: Over, seen: bool
) -> None:
    """`seen`: a worker without a free slot has seen it."""
    [job_id] = await enqueue(queue, index)
    await queue.acquire("w1", 1)
    await over(job_id)
    if seen:
        assert await queue.acquire("w2", 0) == []
    assert await queue.renew("w1", [job_id]) == []
    assert await queue.acquire("w2", 1) == []


async def test_renewing_tells_which_leases_are_lost_and_leaves_those_alone(
    queue: Queue, index: JobIndex, redis: ArqRedis, keys: Keys, over: Over
) -> None:
    lost, kept = await enqueue(queue, index, 2)
    await queue.acquire("w1", 2)
    await over(lost)
    assert ids_of(await queue.acquire("w2", 2)) == [lost]
    before = (await redis.zscore(keys.leases, lost), await redis.get(keys.arq_in_progress(lost)))
    assert await queue.renew("w1", [lost, kept]) == [lost]
    assert (await redis.zscore(keys.leases, lost), await redis.get(keys.arq_in_progress(lost))) == before
    assert await redis.get(keys.arq_in_progress(kept)) == b"w1"


async def test_a_job_is_acquired_by_id_whatever_waits_before_it_and_keeps_its_place(
    queue: Queue, index: JobIndex, redis: ArqRedis, keys: Keys, settings: Settings
) -> None:
    first, wanted = await enqueue(queue, index, 2)
    place = await redis.zscore(keys.queue, wanted)
    before = await index.now()
    seized = await queue.acquire_by_id("w1", wanted)
    end = await redis.zscore(keys.leases, wanted) or 0
    assert seized == LeasedJob(wanted, int(place or 0), int(end))
    assert await redis.get(keys.arq_in_progress(wanted)) == b"w1"
    assert 0 < await redis.pttl(keys.arq_in_progress(wanted)) <= JOB_TTL * 1000
    assert before <= end - settings.lease * 1000 <= await index.now()
    assert ids_of(await queue.acquire("w2", 2)) == [first]
    assert places_of([await queue.acquire_by_id("w1", wanted)]) == places_of([seized]), "the repeat after a lost reply"
    assert await queue.nack("w1", wanted)
    assert places_of(await queue.acquire("w2", 2)) == places_of([seized])


async def test_a_leased_job_is_not_acquired_by_id_before_its_lease_is_over(
    queue: Queue, index: JobIndex, redis: ArqRedis, keys: Keys, over: Over
) -> None:
    [job_id] = await enqueue(queue, index)
    taken = await queue.acquire("w1", 1)

    async def holds() -> tuple[object, ...]:
        name = keys.arq_in_progress(job_id)
        return await redis.zscore(keys.leases, job_id), await redis.get(name), await redis.zscore(keys.queue, job_id)

    before = await holds()
    assert await queue.acquire_by_id("w2", job_id) is None
    assert await holds() == before
    await over(job_id)
    assert places_of([await queue.acquire_by_id("w2", job_id)]) == places_of(taken)
    assert await queue.renew("w1", [job_id]) == [job_id]


async def test_a_job_that_is_not_in_the_queue_is_not_acquired_by_id(queue: Queue, redis: ArqRedis, keys: Keys) -> None:
    assert await queue.acquire_by_id("w1", "no-such-job-at-all") is None
    assert not await redis.exists(keys.queue, keys.leases, keys.arq_in_progress("no-such-job-at-all"))


@pytest.mark.parametrize("how", ["acquire", "renew", "acquire_by_id"])
async def test_when_no_worker_was_heard_for_a_while_every_lease_begins_anew(
    queue: Queue, index: JobIndex, redis: ArqRedis, keys: Keys, how: str
) -> None:
    """Redis was away for longer than a lease, or its clock jumped: the first worker back acquires no other's job."""
    ids = await enqueue(queue, index, 2)
    await queue.acquire("w1", 2)
    # One lease is over, and the other would end before its holder is back.
    await redis.zadd(keys.leases, {ids[0]: 1, ids[1]: await index.now() + 50})
    await redis.delete(keys.liveness)
    now = await index.now()
    if how == "renew":
        assert await queue.renew("w2", []) == []
    elif how == "acquire_by_id":
        assert await queue.acquire_by_id("w2", ids[0]) is None
    assert await queue.acquire("w2", 2) == []
    for job_id in ids:
        assert (await redis.zscore(keys.leases, job_id) or 0) >= now + 10_000
    assert await queue.renew("w1", ids) == []


async def test_the_holder_of_a_job_is_known_after_an_outage_however_long_it_was(
    queue: Queue, index: JobIndex, redis: ArqRedis, keys: Keys, over: Over
) -> None:
    """A zombie that had lost the job before must not get it by renewing first."""
    [job_id] = await enqueue(queue, index)
    await queue.acquire("zombie", 1)
    await over(job_id)
    await queue.acquire("w1", 1)
    await over(job_id)
    await redis.delete(keys.liveness)
    assert await queue.renew("zombie", [job_id]) == [job_id]
    assert await queue.renew("w1", [job_id]) == []


async def test_a_worker_that_is_dead_after_all_loses_its_jobs_one_lease_after_an_outage(
    short: Queue, index: JobIndex, redis: ArqRedis, keys: Keys, over: Over
) -> None:
    [job_id] = await enqueue(short, index)
    await short.acquire("dead", 1)
    await over(job_id)
    await redis.delete(keys.liveness)
    assert ids_of(await until(lambda: short.acquire("w2", 1))) == [job_id]


async def test_a_worker_is_heard_for_half_a_lease_when_it_takes_and_when_it_renews_nothing(
    queue: Queue, redis: ArqRedis, keys: Keys, settings: Settings
) -> None:
    half = settings.lease * 500
    await queue.acquire("w", 1)
    assert 0 < await redis.pttl(keys.liveness) <= half
    await redis.delete(keys.liveness)
    await queue.renew("w", [])
    assert 0 < await redis.pttl(keys.liveness) <= half


async def test_a_take_whose_reply_was_lost_answers_the_same_jobs_again_and_takes_no_more(
    queue: Queue, index: JobIndex, redis: ArqRedis, keys: Keys, over: Over
) -> None:
    ids = await enqueue(queue, index, 4)
    taken = await queue.acquire("w1", 2, "token")
    await over(*ids[:2])
    again = await queue.acquire("w1", 2, "token")
    assert [job.score for job in again] == [job.score for job in taken]
    assert ids_of(again) == ids_of(taken) == ids[:2]
    assert ids_of(await queue.acquire("w1", 1, "token")) == ids[:2], "however many slots it says to have"
    # Their leases begin anew with the repeat.
    assert ids_of(await queue.acquire("w2", 1, "token")) == ids[2:3]
    assert ids_of(await queue.acquire("w1", 4, "another")) == ids[3:]
    assert 0 < await redis.pttl(keys.last_acquire("w1")) <= 100_000


async def test_a_repeated_take_leaves_out_what_is_anothers_or_over_by_now(
    queue: Queue, index: JobIndex, over: Over
) -> None:
    kept, lost, finished, given = await enqueue(queue, index, 4)
    await queue.acquire("w1", 4, "token")
    await over(lost)
    assert ids_of(await queue.acquire("w2", 1)) == [lost]
    await queue.ack("w1", finished)
    await queue.nack("w1", given)
    assert ids_of(await queue.acquire("w1", 4, "token")) == [kept]
    assert ids_of(await queue.acquire("w1", 4)) == [given]
