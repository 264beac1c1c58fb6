"""More jobs at once than slots."""

from __future__ import annotations

import asyncio

import pytest
import redis

from tests.e2e.jobs import paced
from tests.support.client import call
from tests.support.history import appended, faults_of_log
from tests.support.stack import Stack
from tests.support.waiting import until

pytestmark = pytest.mark.slow

JOBS = 1000


async def test_a_thousand_jobs_queued_at_once_all_finish_and_each_runs_once(stack: Stack) -> None:
    """Queued while no worker runs, acquired in order of submit; the queue is empty in the end."""
    for worker in stack.workers:
        worker.stop()
    body = paced(tokens=2, rate=0)
    gate = asyncio.Semaphore(20)

    async def submit(number: int) -> str:
        async with gate:
            answer = await call("POST", f"{stack.urls[number % 2]}/v1/jobs", body)
        assert answer.status == 202, answer
        job_id: str = answer.json()["id"]
        return job_id

    ids = await asyncio.gather(*map(submit, range(JOBS)))
    places = stack.redis.command("ZRANGE", stack.keys.queue, "0", "-1")
    assert sorted(places) == sorted(ids)
    for worker in stack.workers:
        worker.cont()
    await until(lambda: not stack.redis.command("ZCARD", stack.keys.active), "the last end", 60)
    await until(lambda: not stack.redis.command("ZCARD", stack.keys.queue), "an empty queue")
    with redis.Redis(port=stack.redis.port, decode_responses=True) as client:
        pipe = client.pipeline(transaction=False)
        for job_id in ids:
            pipe.hgetall(stack.keys.job(job_id))
            pipe.xrange(stack.keys.events(job_id))
        answers = pipe.execute()
    hashes = dict(zip(ids, answers[::2], strict=True))
    assert {(job["status"], job["attempt"], job["lost"]) for job in hashes.values()} == {("done", "1", "0")}
    assert [faults for rows in answers[1::2] if (faults := faults_of_log(appended(rows)))] == []
    # Jobs that run at once may start in any order; none is left behind.
    began = sorted(ids, key=lambda job_id: int(hashes[job_id]["started_at"]))
    slots = 2 * 100
    assert max(abs(place - began.index(job_id)) for place, job_id in enumerate(places)) < 2 * slots
    left = [name for name in stack.key_names() if name.startswith(("arq:", "readalong:leases", "readalong:active"))]
    assert left == []
