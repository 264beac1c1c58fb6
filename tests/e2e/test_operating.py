"""An operator watches a stack of processes: each change comes live, and what is the matter is the first thing told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from readalong.core.sse import Decoder, Message
from tests.e2e.jobs import chat, paced, submit
from tests.support.client import call
from tests.support.stack import Stack
from tests.support.waiting import WITHIN, until


class Operator:
    """A client of `/v1/changes`: all messages so far."""

    def __init__(self) -> None:
        self.seen: list[Message] = []

    async def read(self, response: httpx2.Response) -> None:
        decoder = Decoder()
        async for piece in response.aiter_raw():
            self.seen += decoder.feed(piece)

    def states(self, job_id: str) -> list[tuple[str, int]]:
        """Returns state and attempt of each frame of this job."""
        jobs = [json.loads(message.data) for message in self.seen if message.event == "job"]
        return [(job["status"], job["attempt"]) for job in jobs if job["id"] == job_id]

    def findings(self) -> list[dict[str, Any]]:
        """Returns those of the newest status."""
        statuses = [message for message in self.seen if message.event == "status"]
        found: list[dict[str, Any]] = json.loads(statuses[-1].data)["findings"] if statuses else []
        return found

    def finds(self, code: str, **fields: str) -> bool:
        return any(found.items() >= {"code": code, **fields}.items() for found in self.findings())


@asynccontextmanager
async def operating(url: str) -> AsyncIterator[Operator]:
    async with (
        httpx2.AsyncClient(base_url=url, timeout=WITHIN, verify=False) as http,
        http.stream("GET", "/v1/changes") as response,
    ):
        operator = Operator()
        reading = asyncio.create_task(operator.read(response))
        try:
            await until(lambda: operator.seen, "the first status")
            yield operator
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def test_an_operator_sees_a_worker_die_and_its_job_go_to_another_at_both_replicas(stack: Stack) -> None:
    worker, other = stack.workers
    other.stop()
    async with operating(stack.urls[0]) as one, operating(stack.urls[1]) as two:
        job = await submit(stack, paced(tokens=400, rate=40))
        await job.reach(5)
        both = (one, two)
        await until(lambda: all(each.states(job.id)[-1:] == [("running", 1)] for each in both), "its start")
        worker.kill()
        await until(lambda: all(each.finds("job_waits_for_worker", job_id=job.id) for each in both), "the finding")
        for operator in both:
            assert operator.findings()[0]["code"] == "no_worker"
            assert operator.finds("worker_dead")
        other.restart()
        await job.ended()
        await until(lambda: all(each.states(job.id)[-1:] == [("done", 2)] for each in both), "its end")
        assert all(("running", 2) in each.states(job.id) for each in both)
        await until(lambda: not any(each.finds("no_worker") for each in both), "a worker")
        assert not any(each.finds("job_waits_for_worker") for each in both)


async def test_an_operator_sees_a_job_that_is_stuck_at_its_model(stack: Stack) -> None:
    """The job's own time is put back: it would take half a minute."""
    job = await submit(stack, chat("demo-hang"))
    await until(lambda: stack.hash_of(job.id).get("status") == "running", "its start")
    async with operating(stack.url) as operator:
        spoke = int(stack.hash_of(job.id)["last_event_at"]) - 60_000
        stack.redis.command("HSET", stack.keys.job(job.id), "last_event_at", spoke)
        await until(lambda: operator.finds("job_stuck", job_id=job.id), "the finding")
        [stuck] = [found for found in operator.findings() if found["code"] == "job_stuck"]
        assert "'demo-hang' has sent nothing for 6" in stuck["reason"]
        await job.cancel()
        await job.ended()
        await until(lambda: not operator.finds("job_stuck"), "its end")
        assert operator.states(job.id)[-1][0] == "cancelled"
    counted = (await call("GET", f"{stack.url}/v1/stats")).json()["totals"]
    assert (counted["submitted"], counted["cancelled"]) == (1, 1)
