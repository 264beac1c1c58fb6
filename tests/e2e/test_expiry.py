"""A job lives while it is active, even without events, and no key of it outlives its retention."""

from __future__ import annotations

import json
from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.e2e.conftest import healed
from tests.e2e.jobs import Job, chat, paced, submit
from tests.support.client import Response, call
from tests.support.stack import Stack
from tests.support.waiting import until

pytestmark = pytest.mark.slow

#: Seconds that a job lives without activity: the minimum of the setting.
JOB_TTL = 10
#: Streams that the one worker runs at once.
SLOTS = 3


@pytest.fixture(scope="module")
def running_mayfly() -> Iterator[Stack]:
    settings = {
        "READALONG_RETENTION": "1",
        "READALONG_JOB_TTL": str(JOB_TTL),
        "READALONG_IDEMPOTENCY_TTL": "1",
        "READALONG_DISCONNECT_GRACE": "0",
        "READALONG_MAX_JOBS": str(SLOTS),
    }
    with Stack(settings=settings) as stack:
        yield stack


@pytest.fixture
def stack(running_mayfly: Stack) -> Iterator[Stack]:
    """A stack with one worker and the shortest retention times."""
    yield from healed(running_mayfly)


async def test_after_its_retention_nothing_of_a_job_is_left(stack: Stack) -> None:
    """Done, failed, cancelled while running or queued, orphaned, erased; and flags set too late, or for no job.

    All keys of Redis are as before. The API says that the job has expired, and later that there is none.
    """
    before = _lasting(stack)
    jobs = [
        await submit(stack, paced(tokens=3, rate=0), headers={"Idempotency-Key": uuid4().hex}),
        await submit(stack, chat("demo-fast+error")),
        await submit(stack, chat("demo-endless", cancel_on_disconnect=True)),
    ]
    await jobs[0].ended()
    running = [await submit(stack, chat("demo-hang")) for _ in range(SLOTS - 1)]
    for job in running:
        await job.at_model()
    waiting = await submit(stack, paced())
    erased = await submit(stack, paced())
    for job in (waiting, *running):
        assert (await job.cancel()).status == 202
    assert (await call("DELETE", f"{stack.url}/v1/jobs/{erased.id}")).status == 204
    for job_id in (jobs[0].id, erased.id, "no-such-job-0123456789"):
        stack.redis.command("SET", stack.keys.cancel(job_id), "too late")
    jobs += [*running, waiting]
    assert len(_lasting(stack)) > len(before)
    told: dict[str, list[int]] = {job.id: [200] for job in jobs}
    await until(lambda: _all_expired(jobs, told), "all jobs to be forgotten")
    # A slow machine may skip the second response.
    assert all(answers in ([200, 410, 404], [200, 404]) for answers in told.values())
    assert [200, 410, 404] in told.values()
    assert (await call("GET", f"{stack.url}/v1/jobs")).json()["jobs"] == []
    await until(lambda: _lasting(stack) == before, f"nothing to be left: {_lasting(stack)}")


async def _all_expired(jobs: list[Job], told: dict[str, list[int]]) -> bool:
    """Requests each job and appends the response to `told` when it differs from the last one."""
    for job in jobs:
        status = (await call("GET", f"{job.stack.url}/v1/jobs/{job.id}")).status
        if told[job.id][-1] != status:
            told[job.id].append(status)
    return all(answers[-1] == 404 for answers in told.values())


def _lasting(stack: Stack) -> list[str]:
    """Returns the keys of Redis, without those that record the last sweep, poll, acquire or heartbeat, and without the
    counts of each minute."""
    passing = (
        stack.keys.sweep,
        stack.keys.orphans_from,
        stack.keys.liveness,
        stack.keys.probe,
        stack.keys.last_acquire(""),
        stack.keys.stats_names,
    )
    return [name for name in stack.key_names() if not name.startswith(passing)]


async def test_a_job_that_is_silent_for_longer_than_its_time_to_live_is_there(stack: Stack) -> None:
    """Two silent jobs, one of them kept by its watcher, and one that waits for a slot."""
    raw = json.dumps(chat("demo-hang")).encode()
    async with await Response.open("POST", f"{stack.url}/chat/stream", raw) as response:
        watched = Job(stack, json.loads(raw), {"id": response.headers["x-job-id"]})
        silent = [watched, *[await submit(stack, chat("demo-hang")) for _ in range(SLOTS - 1)]]
        for job in silent:
            await job.at_model()
        waiting = await submit(stack, paced(tokens=3, rate=0))
        names = [name for name in stack.key_names() if any(job.id in name for job in (*silent, waiting))]
        began = int(stack.hash_of(waiting.id)["created_at"])
        await until(lambda: _now(stack) > began + 1200 * JOB_TTL, "more than a job's life", within=3 * JOB_TTL)
        assert set(names) <= {*stack.key_names()}
        assert stack.redis.command("ZSCORE", stack.keys.presence, watched.id)
        assert [(await job.show())["status"] for job in (*silent, waiting)] == ["running"] * SLOTS + ["queued"]
        for job in silent:
            await job.cancel()
        assert (await waiting.ended())["content"] == waiting.text
        assert [(await job.ended())["status"] for job in silent] == ["cancelled"] * SLOTS


def _now(stack: Stack) -> int:
    seconds, micros = stack.redis.command("TIME")
    return int(seconds) * 1000 + int(micros) // 1000
