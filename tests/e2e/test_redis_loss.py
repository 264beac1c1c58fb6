"""Redis is killed, restarted and paused, and drops all clients: jobs end, watchers see no gap, errors are clear."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from uuid import uuid4

import pytest

from tests.e2e.jobs import assert_unharmed, chat, paced, submit, watched
from tests.support.client import call
from tests.support.history import assert_whole, text
from tests.support.stack import Stack
from tests.support.waiting import until


@pytest.mark.parametrize("fsync", ["always", pytest.param("everysec", marks=pytest.mark.slow)])
async def test_a_redis_that_is_killed_and_comes_back_in_mid_stream_harms_neither_job_nor_watcher(
    durable: Stack, fsync: str
) -> None:
    """With an append-only file; the watcher's connection to the API stays."""
    durable.redis.command("CONFIG", "SET", "appendfsync", fsync)
    job, watcher = await watched(durable)
    durable.redis.kill()
    await asyncio.to_thread(durable.redis.restart)
    await assert_unharmed(job, watcher)


async def test_a_redis_that_comes_back_without_its_newest_events_gets_them_again(durable: Stack) -> None:
    """The end of the file is lost, as in a failover: the worker sends the kept events again, with the same numbers."""
    job, watcher = await watched(durable)
    durable.redis.kill()
    await asyncio.to_thread(_lose_tail, durable, b"content", 4)
    await asyncio.to_thread(durable.redis.restart)
    await assert_unharmed(job, watcher)
    assert "sending again" in durable.workers[0].output


@pytest.mark.slow
async def test_a_watcher_of_lost_events_is_told_and_gets_only_the_next_attempt(
    two_workers: Stack,
) -> None:
    """One watcher stays connected, and one reconnects with its position."""
    # On a slow machine too, the first attempt has long to go when its worker is killed.
    job = await submit(two_workers, paced(tokens=300, rate=60, model="demo-numbered", key=uuid4().hex))
    staying, leaving = job.watcher(resumes=False), job.watcher()
    watching = asyncio.create_task(staying.run())
    await job.reach(10)
    size = await asyncio.to_thread(lambda: _file(two_workers).stat().st_size)
    kept = len(two_workers.log_of(job.id))
    await job.reach(kept + 10)
    await leaving.run(kept + 5)
    worker = await job.worker()
    two_workers.redis.kill()
    worker.kill()
    os.truncate(_file(two_workers), size)
    await asyncio.to_thread(two_workers.redis.restart)
    shown = await job.ended()
    log = two_workers.log_of(job.id)
    begun = next(entry for entry in log if entry.event == "restarted")
    assert shown["status"] == "done"
    assert begun.id is not None
    assert begun.id <= kept + 1
    for watcher in (await watching, await leaving.run()):
        assert_whole(log, watcher.history)
        lost = next(entry for entry in watcher.history if entry.log_lost)
        assert (lost.id, lost.fields["attempt"], lost.epoch) == (begun.id, 2, begun.fields["epoch"])
        assert {entry.epoch for entry in watcher.history[watcher.history.index(lost) :]} == {lost.epoch}


async def test_a_redis_that_drops_all_connections_in_mid_stream_harms_neither_job_nor_watcher(stack: Stack) -> None:
    job, watcher = await watched(stack)
    for kind in ("normal", "pubsub", "normal", "pubsub"):
        stack.redis.command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
    await assert_unharmed(job, watcher)


async def test_a_redis_that_is_paused_in_mid_stream_harms_neither_job_nor_watcher(durable: Stack) -> None:
    """Its connections stay and are silent, for longer than the time-out and the lease."""
    job, watcher = await watched(durable)
    durable.redis.command("CLIENT", "PAUSE", 2500, "ALL")
    await assert_unharmed(job, watcher)


@pytest.mark.slow
async def test_a_redis_that_was_away_for_longer_than_the_lease_costs_a_job_one_attempt_at_most(stack: Stack) -> None:
    """Another worker may acquire the job before its holder has renewed the lease; it has one end and no gap."""
    job, watcher = await watched(stack)
    stack.redis.command("CLIENT", "PAUSE", 5500, "ALL")
    shown = await job.ended()
    log = stack.log_of(job.id)
    assert_whole(log, (await watcher).history)
    assert (shown["status"], text(log)) == ("done", job.text)
    assert shown["attempt"] <= 2


async def test_what_is_asked_while_redis_is_away_is_refused_for_now_and_loses_nothing(durable: Stack) -> None:
    """503 with Retry-After on every call; the same submit and Idempotency-Key succeed after the outage."""
    job = await submit(durable, paced(tokens=3, rate=0))
    await job.ended()
    durable.redis.kill()
    body = paced(tokens=5, rate=0)
    key = {"Idempotency-Key": body["messages"][0]["content"]}
    url = durable.url
    answers = await asyncio.gather(
        call("POST", f"{url}/v1/jobs", body, key),
        call("POST", f"{url}/chat/stream", body),
        call("GET", f"{url}/v1/jobs"),
        call("GET", f"{url}/v1/jobs/{job.id}"),
        call("GET", f"{url}/v1/jobs/{'x' * 22}/events"),
        job.cancel(),
        call("DELETE", f"{url}/v1/jobs/{job.id}"),
    )
    for answer in answers:
        assert answer.status == 503, answer
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.headers["content-type"] == "application/problem+json"
        assert (answer.json()["code"], answer.json()["retryable"]) == ("redis_unavailable", True)
    assert (await call("GET", f"{url}/healthz")).status == 200
    assert (await call("GET", f"{url}/readyz")).status == 503
    await asyncio.to_thread(durable.redis.restart)
    again = await submit(durable, body, headers=key)
    assert (await again.ended())["content"] == again.text
    assert len(durable.generations(again.question)) == 1


async def test_api_and_worker_come_up_without_redis_and_work_when_it_is_there(durable: Stack) -> None:
    durable.redis.kill()
    api, worker = durable.apis[0], durable.workers[0]
    api.restart()
    worker.restart()
    health = f"{api.url}/healthz"
    await until(lambda: "startup complete" in api.output and " ready: " in worker.output, "both to start")
    assert (await call("GET", health)).status == 200
    assert (await call("GET", f"{api.url}/readyz")).status == 503
    await asyncio.to_thread(durable.redis.restart)
    await asyncio.to_thread(durable.wait_ready)
    job = await submit(durable, paced(tokens=5, rate=0))
    assert (await job.ended())["content"] == job.text


async def test_a_cancel_that_came_before_redis_died_is_kept(durable: Stack) -> None:
    """The worker is paused, so the cancel is still pending."""
    job = await submit(durable, chat("demo-endless"))
    await job.reach(5)
    durable.workers[0].stop()
    await job.cancel()
    durable.redis.kill()
    durable.workers[0].cont()
    await asyncio.to_thread(durable.redis.restart)
    assert (await job.ended())["status"] == "cancelled"
    assert_whole(durable.log_of(job.id))
    await job.model_let_go()


def _file(stack: Stack) -> Path:
    [path] = Path(stack.redis.dir).glob("appendonlydir/*.incr.aof")
    return path


def _lose_tail(stack: Stack, word: bytes, count: int) -> None:
    """Cuts the append-only file so that the last `count` occurrences of `word` are lost."""
    path = _file(stack)
    data = path.read_bytes()
    for _ in range(count):
        data = data[: data.rindex(word)]
    path.write_bytes(data)
