"""A long outage of Redis: buffers are bounded, no process spins, and the job ends as the limit says."""

from __future__ import annotations

import asyncio

import pytest

from readalong.core.settings import Settings
from tests.e2e.jobs import chat, paced, submit
from tests.support.client import call
from tests.support.history import assert_whole, text
from tests.support.proxy import Proxy
from tests.support.stack import SETTINGS, Stack
from tests.support.waiting import until

#: Seconds that jobs wait for Redis.
LIMIT = 2.0


def lose(proxy: Proxy, how: str) -> None:
    """Connections are refused, or stay open and silent."""
    if how == "refused":
        proxy.refusing = True
        proxy.cut()
    else:
        proxy.stall()


@pytest.mark.parametrize(
    ("stage", "how"),
    [
        pytest.param("before the first token", "refused", marks=pytest.mark.slow),
        ("streaming", "refused"),
        pytest.param("streaming", "silent", marks=pytest.mark.slow),
        pytest.param("finishing", "refused", marks=pytest.mark.slow),
    ],
)
async def test_a_job_whose_redis_was_away_beyond_the_limit_has_failed_when_it_is_back(
    routed: Stack, stage: str, how: str
) -> None:
    """At the limit the model's connection closes, so that it costs nothing until Redis returns."""
    routed.workers[0].restart(READALONG_REDIS_OUTAGE_TIMEOUT=f"{LIMIT}")
    first = 1.5 if stage == "before the first token" else 0
    # Two seconds of text: the model ends before the limit, and not before the outage.
    tokens, rate = (20, 10) if stage == "finishing" else (5000, 50)
    job = await submit(routed, paced(tokens=tokens, rate=rate, first_token_seconds=first))
    watching = asyncio.create_task(job.watcher(resumes=False).run())
    await job.at_model()
    if stage != "before the first token":
        await job.reach(4)
    routed.worker_route.do(lambda proxy: lose(proxy, how))
    await until(lambda: routed.generations(job.question)[0]["state"] != "open", "the model to be let go")
    if stage == "finishing":
        await asyncio.sleep(2 * LIMIT)  # the outage itself: there is nothing to wait for
    routed.worker_route.do(Proxy.mend)
    shown = await job.ended()
    log = routed.log_of(job.id)
    assert_whole(log, (await watching).history)
    assert (shown["status"], shown["error"]["code"], shown["error"]["retryable"]) == ("failed", "redis_outage", True)
    assert job.text.startswith(text(log))
    assert shown["content"] == text(log)


@pytest.mark.slow
async def test_jobs_that_wait_for_redis_spin_neither_the_worker_nor_the_network(routed: Stack) -> None:
    """Twenty jobs wait at once: they share their connection attempts, and all continue where they were."""
    jobs = [await submit(routed, paced(tokens=40, rate=40)) for _ in range(20)]
    for job in jobs:
        await job.reach(3)
    worker, route = routed.workers[0], routed.worker_route
    route.do(lambda proxy: lose(proxy, "refused"))
    cpu, accepted = worker.cpu_seconds, route.do(lambda proxy: proxy.accepted)
    await asyncio.sleep(2)  # the outage itself: there is nothing to wait for
    tries = route.do(lambda proxy: proxy.accepted) - accepted
    used = worker.cpu_seconds - cpu
    route.do(Proxy.mend)
    for job in jobs:
        shown = await job.ended()
        assert (shown["status"], shown["attempt"], shown["content"]) == ("done", 1, job.text)
        assert_whole(routed.log_of(job.id))
    # Ten attempts a second by each of two multiplexed connections, three connections each, and a few of the pool; one
    # by one it were 500.
    assert tries <= 150
    assert used <= 1


async def test_callers_that_wait_for_a_silent_redis_wait_for_one_try_and_not_for_one_another(routed: Stack) -> None:
    """Behind a silent route, each attempt takes the whole time-out."""
    job = await submit(routed, paced(tokens=3, rate=0))
    await job.ended()
    route = routed.api_route
    route.do(lambda proxy: lose(proxy, "silent"))
    accepted = route.do(lambda proxy: proxy.accepted)
    answers = await asyncio.gather(*(call("GET", f"{routed.url}/v1/jobs/{job.id}") for _ in range(50)))
    tries = route.do(lambda proxy: proxy.accepted) - accepted
    assert {answer.status for answer in answers} == {503}
    assert {answer.json()["code"] for answer in answers} == {"redis_unavailable"}
    assert tries <= 40, "the heartbeat's and the subscription's are among them"


async def test_a_worker_that_waits_for_redis_does_not_read_on_from_the_model(routed: Stack) -> None:
    """The model sends as fast as it can, without an end: the network stops it, before the worker's memory fills."""
    job = await submit(routed, chat("demo-fast+endless"))
    await job.reach(3)
    route = routed.worker_route
    route.do(lambda proxy: lose(proxy, "refused"))
    sent = [0, 1]

    async def stands() -> bool:
        sent.append(routed.generations(job.question)[0]["tokens"])
        await asyncio.sleep(0.1)
        return len(set(sent[-5:])) == 1

    await until(stands, "the model to stop sending")
    assert routed.generations(job.question)[0]["state"] == "open"
    route.do(Proxy.mend)
    await until(lambda: routed.generations(job.question)[0]["tokens"] > sent[-1], "the model to send on")
    await job.cancel()
    assert (await job.ended())["status"] == "cancelled"
    await job.model_let_go()


@pytest.mark.slow
async def test_a_job_goes_on_after_thirty_seconds_without_redis_under_the_default_settings() -> None:
    """Redis is killed in mid-stream. The lease, all time-outs and heartbeats have passed when it returns."""
    usual = {
        name: str(Settings.model_fields[name.removeprefix("READALONG_").lower()].default)
        for name in SETTINGS
        if name != "READALONG_MODEL"
    }
    with Stack(aof=True, apis=2, workers=2, settings=usual) as stack:
        job = await submit(stack, paced(tokens=200, rate=20))
        # No watcher may lose its connection to the API.
        watchers = [asyncio.create_task(job.watcher(url, resumes=False).run()) for url in stack.urls]
        await job.reach(20)
        stack.redis.kill()
        cpu = [process.cpu_seconds for process in stack.processes]
        await asyncio.sleep(30)  # the outage itself: there is nothing to wait for
        used = [process.cpu_seconds - before for process, before in zip(stack.processes, cpu, strict=True)]
        stack.redis.restart()
        shown = await job.ended()
        assert (shown["status"], shown["attempt"]) == ("done", 1)
        assert_whole(stack.log_of(job.id), *[(await watching).history for watching in watchers])
        assert len(stack.generations(job.question)) == 1
        assert all(process.running for process in stack.processes)
        assert max(used) <= 3, f"{used} s of CPU of thirty"
