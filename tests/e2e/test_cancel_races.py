"""Cancels that race with the job's end, a lost worker, a paused worker or a cut connection.

One end, and no open connection.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

import pytest
from arq.connections import ArqRedis
from pydantic import AnyUrl

from readalong.core.errors import StoreUnavailable
from readalong.core.settings import Settings
from readalong.redis.client import connect
from readalong.redis.facade import RedisFacade
from readalong.store.job_index import JobIndex
from readalong.store.log import Log
from tests.e2e.jobs import Job, chat, paced, submit
from tests.e2e.test_cancelling import assert_cancelled
from tests.support.history import assert_whole, kinds
from tests.support.proxy import Proxy
from tests.support.stack import Stack
from tests.support.waiting import until


async def test_cancels_that_race_the_end_leave_exactly_one(stack: Stack) -> None:
    """Sixty short jobs, each cancelled at a random moment on both replicas at once."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)

    async def one() -> str:
        job = await submit(stack, paced(tokens=20, rate=chance.choice((0, 100, 400))))
        await asyncio.sleep(chance.uniform(0, 0.25))  # the random moment
        answers = await asyncio.gather(*(job.cancel(url) for url in stack.urls))
        assert {answer.status for answer in answers} == {202}
        shown = await job.ended()
        log = stack.log_of(job.id)
        assert_whole(log)
        assert (log[-1].event, log[-1].fields["content"]) == (shown["status"], shown["content"]), f"seed {seed}"
        await job.model_let_go()
        return str(shown["status"])

    ends: list[str] = []
    for _ in range(6):
        ends += await asyncio.gather(*(one() for _ in range(10)))
    assert set(ends) <= {"done", "cancelled"}, f"seed {seed}: {ends}"
    assert "cancelled" in ends, f"seed {seed}"


async def test_a_job_that_was_restarted_after_a_loss_is_cancelled(stack: Stack) -> None:
    job = await submit(stack, chat("demo-endless"))
    await job.reach(5)
    (await job.worker()).kill()
    await until(lambda: "restarted" in kinds(stack.log_of(job.id)), "another worker to go on")
    await job.at_model(2)
    await job.cancel(stack.urls[1])
    shown = await job.ended()
    log = stack.log_of(job.id)
    assert_whole(log)
    assert (shown["status"], kinds(log).count("restarted"), log[-1].event) == ("cancelled", 1, "cancelled")
    await job.model_let_go()


@pytest.mark.slow
async def test_a_paused_worker_whose_job_is_cancelled_elsewhere_writes_nothing_and_drops_its_model(
    stack: Stack,
) -> None:
    """The successor ends the job; the zombie finds out when it wakes up."""
    job = await submit(stack, chat("demo-endless"))
    await job.reach(5)
    worker = await job.worker()
    worker.stop()
    await job.cancel()
    shown = await job.ended()
    assert shown["status"] == "cancelled"
    ended = stack.log_of(job.id)
    worker.cont()
    await job.model_let_go()
    assert stack.log_of(job.id) == ended
    assert_whole(ended)
    assert len(stack.generations(job.question)) == 1


@pytest.mark.slow
async def test_a_cancel_whose_reply_is_lost_is_kept(stack: Stack) -> None:
    """Redis has done the cancel, and its connection is cut before the reply: for running, silent and queued jobs.

    A second cancel adds no second end.
    """
    running, silent = await submit(stack, chat("demo-endless")), await submit(stack, chat("demo-hang"))
    await running.reach(5)
    await silent.at_model()
    async with Proxy(stack.redis.port) as proxy:
        settings = Settings(redis_url=AnyUrl(proxy.url), redis_timeout=1)
        redis = connect(settings)
        try:
            for job in (running, silent):
                await _cancel_and_lose_the_reply(redis, settings, proxy, job)
        finally:
            await redis.aclose()
    for job in (running, silent):
        await assert_cancelled(job, by="lost")
        assert (await job.cancel()).status == 202
        assert [entry.event for entry in stack.log_of(job.id)].count("cancelled") == 1


async def _cancel_and_lose_the_reply(redis: ArqRedis, settings: Settings, proxy: Proxy, job: Job) -> None:
    await JobIndex(RedisFacade(redis, settings), settings).now()  # this opens the connection

    def lost(_: bytes) -> bool:
        return False

    proxy.keeps = lost
    with pytest.raises(StoreUnavailable):
        await Log(RedisFacade(redis, settings), settings).cancel(job.id, "lost")
    proxy.keeps = None
    proxy.cut()


async def test_redis_that_drops_every_line_right_after_a_cancel_keeps_it(stack: Stack) -> None:
    """CLIENT KILL of all connections cuts off the nudge and the appends; the flag stays."""
    running, silent = await submit(stack, chat("demo-endless")), await submit(stack, chat("demo-hang"))
    await running.reach(5)
    await silent.at_model()
    for job in (running, silent):
        stack.redis.command("SET", stack.keys.cancel(job.id), "ada")
        stack.redis.command("CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "YES")
        stack.redis.command("CLIENT", "KILL", "TYPE", "PUBSUB")
    for job in (running, silent):
        await assert_cancelled(job, by="ada")


@pytest.mark.slow
async def test_cancels_close_the_models_connections_while_thirty_others_stream(
    stack: Stack, record_property: Callable[[str, object], None]
) -> None:
    """Streaming and silent jobs in turn; the others continue.

    The time from the cancel until the model's connection closes is recorded, not asserted: this machine may be busy.
    """
    others = [await submit(stack, chat("demo-endless")) for _ in range(30)]
    waits: list[float] = []
    for number in range(20):
        job = await submit(stack, chat("demo-hang" if number % 2 else "demo-endless"))
        await job.at_model()
        if number % 2 == 0:
            await job.reach(4)
        began = time.time()
        await job.cancel(stack.urls[number % 2])
        await assert_cancelled(job)
        (made,) = stack.generations(job.question)
        assert made["state"] == "gone"
        waits.append(made["ended_at"] - began)
    record_property("milliseconds to the closed connection", [round(1000 * wait) for wait in sorted(waits)])
    for other in others:
        assert (await other.show())["status"] == "running"
        await other.cancel()
    for other in others:
        await assert_cancelled(other)
