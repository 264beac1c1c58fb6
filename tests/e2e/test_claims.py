"""The claim of a job: its reply is lost, Redis dies with it, or it comes too late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.e2e.jobs import assert_unharmed, chat, paced, submit
from tests.support.history import assert_whole, kinds
from tests.support.proxy import Proxy, is_pipe, once
from tests.support.stack import Stack
from tests.support.waiting import until


def fall_silent(proxy: Proxy) -> None:
    assert proxy.freeze(is_pipe) == 1


@pytest.mark.parametrize(
    "how",
    [
        "cut",
        "silent",
        "Redis killed",
        pytest.param("Redis killed for longer than the lease", marks=pytest.mark.slow),
    ],
)
async def test_a_claim_whose_reply_is_lost_is_asked_for_again_and_is_no_lost_worker(pair: Stack, how: str) -> None:
    """A job whose policy is to fail with its worker is done, in its first attempt, after one call to the model."""
    acts: dict[str, Callable[[Proxy], object]] = {"cut": Proxy.cut, "silent": fall_silent}
    act = acts.get(how, lambda _: pair.redis.kill())
    body = paced(tokens=30, rate=200) | {"on_worker_lost": "fail"}
    first, other = pair.workers
    other.kill()
    first.stop()
    job = await submit(pair, body)
    watcher = job.watcher(resumes=False)
    watching = asyncio.create_task(watcher.run())
    await until(lambda: watcher.history, "the first event")
    # Only the reply to the claim has the request in it.
    question = job.question.encode()
    lost = once(pair.worker_route, lambda piece: question in piece, act, keep=False)
    first.cont()
    await asyncio.wait_for(lost.wait(), 100)
    if how.startswith("Redis"):
        if how != "Redis killed":
            await asyncio.sleep(4)  # the outage itself: there is nothing to wait for
        await asyncio.to_thread(pair.redis.restart)
    await assert_unharmed(job, watching)
    assert kinds(pair.log_of(job.id)) == ["queued", "started", "content", "done"]
    assert (len(pair.generations(job.question)), pair.hash_of(job.id)["lost"]) == (1, "0")


@pytest.mark.parametrize(
    "claim",
    [
        pytest.param("done, its reply lost", marks=pytest.mark.slow),
        pytest.param("lost", marks=pytest.mark.slow),
        "late",
    ],
)
async def test_a_claim_that_comes_after_its_lease_does_not_fence_out_who_runs_the_job(pair: Stack, claim: str) -> None:
    """The worker's connection is silent for longer than the lease; meanwhile another worker has claimed the job."""
    first, heir = pair.workers
    first.restart(READALONG_REDIS_TIMEOUT="8")
    heir.restart(READALONG_REDIS_URL=pair.redis.url)  # this one does not use the silent route
    for worker in (first, heir):
        await asyncio.to_thread(worker.line, "(ready:)")
    first.stop()
    heir.stop()
    job = await submit(pair, chat("demo-endless"))
    claimed = claim.startswith("done")
    # The reply to the claim has the request. The reply to the acquire has id, place and end of the lease. The sweep's
    # reply names the job as well.
    words = (job.question if claimed else f"*3\r\n$22\r\n{job.id}").encode()
    silent = once(pair.worker_route, lambda piece: words in piece, fall_silent, keep=not claimed)
    first.cont()
    await asyncio.wait_for(silent.wait(), 100)
    heir.cont()
    await job.reach(5)
    if claim == "late":
        pair.worker_route.do(Proxy.resume)
    await until(lambda: "its lease was lost before it was claimed" in first.output, "the first one to notice")
    await job.reach(len(pair.log_of(job.id)) + 5)
    assert (await job.worker()).pid == heir.pid
    await job.cancel()
    shown = await job.ended()
    assert_whole(pair.log_of(job.id))
    assert (shown["status"], shown["attempt"]) == ("cancelled", 1 + claimed)
    assert len(pair.generations(job.question)) == 1
