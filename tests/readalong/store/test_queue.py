"""arq's queue as we use it, on a real server."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import orjson
import pytest
from arq.connections import ArqRedis
from arq.jobs import Job, JobStatus

from readalong.core.keys import Keys, new_job_id
from readalong.core.settings import Settings
from readalong.redis.facade import RedisFacade
from readalong.store import queue as queue_module
from readalong.store.job_index import JobIndex
from readalong.store.queue import FUNCTION, Queue
from tests.readalong.helpers import JOB_TTL, command, enqueue, ids_of
from tests.support.clients import client_of
from tests.support.waiting import until


async def blocked(redis: ArqRedis, count: int) -> bool:
    """Returns whether this many clients wait for a wake-up."""
    return int((await redis.info("clients"))["blocked_clients"]) == count


async def test_jobs_are_taken_in_the_order_in_which_they_came(queue: Queue, index: JobIndex) -> None:
    ids = await enqueue(queue, index, 5)
    assert ids_of(await queue.acquire("w", 2)) == ids[:2]
    assert ids_of(await queue.acquire("w", 10)) == ids[2:]
    assert await queue.acquire("w", 10) == []


async def test_the_order_is_by_the_clock_of_redis_and_not_by_that_of_the_client(queue: Queue, index: JobIndex) -> None:
    [first] = await enqueue(queue, index)
    late = new_job_id()
    await queue.enqueue(late, 0)
    assert ids_of(await queue.acquire("w", 10)) == [first, late]


async def test_to_enqueue_a_job_twice_changes_neither_its_place_nor_the_wake_ups(
    queue: Queue, index: JobIndex, redis: ArqRedis, keys: Keys
) -> None:
    [job_id] = await enqueue(queue, index)
    before = await redis.zscore(keys.queue, job_id)
    assert not await queue.enqueue(job_id, 0)
    assert await redis.zscore(keys.queue, job_id) == before
    assert await command(redis, "LLEN", keys.wake) == 1


async def test_to_enqueue_a_job_that_runs_does_not_let_it_run_twice(queue: Queue, index: JobIndex) -> None:
    [job_id] = await enqueue(queue, index)
    await queue.acquire("w1", 1)
    assert not await queue.enqueue(job_id, 0)
    assert await queue.acquire("w2", 1) == []


async def test_a_leased_job_is_given_to_no_other_worker_and_does_not_hide_the_ones_behind_it(
    queue: Queue, index: JobIndex
) -> None:
    ids = await enqueue(queue, index, 3)
    assert ids_of(await queue.acquire("w1", 2)) == ids[:2]
    assert ids_of(await queue.acquire("w2", 2)) == ids[2:]


async def test_two_workers_that_take_at_once_never_take_the_same(
    queue: Queue, index: JobIndex, settings: Settings, resources: AsyncExitStack
) -> None:
    queues = []
    for _ in range(4):
        queues.append(Queue(RedisFacade(client_of(settings, resources), settings), settings))
    ids = await enqueue(queue, index, 20)
    batches = await asyncio.gather(*(one.acquire(f"w{n}", 3) for n, one in enumerate(queues) for _ in range(3)))
    assert sorted(job_id for batch in batches for job_id in ids_of(batch)) == sorted(ids)


async def test_a_renewal_reports_a_job_that_left_the_queue_as_lost(queue: Queue, index: JobIndex) -> None:
    [job_id] = await enqueue(queue, index)
    await queue.acquire("w1", 1)
    await queue.ack("w1", job_id)
    assert await queue.renew("w1", [job_id]) == [job_id]
    assert await queue.renew("w1", []) == []


async def test_a_finished_job_leaves_nothing_behind(
    queue: Queue, index: JobIndex, redis: ArqRedis, keys: Keys, settings: Settings
) -> None:
    [job_id] = await enqueue(queue, index)
    assert await queue.wait(60)
    await queue.acquire("w", 1)
    await redis.set(keys.arq_retry(job_id), "1")
    assert await queue.ack("w", job_id)
    lists = {keys.jobs.encode(), keys.active.encode(), keys.jobs_in("running").encode(), keys.ids.encode()}
    left = {name for name in await redis.keys("*") if not name.startswith(keys.stats_names.encode())} - lists
    assert left == {keys.liveness.encode(), keys.last_acquire("w").encode()}, "which live for a lease or a few"
    assert 0 < await redis.pttl(keys.liveness) <= await redis.pttl(keys.last_acquire("w")) <= 10 * settings.lease * 1000
    assert await queue.ack("w", job_id), "once more does no harm"


@pytest.mark.parametrize("how", ["finish", "give_back"])
async def test_a_worker_without_the_lease_changes_nothing(
    how: str, queue: Queue, index: JobIndex, redis: ArqRedis, keys: Keys
) -> None:
    [job_id] = await enqueue(queue, index)
    await redis.delete(keys.wake)
    await queue.acquire("w1", 1)
    names = sorted(await redis.keys("*"))
    before = await redis.zscore(keys.queue, job_id)
    assert not await (queue.ack("w2", job_id) if how == "finish" else queue.nack("w2", job_id))
    assert sorted(await redis.keys("*")) == names
    assert await redis.zscore(keys.queue, job_id) == before
    assert await redis.get(keys.arq_in_progress(job_id)) == b"w1"


async def test_a_job_given_back_waits_at_its_old_place_and_wakes_another_worker(
    queue: Queue, index: JobIndex, redis: ArqRedis, keys: Keys
) -> None:
    ids = await enqueue(queue, index, 3)
    await redis.delete(keys.wake)
    first, second = await queue.acquire("w1", 2)
    assert await queue.nack("w1", second.job_id)
    assert await queue.nack("w1", first.job_id)
    assert not await redis.exists(keys.arq_in_progress(ids[0]))
    assert await command(redis, "LLEN", keys.wake) == 2
    assert 0 < await redis.pttl(keys.wake) <= JOB_TTL * 1000
    again = await queue.acquire("w2", 10)
    assert [job.score for job in again[:2]] == [first.score, second.score]
    assert ids_of(again) == ids


async def test_a_waiting_job_is_withdrawn_and_a_running_one_is_not(
    queue: Queue, index: JobIndex, redis: ArqRedis
) -> None:
    waits, runs = await enqueue(queue, index, 2)
    await queue.remove(waits)
    assert ids_of(await queue.acquire("w", 10)) == [runs]
    await queue.remove(runs)
    assert await queue.renew("w", [runs]) == []


async def test_only_due_jobs_without_a_lease_count_as_waiting(queue: Queue, index: JobIndex) -> None:
    await enqueue(queue, index, 3)
    assert (await queue.depth())[1] == 3
    await queue.acquire("w", 1)
    assert (await queue.depth())[1] == 2


async def test_the_queue_holds_what_is_in_it_with_its_call_and_renews_the_call(
    queue: Queue, index: JobIndex, redis: ArqRedis, keys: Keys
) -> None:
    waits, runs, maimed = await enqueue(queue, index, 3)
    await queue.acquire("w", 2)
    await redis.delete(keys.arq_job(maimed))
    await redis.pexpire(keys.arq_job(waits), 5_000)
    assert await queue.contains([waits, runs, maimed, new_job_id()]) == [True, True, False, False]
    assert await redis.pttl(keys.arq_job(waits)) > 5_000
    assert await queue.contains([]) == []


async def test_a_wake_up_that_was_waiting_is_used_at_once_and_only_once(queue: Queue, index: JobIndex) -> None:
    await enqueue(queue, index)
    assert await queue.wait(60)
    assert not await queue.wait(0.05)


async def test_one_job_wakes_exactly_one_of_many_waiting_workers(
    queue: Queue, index: JobIndex, redis: ArqRedis, settings: Settings, resources: AsyncExitStack
) -> None:
    async def wait() -> bool:
        own = Queue(RedisFacade(client_of(settings, resources), settings), settings)
        resources.push_async_callback(own.close)
        return await own.wait(4)

    waiting = [asyncio.create_task(wait()) for _ in range(5)]
    await until(lambda: blocked(redis, 5), "five waiting workers")
    await enqueue(queue, index)
    woken, asleep = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert [task.result() for task in woken] == [True]
    assert await asyncio.gather(*asleep) == [False] * 4


async def test_a_waiting_worker_takes_nothing_before_it_says_so(queue: Queue, index: JobIndex, redis: ArqRedis) -> None:
    """The worker may be paused: a job that it got by the wake-up would wait until the lease ends."""
    waiting = asyncio.create_task(queue.wait(60))
    await until(lambda: blocked(redis, 1), "one waiting worker")
    [job_id] = await enqueue(queue, index)
    assert await waiting
    assert ids_of(await queue.acquire("another", 1)) == [job_id]


async def test_waiting_ends_at_once_when_the_worker_stops(queue: Queue, redis: ArqRedis) -> None:
    """Also on a connection that replaced a broken one."""
    await queue.stop_waiting()
    for _ in range(2):
        waiting = asyncio.create_task(queue.wait(60))
        await until(lambda: blocked(redis, 1), "one waiting worker")
        await queue.stop_waiting()
        assert not await waiting
        await redis.client_kill_filter(_type="normal", skipme=True)


async def test_the_wake_list_does_not_grow_for_ever_without_workers(
    queue: Queue, redis: ArqRedis, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_module, "_LONGEST_WAKE_LIST", 5)
    ids = [new_job_id() for _ in range(12)]
    for job_id in ids:
        await queue.enqueue(job_id, 0)
    kept = await command(redis, "LRANGE", keys.wake, 0, -1)
    assert [job_id.decode() for job_id in kept] == ids[-5:]
    assert 0 < await redis.pttl(keys.wake) <= JOB_TTL * 1000
    assert sorted(ids_of(await queue.acquire("w", 100))) == sorted(ids), "a wake-up is only a hint"


async def test_the_scripts_come_back_after_the_server_forgot_them(
    queue: Queue, index: JobIndex, redis: ArqRedis
) -> None:
    async def forget() -> None:
        await command(redis, "SCRIPT", "FLUSH")

    await forget()
    [job_id] = await enqueue(queue, index)
    await forget()
    await queue.acquire("w", 1)
    await forget()
    assert await queue.renew("w", [job_id]) == []
    await forget()
    assert await queue.nack("w", job_id)


async def test_arqs_own_tools_read_what_the_queue_writes(
    queue: Queue, index: JobIndex, redis: ArqRedis, keys: Keys
) -> None:
    [job_id] = await enqueue(queue, index)
    at = await index.now()
    await queue.enqueue(job_id, at)
    job = Job(job_id, redis, _queue_name=keys.queue, _deserializer=orjson.loads)
    assert await job.status() == JobStatus.queued
    info = await job.info()
    assert info is not None
    found: list[object] = [info.function, list(info.args), info.kwargs, info.job_try]
    assert found == [FUNCTION, [job_id], {}, None]
    assert int(info.enqueue_time.timestamp() * 1000) == at
    [queued] = await redis.queued_jobs()
    assert (queued.job_id, queued.function) == (job_id, FUNCTION)
    await queue.acquire("w", 1)
    assert await job.status() == JobStatus.in_progress
    await queue.ack("w", job_id)
    assert await job.status() == JobStatus.not_found
    assert await redis.queued_jobs() == []


async def test_the_description_of_the_call_is_json_and_lives_as_long_as_the_job(
    queue: Queue, index: JobIndex, redis: ArqRedis, keys: Keys
) -> None:
    [job_id] = await enqueue(queue, index)
    call = await redis.get(keys.arq_job(job_id))
    assert orjson.loads(call)["f"] == "generate"
    assert 0 < await redis.pttl(keys.arq_job(job_id)) <= JOB_TTL * 1000
