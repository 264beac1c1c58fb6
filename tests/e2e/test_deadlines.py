"""A job ends at its deadline even when it does not run: no worker has a free slot, or none ever was there."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.jobs import Job, chat, paced, submit
from tests.support.history import assert_whole, kinds, text
from tests.support.stack import Stack
from tests.support.waiting import until

ONE_SLOT = {"READALONG_MAX_JOBS": "1"}


async def assert_ended_at_its_deadline(job: Job) -> None:
    """Another worker ends it without a model call, after its first attempt, with the text of that attempt."""
    shown = await job.ended()
    log = job.stack.log_of(job.id)
    assert_whole(log)
    assert (shown["status"], shown["error"]["code"]) == ("failed", "deadline_exceeded")
    assert kinds(log) == ["queued", "started", "content", "failed"]
    assert shown["content"] == text(log) != ""
    assert len(job.stack.generations(job.question)) == 1


def now_is_its_deadline(job: Job) -> None:
    job.stack.redis.command("HSET", job.stack.keys.job(job.id), "deadline", "1")


@pytest.mark.parametrize(
    "how",
    ["killed", pytest.param("stopped", marks=pytest.mark.slow), pytest.param("drained", marks=pytest.mark.slow)],
)
async def test_a_job_without_a_worker_ends_at_its_deadline_though_no_slot_is_free(stack: Stack, how: str) -> None:
    """A stopped worker that wakes up later writes nothing more and closes its model connection."""
    first, full = stack.workers
    full.restart(**ONE_SLOT)
    if how == "drained":
        first.restart(READALONG_DRAIN_TIMEOUT="0")
    await until(lambda: all(" ready: " in worker.output for worker in stack.workers), "the workers to work")
    first.stop()
    busy = await submit(stack, chat("demo-hang"))
    assert await busy.worker() is full
    first.cont()
    job = await submit(stack, {**paced(tokens=5000, rate=50), "deadline": 6 if how == "stopped" else 600})
    await job.reach(3)
    if how == "stopped":
        first.stop()
    else:
        if how == "killed":
            first.kill()
        else:
            first.term()
            assert await asyncio.to_thread(first.wait) == 0
        now_is_its_deadline(job)
    await assert_ended_at_its_deadline(job)
    log = stack.log_of(job.id)
    first.cont()
    await job.model_let_go()
    if how == "stopped":
        # The worker acquires again, so it knows that it lost the job.
        later = await submit(stack, paced(tokens=5, rate=0))
        assert (await later.ended())["worker"]["pid"] == first.pid
    assert stack.log_of(job.id) == log
    assert (await busy.show())["attempt"] == 1
    await busy.cancel()
    assert (await busy.ended())["status"] == "cancelled"


async def test_a_job_whose_deadline_passed_while_there_was_no_worker_ends_when_there_is_one_though_it_is_full(
    stack: Stack,
) -> None:
    """An older job keeps the worker's one slot."""
    first, second = stack.workers
    second.kill()
    older = await submit(stack, chat("demo-hang"))
    await older.at_model()
    job = await submit(stack, {**paced(tokens=5000, rate=50), "deadline": 600})
    await job.reach(3)
    first.kill()
    now_is_its_deadline(job)
    first.restart(**ONE_SLOT)
    await assert_ended_at_its_deadline(job)
    await older.at_model(2)
    await older.cancel()
    assert (await older.ended())["status"] == "cancelled"
