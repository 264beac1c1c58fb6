"""Redis, or a person, drops a key in mid-life, as with an eviction policy: the job ends or is gone, and so do its
streams. No job is `running` for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from readalong.core.keys import Keys
from tests.api.serving import Stream
from tests.e2e.jobs import Job, paced, submit
from tests.support.client import call
from tests.support.stack import Stack
from tests.support.waiting import until

#: A job's own keys by their names in docs/redis.md, and whether the job is gone with the key.
OWN: dict[str, tuple[Callable[[Keys, str], str], bool]] = {
    "hash": (Keys.job, True),
    "events": (Keys.events, True),
    "cancel": (Keys.cancel, False),
    "arq:job": (Keys.arq_job, False),
    "arq:in-progress": (Keys.arq_in_progress, False),
    "arq:retry": (Keys.arq_retry, False),
}
SHARED = ("jobs", "active", "presence", "orphans_from", "workers", "wake", "sweep", "leases", "liveness", "queue")


@asynccontextmanager
async def stopped(stack: Stack, wanted: bool) -> AsyncIterator[None]:
    """Drops the key; pauses the workers meanwhile if wanted."""
    workers = stack.workers if wanted else []
    for worker in workers:
        worker.stop()
    yield
    for worker in workers:
        worker.cont()


async def stream_of(job: Job) -> Stream:
    stream = await Stream.open(int(job.stack.url.rpartition(":")[2]), f"/v1/jobs/{job.id}/events")
    assert stream.status == 200
    return stream


async def over(job: Job, gone: bool) -> None:
    """Returns when the job has ended or is gone according to each call."""

    async def it_is() -> bool:
        answer = await call("GET", f"{job.stack.url}/v1/jobs/{job.id}")
        if gone:
            return answer.status in (404, 410)
        return answer.status == 200 and answer.json()["status"] == "done" and answer.json()["content"] == job.text

    await until(it_is, f"the end of {job.id}")
    if gone:
        watched = await call("GET", f"{job.stack.url}/v1/jobs/{job.id}/events")
        assert watched.status in (404, 410)


@pytest.mark.parametrize("stage", [pytest.param("queued", marks=pytest.mark.slow), "running"])
async def test_a_job_that_loses_a_key_of_its_own_ends_or_is_gone(stack: Stack, stage: str) -> None:
    """Log and record are the job; all other keys are written again."""
    async with stopped(stack, stage == "queued"):
        jobs, streams = [], []
        # One after the other: on a busy machine the first jobs would end before the last one has begun.
        for key, _ in OWN.values():
            job = await submit(stack, paced(tokens=240, rate=60))
            streams.append(await stream_of(job))
            if stage == "running":
                await job.reach(4)
            stack.redis.command("DEL", key(stack.keys, job.id))
            jobs.append(job)
    for job, stream, (_, gone) in zip(jobs, streams, OWN.values(), strict=True):
        async with stream:
            kinds = [message.event for message in await stream.rest()]
        assert (kinds[-1] == "done") is not gone
        await over(job, gone)


@pytest.mark.parametrize("stage", ["queued", "running"])
@pytest.mark.parametrize("name", SHARED)
@pytest.mark.slow
async def test_jobs_outlive_the_loss_of_a_key_that_they_share(stack: Stack, name: str, stage: str) -> None:
    async with stopped(stack, stage == "queued"):
        job = await submit(stack, paced(tokens=60, rate=60))
        stream = await stream_of(job)
        if stage == "running":
            await job.reach(4)
        stack.redis.command("DEL", getattr(stack.keys, name))
    async with stream:
        assert (await stream.rest())[-1].event == "done"
    await over(job, gone=False)


async def test_a_job_whose_worker_dies_goes_on_though_redis_has_dropped_the_leases(stack: Stack) -> None:
    """The queue lists the job as acquired, and it has no lease that could end."""
    job = await submit(stack, paced(tokens=60, rate=60))
    await job.reach(4)
    worker = await job.worker()
    worker.kill()
    stack.redis.command("DEL", stack.keys.leases)
    await over(job, gone=False)


async def test_an_ended_job_without_its_log_is_gone_and_not_empty(stack: Stack) -> None:
    """`done` without text would be false, and watchers would wait for ever."""
    job = await submit(stack, paced(tokens=3, rate=0))
    await job.ended()
    stack.redis.command("DEL", stack.keys.events(job.id))
    await asyncio.gather(*(over(job, gone=True) for _ in range(2)))
