"""Redis is there and refuses: it is full, a replica, busy with a script, or has forgotten ours."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from redis.exceptions import ResponseError

from tests.e2e.jobs import assert_unharmed, paced, submit, watched
from tests.support.client import call
from tests.support.servers import free_port
from tests.support.stack import Stack
from tests.support.waiting import until


async def holding(stack: Stack) -> None:
    await until(lambda: "holding its events" in stack.workers[0].news, "the worker to wait")


@pytest.mark.parametrize("fault", ["full", "replica"])
async def test_a_redis_that_refuses_writes_is_waited_for_and_read_meanwhile(keeper: Stack, fault: str) -> None:
    """`maxmemory` reached without eviction, or a failover. What would write is told to come back; a job that ended may
    be erased from a full Redis, since that makes room. The worker's blocking wait is broken off, and it lives on."""
    old = await submit(keeper, paced(tokens=3, rate=0))
    await old.ended()
    redis, url = keeper.redis, keeper.url
    job, watching = await watched(keeper)
    pid = keeper.workers[0].pid
    if fault == "full":
        redis.command("CONFIG", "SET", "maxmemory", "1")
    else:
        redis.command("REPLICAOF", "127.0.0.1", free_port())
    try:
        await holding(keeper)
        body = paced(tokens=3, rate=0)
        for answer in (
            await call("POST", f"{url}/v1/jobs", body),
            await call("POST", f"{url}/chat/stream", body),
            await job.cancel(),
        ):
            assert (answer.status, answer.json()["code"], answer.headers["retry-after"]) == (
                503,
                "redis_unavailable",
                "1",
            )
            assert "refuses writes" in answer.json()["detail"]
        assert (await job.show())["status"] == "running"
        erased = await call("DELETE", f"{url}/v1/jobs/{old.id}")
        assert erased.status == (204 if fault == "full" else 503)
    finally:
        redis.command("CONFIG", "SET", "maxmemory", "0")
        redis.command("REPLICAOF", "NO", "ONE")
    await assert_unharmed(job, watching)
    following = await submit(keeper, body)
    assert (await following.ended())["content"] == following.text
    assert keeper.workers[0].pid == pid
    assert keeper.workers[0].running


async def test_a_redis_that_is_busy_with_a_script_is_waited_for(keeper: Stack) -> None:
    """Somebody's endless script: Redis answers BUSY to all, until it is killed."""
    job, watching = await watched(keeper)
    keeper.redis.command("CONFIG", "SET", "busy-reply-threshold", "1")

    async def endless() -> None:
        with suppress(ResponseError):  # that it was killed
            await asyncio.to_thread(keeper.redis.command, "EVAL", "while true do end", 0)

    busy = asyncio.create_task(endless())
    try:
        await holding(keeper)
        answer = await call("GET", f"{keeper.url}/v1/jobs/{job.id}")
        assert (answer.status, answer.json()["code"]) == (503, "redis_unavailable")
    finally:
        keeper.redis.command("SCRIPT", "KILL")
        await busy
        keeper.redis.command("CONFIG", "SET", "busy-reply-threshold", "5000")
    await assert_unharmed(job, watching)


async def test_scripts_that_redis_forgets_again_and_again_are_sent_again(keeper: Stack) -> None:
    job, watching = await watched(keeper)
    while not keeper.log_of(job.id)[-1].terminal:
        keeper.redis.command("SCRIPT", "FLUSH")
    await assert_unharmed(job, watching)
