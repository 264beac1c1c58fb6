"""Redis goes away while a worker works, and comes back."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from readalong.core.errors import StoreUnavailable
from readalong.core.events import Event
from readalong.core.settings import Settings
from readalong.redis.client import connect
from readalong.testing import text_for
from tests.readalong.helpers import command, types
from tests.support.servers import RedisServer
from tests.support.waiting import until
from tests.worker.helpers import ASKED, Backend, Working, demo_model, settings_for, text_of, working

#: A little over a second of text.
DEMO = {"tokens": 200, "tokens_per_second": 150, "first_token_seconds": 0}


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """Starts a server of the test's own, which loses no data when it is killed."""
    with RedisServer.start(aof=True) as server:
        yield server


async def at_work(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, stack: AsyncExitStack, settings: Settings
) -> Working:
    demo = await stack.enter_async_context(demo_model())
    monkeypatch.setenv("OPENAI_BASE_URL", demo.url)
    return await stack.enter_async_context(working(settings))


async def away(server: RedisServer, seconds: float = 0) -> None:
    """Kills the server, and restarts it after a while."""
    await asyncio.to_thread(server.kill)
    await asyncio.sleep(seconds)  # the outage itself: there is nothing to wait for
    await asyncio.to_thread(server.restart)


def check_whole(events: list[Event], demo: dict[str, float] | None = None) -> None:
    """Checks that the job is done in its first attempt, with the model's own text."""
    assert (events[-1].type, types(events).count("restarted")) == ("done", 0)
    assert text_of(events) == text_for({"model": "demo", "messages": ASKED, "demo": demo or DEMO})


async def test_a_job_outlives_a_restart_of_redis_in_mid_stream(
    backend: Backend, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, resources: AsyncExitStack
) -> None:
    settings = settings_for(redis_server.url, lease=10)
    await at_work(backend, monkeypatch, resources, settings)
    job_id = await backend.submit(demo=DEMO)
    await backend.has(job_id, "content", 5)
    await away(redis_server)
    check_whole(await backend.ended(job_id))


async def test_a_worker_alone_keeps_its_jobs_through_an_outage_longer_than_its_lease(
    backend: Backend, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, resources: AsyncExitStack
) -> None:
    """The worker must neither acquire its own jobs nor take the pause for a silence of the model."""
    settings = settings_for(redis_server.url, lease=0.5, stall_timeout=2)
    await at_work(backend, monkeypatch, resources, settings)
    job_id = await backend.submit(demo=DEMO)
    await backend.has(job_id, "content", 5)
    await away(redis_server, 3)
    check_whole(await backend.ended(job_id))


@pytest.mark.parametrize("how", ["killed", pytest.param("stopped", marks=pytest.mark.slow)])
async def test_no_worker_takes_anothers_jobs_after_an_outage_longer_than_the_lease(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, redis_server: RedisServer, resources: AsyncExitStack, how: str
) -> None:
    """All leases are over when Redis is back; a second generation would be paid for, and an attempt used up."""
    settings = settings_for(redis_server.url, lease=2, redis_timeout=1, poll_interval=0.05)
    demo = await resources.enter_async_context(demo_model())
    monkeypatch.setenv("OPENAI_BASE_URL", demo.url)
    await resources.enter_async_context(working(settings, "w1"))
    job_id = await backend.submit(demo={**DEMO, "tokens": 800})
    await backend.has(job_id, "content", 5)
    for name in ("w2", "w3", "w4"):
        await resources.enter_async_context(working(settings, name))
    if how == "killed":
        await away(redis_server, 3)
    else:
        os.kill(redis_server.pid, signal.SIGSTOP)
        await asyncio.sleep(3)  # the outage itself: there is nothing to wait for
        os.kill(redis_server.pid, signal.SIGCONT)
    check_whole(await backend.ended(job_id), {**DEMO, "tokens": 800})
    assert len((await demo.stats())["requests"]) == 1


