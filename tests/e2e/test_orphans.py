"""A job with `cancel_on_disconnect` ends with its last watcher, on any replica, and never before."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import healed
from tests.e2e.jobs import Job, chat, submit
from tests.e2e.test_cancelling import assert_cancelled
from tests.support.client import Response
from tests.support.history import kinds
from tests.support.stack import Stack
from tests.support.waiting import until

#: Streams that one worker runs at once here.
SLOTS = 4


@pytest.fixture(scope="module")
def running_pair() -> Iterator[Stack]:
    settings = {
        "READALONG_DISCONNECT_GRACE": "3",
        "READALONG_MAX_JOBS": str(SLOTS),
        # A call that waits for a paused Redis gets its reply: a time-out would save nothing here.
        "READALONG_REDIS_TIMEOUT": "6",
        # A lease that ends meanwhile does not restart the job either.
        "READALONG_LEASE": "12",
    }
    with Stack(apis=2, workers=2, settings=settings) as stack:
        yield stack


@pytest.fixture
def stack(running_pair: Stack) -> Iterator[Stack]:
    """Two APIs and two workers with a short grace."""
    yield from healed(running_pair)


def endless(**more: Any) -> dict[str, Any]:
    """Returns a request whose answer does not end by itself."""
    return chat("demo-endless", demo={"tokens_per_second": 20, "first_token_seconds": 0}, **more)


async def opened(stack: Stack, body: dict[str, Any], url: str | None = None, key: str = "") -> tuple[Job, Response]:
    """Returns a chat job and the response that is its watcher."""
    raw = json.dumps(body).encode()
    headers = {"Idempotency-Key": key} if key else None
    response = await Response.open("POST", f"{url or stack.url}/chat/stream", raw, headers)
    assert response.status == 200
    return Job(stack, body, {"id": response.headers["x-job-id"]}), response


async def abandoned(stack: Stack, body: dict[str, Any], url: str | None = None) -> Job:
    """Returns a chat job whose client has left."""
    job, response = await opened(stack, body, url)
    response.abort()
    return job


async def watching(job: Job, url: str) -> Response:
    """Opens another watcher at this API."""
    response = await Response.open("GET", f"{url}/v1/jobs/{job.id}/events")
    assert response.status == 200
    return response


async def goes_on(job: Job) -> None:
    """Asserts that the job still runs, in its first attempt and without a cancel."""
    shown = await job.show(job.stack.urls[1])
    assert (shown["status"], shown["attempt"]) == ("running", 1)
    assert not job.stack.redis.command("EXISTS", job.stack.keys.cancel(job.id))
    await job.reach(shown["last_seq"] + 3)


async def test_an_orphan_is_cancelled_and_its_model_let_go_whatever_it_does(stack: Stack) -> None:
    """Streaming, before the first token, and never watched. Other jobs continue without watchers."""
    silent = chat("demo-hang")
    free = [await submit(stack, body) for body in (endless(), chat("demo-hang"), endless(cancel_on_disconnect=False))]
    chatty = [await abandoned(stack, endless(cancel_on_disconnect=False))]
    orphans = [
        await abandoned(stack, endless()),
        await abandoned(stack, silent, stack.urls[1]),
        await submit(stack, endless(cancel_on_disconnect=True)),
        await submit(stack, endless(cancel_on_disconnect=True), url=stack.urls[1]),
    ]
    for job in (*free, *chatty, *orphans):
        await job.at_model()
    for job in orphans:
        await assert_cancelled(job, by="disconnect")
        assert [made["state"] for made in stack.generations(job.question)] == ["gone"]
    assert kinds(stack.log_of(orphans[0].id)) == ["queued", "started", "content", "cancelled"]
    assert kinds(stack.log_of(orphans[1].id)) == ["queued", "started", "cancelled"]
    for job in (free[0], free[2], *chatty):
        await goes_on(job)
    assert (await free[1].show())["status"] == "running"
    assert stack.redis.command("EXISTS", stack.keys.presence) == 0


@pytest.mark.slow
async def test_an_orphan_that_waits_never_begins(stack: Stack) -> None:
    """Jobs that need no watcher fill all slots."""
    for _ in range(2 * SLOTS):
        await (await submit(stack, chat("demo-hang"))).at_model()
    waiting = [await abandoned(stack, endless()), await submit(stack, endless(cancel_on_disconnect=True))]
    for job in waiting:
        await assert_cancelled(job, by="disconnect")
        assert kinds(stack.log_of(job.id)) == ["queued", "cancelled"]
        assert stack.generations(job.question) == []


@pytest.mark.slow
async def test_one_watcher_at_any_replica_keeps_the_job_and_the_last_one_to_leave_ends_it(stack: Stack) -> None:
    """One of three watchers at two replicas stays: this job outlives another one that was left at the same moment."""
    job, first = await opened(stack, endless())
    second, last = await watching(job, stack.urls[0]), await watching(job, stack.urls[1])
    await job.reach(5)
    first.abort()
    second.abort()
    await assert_cancelled(await abandoned(stack, endless()), by="disconnect")
    await goes_on(job)
    last.abort()
    await assert_cancelled(job, by="disconnect")


async def test_a_grace_of_zero_cancels_at_once_and_only_without_a_watcher_at_any_replica(stack: Stack) -> None:
    """While the grace of an earlier one runs: two replicas need not agree on who leaves last."""
    graceful, soon = await opened(stack, endless(cancel_on_disconnect=3600))
    hasty, first = await opened(stack, endless(cancel_on_disconnect=0))
    kept, second = await opened(stack, endless(cancel_on_disconnect=0))
    last = await watching(kept, stack.urls[1])
    for job in (graceful, hasty, kept):
        await job.reach(5)
    for response in (soon, first, second):
        response.abort()
    await assert_cancelled(hasty, by="disconnect")
    await goes_on(kept)
    last.abort()
    await assert_cancelled(kept, by="disconnect")
    await goes_on(graceful)
    await graceful.cancel()


@pytest.mark.slow
async def test_a_watcher_that_returns_in_time_keeps_the_job_however_often_it_leaves(stack: Stack) -> None:
    """At alternating replicas, for longer than the grace; also with an Idempotency-Key."""
    key = f"key of {stack.folder.name}"
    body = endless()
    job, response = await opened(stack, body, key=key)
    left = await abandoned(stack, endless())
    ending = asyncio.create_task(left.ended())
    turns = 0
    while not ending.done():
        response.abort()
        turns += 1
        url = stack.urls[turns % 2]
        if turns % 3:
            response = await watching(job, url)
        else:
            again, response = await opened(stack, body, url, key)
            assert again.id == job.id
        await job.reach((await job.show())["last_seq"] + 2)
    assert (await ending)["status"] == "cancelled"
    assert turns > 1
    await goes_on(job)
    response.abort()


@pytest.mark.slow
async def test_a_killed_replicas_clients_keep_their_jobs_if_they_come_to_another_in_time(stack: Stack) -> None:
    """A watcher that does not return ends its job, though the replica could not report the disconnect."""
    victim, other = stack.apis
    loyal, first = await opened(stack, endless(), victim.url)
    faithless, second = await opened(stack, endless(), victim.url)
    for job in (loyal, faithless):
        await job.reach(5)
    victim.kill()
    response = await watching(loyal, other.url)
    shown = await faithless.ended(other.url)
    assert shown["status"] == "cancelled"
    assert stack.log_of(faithless.id)[-1].fields["by"] == "disconnect"
    await faithless.model_let_go()
    await goes_on(loyal)
    for gone in (first, second, response):
        gone.abort()


async def overdue(stack: Stack, job: Job) -> None:
    """No process has reported a watcher of the job for too long. Returns when a worker has checked it."""
    [visit] = stack.redis.command("ZRANGE", stack.keys.watchers(job.id), 0, -1)
    for key, member in ((stack.keys.watchers(job.id), visit), (stack.keys.presence, job.id)):
        stack.redis.command("ZADD", key, "XX", 1_000 * int(stack.redis.command("TIME")[0]) - 10_000, member)
    now = 1_000 * int(stack.redis.command("TIME")[0])
    await until(lambda: not stack.redis.command("ZCOUNT", stack.keys.presence, "-inf", now), "a worker's look")


@pytest.mark.slow
async def test_a_process_that_gets_no_turns_for_longer_than_the_grace_loses_no_job(stack: Stack) -> None:
    """A paused API cannot report its watchers and its connection stays; a killed one has no connection."""
    kept, response = await opened(stack, endless(), stack.apis[0].url)
    await kept.reach(5)
    await until(lambda: stack.redis.command("ZCARD", stack.keys.watchers(kept.id)), "that it watches")
    stack.apis[0].stop()
    for _ in range(2):
        await overdue(stack, kept)
        await goes_on(kept)
    stack.apis[0].cont()
    await goes_on(kept)
    stack.apis[0].stop()
    stack.apis[0].kill()
    await overdue(stack, kept)
    assert (await kept.ended(stack.apis[1].url))["status"] == "cancelled"
    assert stack.log_of(kept.id)[-1].fields["by"] == "disconnect"
    response.abort()


@pytest.mark.slow
async def test_a_redis_that_stands_still_for_longer_than_the_grace_orphans_no_job(stack: Stack) -> None:
    """All jobs are overdue when Redis continues, and no API could report a watcher. An orphan ends a little later."""
    kept, response = await opened(stack, endless())
    left = await abandoned(stack, endless())
    for job in (kept, left):
        await job.reach(5)
    api, pid = stack.apis[0], stack.redis.pid
    # The worst order: workers check as soon as Redis continues, and the API reports after them.
    api.stop()
    seconds, _ = stack.redis.command("TIME")
    for job in (kept, left):
        stack.redis.command("ZADD", stack.keys.presence, "XX", (int(seconds) + 3) * 1000, job.id)
    os.kill(pid, signal.SIGSTOP)
    try:
        # Longer than the grace, and longer than the workers' interval: the test waits for this time to pass.
        await asyncio.sleep(5)
    finally:
        os.kill(pid, signal.SIGCONT)
    await until(lambda: stack.redis.command("EXISTS", stack.keys.orphans_from), "a worker's look")
    api.cont()
    await assert_cancelled(left, by="disconnect")
    await goes_on(kept)
    response.abort()


@pytest.mark.slow
async def test_a_redis_that_is_killed_and_comes_back_orphans_no_job() -> None:
    """Redis keeps its data; the API reconnects in time to report its watchers."""
    with Stack(aof=True, settings={"READALONG_DISCONNECT_GRACE": "2"}) as stack:
        kept, response = await opened(stack, endless())
        left = await abandoned(stack, endless())
        for job in (kept, left):
            await job.reach(5)
        stack.redis.kill()
        await asyncio.to_thread(stack.redis.restart)
        await assert_cancelled(left, by="disconnect")
        shown = await kept.show()
        assert shown["status"] == "running"
        response.abort()
