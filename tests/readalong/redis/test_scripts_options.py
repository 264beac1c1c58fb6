"""The scripts obey a job's options: its deadline, and its policy for a lost worker."""

from __future__ import annotations

import pytest
from arq.connections import ArqRedis

from readalong.core.errors import Fenced
from readalong.core.keys import Keys
from readalong.core.options import JobOptions, OnLost
from readalong.core.states import Status
from readalong.store.job_index import JobIndex
from readalong.store.log import ClaimStatus, Log
from tests.readalong.helpers import RETENTION, command, history, state, types
from tests.readalong.jobs import WORKER, reclaim, submission

ERROR = {"code": "deadline_exceeded", "message": "The job did not end before its deadline.", "retryable": True}


async def submit(log: Log, index: JobIndex, *, left: float = 0, on_worker_lost: OnLost = "retry") -> str:
    """Submits a job that is 100 s old. `left`: seconds to its deadline, negative if it has passed, 0 for none."""
    terms = JobOptions(on_worker_lost, left and 100 + left)
    new = submission(created_at=await index.now() - 100_000, terms=terms)
    await log.submit(new)
    return new.job_id


async def assert_failed_in_the_queue(log: Log, redis: ArqRedis, keys: Keys, job_id: str) -> None:
    record = await log.record(job_id)
    assert record is not None
    assert (record.status, record.error, record.attempt) == (Status.FAILED, ERROR, 0)
    assert record.ended_at is not None
    events = await history(log, job_id)
    assert types(events) == ["queued", "failed"]
    end = events[-1].fields()
    assert (end["error"], end["content"], end["metrics"]) == (ERROR, "", record.metrics)
    assert 100 <= end["metrics"]["total_seconds"] == end["metrics"]["queue_seconds"] < 160
    for key in keys.of_job(job_id)[:2]:
        assert 0 < await redis.pttl(key) <= RETENTION * 1000


async def test_a_queued_job_whose_deadline_has_passed_ends_at_its_claim(
    log: Log, index: JobIndex, redis: ArqRedis, keys: Keys
) -> None:
    job_id = await submit(log, index, left=-1)
    assert (await log.claim(job_id, WORKER, "t")).status == ClaimStatus.ENDED
    await assert_failed_in_the_queue(log, redis, keys, job_id)


async def test_a_queued_job_whose_deadline_has_passed_can_be_ended_without_a_claim(
    log: Log, index: JobIndex, redis: ArqRedis, keys: Keys
) -> None:
    job_id = await submit(log, index, left=-1)
    assert await log.expire(job_id)
    await assert_failed_in_the_queue(log, redis, keys, job_id)
    before = await state(redis, keys, job_id)
    assert not await log.expire(job_id)
    assert await state(redis, keys, job_id) == before


async def test_no_other_job_is_ended_so(log: Log, index: JobIndex, redis: ArqRedis, keys: Keys) -> None:
    """One without a deadline, one in time, one that runs, and one that does not exist."""
    free, early = await submit(log, index), await submit(log, index, left=60)
    runs = await submit(log, index, left=60)
    await log.claim(runs, WORKER, "t")
    await command(redis, "HSET", keys.job(runs), "deadline", await index.now() - 1000)
    for job_id in (free, early, runs):
        before = await state(redis, keys, job_id)
        assert not await log.expire(job_id)
        assert await state(redis, keys, job_id) == before
    assert not await log.expire("no-such-job-at-all")
    assert not await redis.exists(*keys.of_job("no-such-job-at-all"))


async def test_a_claim_says_how_long_it_is_to_the_deadline(log: Log, index: JobIndex) -> None:
    assert (await log.claim(await submit(log, index), WORKER, "t")).times.left is None
    job_id = await submit(log, index, left=60)
    first = await log.claim(job_id, WORKER, "t")
    repeated = await log.claim(job_id, WORKER, "t")  # after a lost reply
    restarted = await reclaim(log, job_id)
    assert 60 >= (first.times.left or 0) >= (repeated.times.left or 0) >= (restarted.times.left or 0) > 0


