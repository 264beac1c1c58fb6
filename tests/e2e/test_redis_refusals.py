"""Redis runs and refuses: it is full, a replica, loading, busy with a script, or has lost its scripts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
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


@pytest.mark.parametrize("fault", ["full", pytest.param("replica", marks=pytest.mark.slow)])
async def test_a_redis_that_refuses_writes_is_waited_for_and_read_meanwhile(durable: Stack, fault: str) -> None:
    """`maxmemory` without eviction, or a failover.

    Writes get a 503; an ended job may be erased from a full Redis, since that frees memory. The worker's blocking wait
    is interrupted, and the worker lives on.
    """
    old = await submit(durable, paced(tokens=3, rate=0))
    await old.ended()
    redis, url = durable.redis, durable.url
    job, watching = await watched(durable)
    pid = durable.workers[0].pid
    if fault == "full":
        redis.command("CONFIG", "SET", "maxmemory", "1")
    else:
        redis.command("REPLICAOF", "127.0.0.1", free_port())
    try:
        await holding(durable)
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
        ready = await call("GET", f"{url}/readyz")
        state, workers = ready.json()["redis"], ready.json()["workers"]
        assert (ready.status, state) == (503, "full" if fault == "full" else "read_only")
        assert workers  # one that another test has killed may be among them
        assert "refuses writes" in ready.json()["reason"]
        assert (await job.show())["status"] == "running"
        erased = await call("DELETE", f"{url}/v1/jobs/{old.id}")
        assert erased.status == (204 if fault == "full" else 503)
    finally:
        redis.command("CONFIG", "SET", "maxmemory", "0")
        redis.command("REPLICAOF", "NO", "ONE")
    await assert_unharmed(job, watching)
    following = await submit(durable, body)
    assert (await following.ended())["content"] == following.text
    assert durable.workers[0].pid == pid
    assert durable.workers[0].running
    api = durable.apis[0]
    await until(lambda: "Redis answers again" in api.news, "the API's line on the end of it")
    # None if the outage is one with that of the previous test, without a request in between.
    assert api.news.count("Redis refuses writes") <= 1, "one line, however many were refused"


async def assert_refused_for_now(stack: Stack, why: str) -> None:
    """Returns when a submit is refused for this reason; before that for others, always with 503 and Retry-After."""

    async def refused() -> bool:
        for path in ("/v1/jobs", "/chat/stream"):
            answer = await call("POST", stack.url + path, paced(tokens=3, rate=0))
            assert (answer.status, answer.json()["code"]) == (503, "redis_unavailable"), answer
            assert answer.headers["retry-after"] == "1"
        return why in answer.json()["detail"]

    await until(refused, why)


class Bystanders:
    """API and worker keep their process ids through an outage and use little CPU in it."""

    def __init__(self, stack: Stack) -> None:
        self._all = [stack.apis[0], stack.workers[0]]
        self._before = [(process.pid, process.cpu_seconds) for process in self._all]
        self._began = time.monotonic()

    def assert_calm(self) -> None:
        """Less than half of the elapsed time; a process that spins takes all of it."""
        passed = time.monotonic() - self._began
        for process, (pid, cpu) in zip(self._all, self._before, strict=True):
            assert (process.running, process.pid) == (True, pid)
            assert process.cpu_seconds - cpu < 0.5 * passed, process.name


@pytest.fixture
def big(durable: Stack) -> Iterator[Stack]:
    """The stack with so many keys that its Redis loads its file for some seconds and replies meanwhile."""
    durable.redis.command("EVAL", "for i = 1, 20000 do redis.call('SET', 'filler:' .. i, i) end", 0)
    # Microseconds for each key; Redis serves clients after every 1,024.
    durable.redis.settings = {"key-load-delay": "150"}
    yield durable
    durable.redis.settings = {}
    durable.redis.command("CONFIG", "SET", "key-load-delay", "0")


@pytest.mark.slow
async def test_a_redis_that_loads_its_file_is_waited_for(big: Stack) -> None:
    """Redis was killed, accepts connections again, and replies LOADING."""
    job, watching = await watched(big)
    big.redis.kill()
    await holding(big)
    bystanders = Bystanders(big)
    loaded = asyncio.create_task(asyncio.to_thread(big.redis.restart))
    await assert_refused_for_now(big, "BusyLoadingError")
    assert not loaded.done()
    await loaded
    bystanders.assert_calm()
    await assert_unharmed(job, watching)
    following = await submit(big, paced(tokens=3, rate=0))
    assert (await following.ended())["content"] == following.text


@pytest.mark.slow
async def test_a_replica_that_serves_nothing_without_its_master_is_waited_for(durable: Stack) -> None:
    """Redis replies MASTERDOWN to reads too."""
    redis = durable.redis
    job, watching = await watched(durable)
    bystanders = Bystanders(durable)
    redis.command("CONFIG", "SET", "replica-serve-stale-data", "no")
    redis.command("REPLICAOF", "127.0.0.1", free_port())
    try:
        await holding(durable)
        await assert_refused_for_now(durable, "MASTERDOWN")
        answer = await call("GET", f"{durable.url}/v1/jobs/{job.id}")
        assert (answer.status, answer.json()["code"]) == (503, "redis_unavailable")
        await asyncio.sleep(2)  # the outage itself: there is nothing to wait for
        bystanders.assert_calm()
    finally:
        redis.command("REPLICAOF", "NO", "ONE")
        redis.command("CONFIG", "SET", "replica-serve-stale-data", "yes")
    await assert_unharmed(job, watching)
    following = await submit(durable, paced(tokens=3, rate=0))
    assert (await following.ended())["content"] == following.text


async def test_a_redis_that_is_busy_with_a_script_is_waited_for(durable: Stack) -> None:
    """A foreign script without end: Redis replies BUSY to all commands until the script is killed."""
    job, watching = await watched(durable)
    durable.redis.command("CONFIG", "SET", "busy-reply-threshold", "1")

    async def endless() -> None:
        with suppress(ResponseError):  # the script's error: it was killed
            await asyncio.to_thread(durable.redis.command, "EVAL", "while true do end", 0)

    busy = asyncio.create_task(endless())
    try:
        await holding(durable)
        answer = await call("GET", f"{durable.url}/v1/jobs/{job.id}")
        assert (answer.status, answer.json()["code"]) == (503, "redis_unavailable")
    finally:
        durable.redis.command("SCRIPT", "KILL")
        await busy
        durable.redis.command("CONFIG", "SET", "busy-reply-threshold", "5000")
    await assert_unharmed(job, watching)


async def test_scripts_that_redis_forgets_again_and_again_are_sent_again(durable: Stack) -> None:
    job, watching = await watched(durable)
    while not durable.log_of(job.id)[-1].terminal:
        durable.redis.command("SCRIPT", "FLUSH")
    await assert_unharmed(job, watching)
