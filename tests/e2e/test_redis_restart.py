"""Redis is killed at each stage of a job, and returns with all, with a part, or with none of its data."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.jobs import Job, paced, submit
from tests.support.client import Cut, Watcher, call
from tests.support.history import assert_whole, text
from tests.support.stack import Stack
from tests.support.waiting import until

STAGES = ["before the first token", "streaming", "finishing"]


def _told(losses: list[str], usual: str) -> list[Any]:
    """Each loss at each stage; `make test` runs one of these, in mid-stream."""
    return [
        pytest.param(lost, stage, marks=() if (lost, stage) == (usual, "streaming") else pytest.mark.slow)
        for lost in losses
        for stage in STAGES
    ]


class Past:
    """The append-only file at some moment: Redis writes it before it replies."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._size = self._file.stat().st_size

    @property
    def _file(self) -> Path:
        [path] = Path(self._stack.redis.dir).glob("appendonlydir/*.incr.aof")
        return path

    def comes_back(self) -> None:
        """Restores the data of that moment; Redis must be down."""
        with self._file.open("ab") as file:
            file.truncate(self._size)


async def asked(stack: Stack, stage: str) -> tuple[Job, Past]:
    """Returns a job that its worker has not seen yet, and the present state of Redis."""
    stack.workers[0].stop()
    first = 1 if stage == "before the first token" else 0
    # Slow: the job must not end before Redis is killed.
    job = await submit(stack, paced(tokens=30, rate=20, first_token_seconds=first))
    return job, Past(stack)


async def watched(job: Job) -> asyncio.Task[Watcher]:
    """Returns a watcher with events, whose connection to the API must hold."""
    watcher = job.watcher(resumes=False)
    watching = asyncio.create_task(watcher.run())
    await until(lambda: watcher.history, "the first event")
    return watching


async def reach(job: Job, stage: str) -> None:
    """Lets the worker start; at the end of the stage Redis is down."""
    redis = job.stack.redis
    job.stack.workers[0].cont()
    await job.at_model()
    if stage != "before the first token":
        await job.says(0.2)
    if stage == "finishing":
        os.kill(redis.pid, signal.SIGSTOP)
        await until(lambda: job.stack.generations(job.question)[0]["state"] == "finished", "the model to have said all")
    redis.kill()


@pytest.mark.parametrize(("lost", "stage"), _told(["nothing", "its newest events", "its claim"], "its newest events"))
async def test_what_redis_lost_of_a_running_job_its_worker_restores(durable: Stack, stage: str, lost: str) -> None:
    """One attempt and one call to the model. Neither the job nor a connected watcher sees a difference."""
    job, past = await asked(durable, stage)
    watching = await watched(job)
    if lost == "its newest events":
        durable.workers[0].cont()
        await job.reach(2)
        past = Past(durable)
    await reach(job, stage)
    if lost != "nothing":
        past.comes_back()
    await asyncio.to_thread(durable.redis.restart)
    shown = await job.ended()
    log = durable.log_of(job.id)
    assert_whole(log, (await watching).history)
    assert (shown["status"], shown["attempt"], text(log)) == ("done", 1, job.text)
    assert len(durable.generations(job.question)) == 1


@pytest.mark.parametrize(("lost", "stage"), _told(["the job", "all"], "all"))
async def test_a_job_that_redis_lost_altogether_is_let_go_by_model_worker_and_watchers(
    durable: Stack, stage: str, lost: str
) -> None:
    """A job whose end cannot be written is unknown, its watchers stop waiting, and the next job runs."""
    past = Past(durable)
    job, _ = await asked(durable, stage)
    watching = await watched(job)
    await reach(job, stage)
    if lost == "all":
        shutil.rmtree(Path(durable.redis.dir) / "appendonlydir")
    else:
        past.comes_back()
    await asyncio.to_thread(durable.redis.restart)
    with pytest.raises(Cut):
        await asyncio.wait_for(watching, 100)
    await job.model_let_go()
    for path in ("", "/events"):
        answer = await call("GET", f"{durable.url}/v1/jobs/{job.id}{path}")
        assert (answer.status, answer.json()["code"]) == (404, "job_not_found")
    following = await submit(durable, paced(tokens=3, rate=0))
    assert (await following.ended())["content"] == following.text
    assert not [key for key in durable.key_names() if job.id in key]


@pytest.mark.parametrize("lost", ["nothing", "the job"])
async def test_a_queued_job_is_kept_by_redis_or_unknown(durable: Stack, lost: str) -> None:
    """The worker is paused all the while; a broken connection ends its blocking wait."""
    past = Past(durable)
    job, _ = await asked(durable, "queued")
    watching = await watched(job)
    durable.redis.kill()
    if lost == "the job":
        past.comes_back()
    await asyncio.to_thread(durable.redis.restart)
    durable.workers[0].cont()
    if lost == "nothing":
        assert (await job.ended())["content"] == job.text
        assert_whole(durable.log_of(job.id), (await watching).history)
        return
    with pytest.raises(Cut):
        await asyncio.wait_for(watching, 100)
    assert (await call("GET", f"{durable.url}/v1/jobs/{job.id}")).status == 404
    assert durable.generations(job.question) == []


@pytest.mark.slow
async def test_a_job_that_redis_forgot_to_be_done_is_run_again_and_done(durable: Stack) -> None:
    """Redis lost the job's end, and the worker has finished with it: another attempt, and one end in the log."""
    job, _ = await asked(durable, "streaming")
    durable.workers[0].cont()
    await job.says(0.2)
    past = Past(durable)
    await job.ended()
    durable.redis.kill()
    past.comes_back()
    await asyncio.to_thread(durable.redis.restart)
    shown = await job.ended()
    log = durable.log_of(job.id)
    assert_whole(log)
    assert (shown["status"], shown["attempt"], text(log)) == ("done", 2, job.text)