async def test_a_repeated_claim_after_the_deadline_leaves_no_time(
    log: Log, index: JobIndex, redis: ArqRedis, keys: Keys
) -> None:
    """It leaves 0, and not the value for a job without a deadline."""
    job_id = await submit(log, index, left=60)
    await log.claim(job_id, WORKER, "t")
    await command(redis, "HSET", keys.job(job_id), "deadline", await index.now() - 1000)
    assert (await log.claim(job_id, WORKER, "t")).times.left == 0


@pytest.mark.parametrize("handed_over", [False, True])
async def test_no_attempt_starts_after_the_deadline(
    log: Log, index: JobIndex, redis: ArqRedis, keys: Keys, handed_over: bool
) -> None:
    job_id = await submit(log, index, left=60)
    await log.claim(job_id, WORKER, "t")
    if handed_over:
        await log.requeue(job_id, 1, "worker_stopped", counts=False)
    await command(redis, "HSET", keys.job(job_id), "deadline", await index.now() - 1)
    claim = await reclaim(log, job_id)
    assert (claim.status, claim.note, claim.attempt) == (ClaimStatus.LOST, "deadline_exceeded", 2)
    assert types(await history(log, job_id)) == ["queued", "started"]


async def test_of_two_workers_that_end_a_late_job_only_the_newer_attempt_writes(
    log: Log, index: JobIndex, redis: ArqRedis, keys: Keys
) -> None:
    """The sweep and a worker that acquires the job at the same time, or the paused worker that ran it."""
    job_id = await submit(log, index, left=60)
    ran = await log.claim(job_id, WORKER, "t")
    await command(redis, "HSET", keys.job(job_id), "deadline", await index.now() - 1)
    swept = await log.claim(job_id, WORKER, "sweep")
    took = await log.claim(job_id, WORKER, "take")
    assert (swept.status, took.status, swept.attempt, took.attempt) == (ClaimStatus.LOST, ClaimStatus.LOST, 2, 3)
    end = [("failed", b'{"content":""}')]
    for older in (ran, swept):
        with pytest.raises(Fenced):
            await log.finish(job_id, older.fence, older.last_seq + 1, end, {})
    await log.finish(job_id, took.fence, took.last_seq + 1, end, {})
    before = await state(redis, keys, job_id)
    for older in (ran, swept):
        with pytest.raises(Fenced):
            await log.finish(job_id, older.fence, older.last_seq + 1, end, {})
        with pytest.raises(Fenced):
            await log.append(job_id, older.fence, took.last_seq + 2, [("content", b'{"content":"late"}')])
    assert await state(redis, keys, job_id) == before
    assert types(await history(log, job_id)) == ["queued", "started", "failed"]


async def test_a_cancelled_job_is_cancelled_also_after_its_deadline(log: Log, index: JobIndex) -> None:
    job_id = await submit(log, index, left=-1)
    await log.cancel(job_id, "ann")
    assert types(await history(log, job_id)) == ["queued", "cancelled"]
    assert not await log.expire(job_id)


async def test_a_job_that_is_to_fail_with_its_worker_starts_no_second_attempt(log: Log, index: JobIndex) -> None:
    job_id = await submit(log, index, on_worker_lost="fail")
    assert (await log.claim(job_id, WORKER, "t")).status == ClaimStatus.RUN
    claim = await reclaim(log, job_id)
    assert (claim.status, claim.note) == (ClaimStatus.LOST, "worker_lost")
    assert types(await history(log, job_id)) == ["queued", "started"]


@pytest.mark.parametrize(("reason", "counts"), [("worker_stopped", False), ("model_cut", True)])
async def test_such_a_job_outlives_a_deploy_and_a_model_that_breaks_off(
    log: Log, index: JobIndex, reason: str, counts: bool
) -> None:
    job_id = await submit(log, index, on_worker_lost="fail")
    await log.claim(job_id, WORKER, "t")
    await log.requeue(job_id, 1, reason, counts=counts)
    assert (await reclaim(log, job_id)).status == ClaimStatus.RUN