async def test_an_outage_beyond_the_limit_fails_the_job_when_redis_is_back(
    backend: Backend, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, resources: AsyncExitStack
) -> None:
    settings = settings_for(redis_server.url, redis_outage_timeout=1, lease=10)
    await at_work(backend, monkeypatch, resources, settings)
    job_id = await backend.submit(demo={**DEMO, "tokens": 100_000})
    await backend.has(job_id, "content", 5)
    await away(redis_server, 3)
    events = await backend.ended(job_id)
    end = events[-1].fields()
    assert (events[-1].type, end["error"]["code"], end["error"]["retryable"]) == ("failed", "redis_outage", True)
    assert end["content"] == text_of(events)


async def test_a_worker_that_starts_before_redis_works_when_it_comes(
    backend: Backend, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, resources: AsyncExitStack
) -> None:
    job_id = await backend.submit("demo-fast")
    await asyncio.to_thread(redis_server.kill)
    one = await at_work(backend, monkeypatch, resources, settings_for(redis_server.url))
    await asyncio.to_thread(redis_server.restart)
    assert (await backend.ended(job_id))[-1].type == "done"
    assert not one.task.done()


async def test_an_idle_worker_hears_of_jobs_and_cancels_after_an_outage(
    backend: Backend, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, resources: AsyncExitStack
) -> None:
    settings = settings_for(redis_server.url, cancel_poll=60)
    await at_work(backend, monkeypatch, resources, settings)
    await backend.ended(await backend.submit("demo-fast"))
    await away(redis_server)
    job_id = await backend.submit("demo-hang")
    await backend.has(job_id, "started")

    async def listens() -> bool:
        return bool((await backend.redis.pubsub_numsub(backend.keys.control))[0][1])

    await until(listens)
    await backend.log.cancel(job_id, "client")
    assert (await backend.ended(job_id))[-1].type == "cancelled"


async def test_a_frozen_redis_is_waited_out(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, redis_server: RedisServer, resources: AsyncExitStack
) -> None:
    """It accepts connections and sends nothing, for longer than the time-out of a command."""
    settings = settings_for(redis_server.url, redis_timeout=1, poll_interval=0.1, lease=10)
    await at_work(backend, monkeypatch, resources, settings)
    job_id = await backend.submit(demo=DEMO)
    await backend.has(job_id, "content", 5)
    client = connect(settings_for(redis_server.url))
    resources.push_async_callback(client.aclose)
    await command(client, "CLIENT", "PAUSE", 2500, "ALL")
    check_whole(await backend.ended(job_id))


@pytest.mark.parametrize("reason", ["worker_stopped", "model_cut"])
async def test_a_job_is_handed_over_for_its_own_reason_though_redis_is_away_just_then(
    backend: Backend,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    resources: AsyncExitStack,
    reason: str,
) -> None:
    """Otherwise the next claim would find a lost worker: a deploy would use up an attempt, and with the policy
    `fail` end the job."""
    settings = settings_for(redis_server.url, on_model_disconnect="retry", redis_timeout=10)
    one = await at_work(backend, monkeypatch, resources, settings)
    hand_over, back = one.worker._log.requeue, asyncio.Event()

    async def hand_over_while_away(*given: Any, **how: Any) -> None:
        monkeypatch.setattr(one.worker._log, "requeue", hand_over)
        await asyncio.to_thread(redis_server.kill)
        try:
            await hand_over(*given, **how)
        except StoreUnavailable:
            await asyncio.to_thread(redis_server.restart)
            back.set()
            raise

    monkeypatch.setattr(one.worker._log, "requeue", hand_over_while_away)
    if reason == "model_cut":
        job_id = await backend.submit("demo-cut", demo={"after": 5})
    else:
        job_id = await backend.submit("demo-hang")
        await backend.has(job_id, "started")
        await one.stop()
        await resources.enter_async_context(working(settings, "heir"))
    await back.wait()
    events = await backend.has(job_id, "restarted")
    assert next(event.fields()["reason"] for event in events if event.type == "restarted") == reason
    lost = await command(backend.redis, "HGET", backend.keys.job(job_id), "lost")
    assert lost == (b"1" if reason == "model_cut" else b"0")
    await backend.log.cancel(job_id, "test")
