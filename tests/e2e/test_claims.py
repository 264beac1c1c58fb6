"""The claim of a job: its reply is lost, Redis dies with it, or it comes too late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.e2e.jobs import assert_unharmed, chat, paced, submit
from tests.support.history import assert_whole, kinds
from tests.support.proxy import Proxy, is_multiplexed, once
from tests.support.stack import Stack
from tests.support.waiting import until


def fall_silent(proxy: Proxy) -> None:
    assert proxy.freeze(is_multiplexed) == 1


@pytest.mark.parametrize(
    "how",
    [
        "cut",
        "silent",
        "Redis killed",
        pytest.param("Redis killed for longer than the lease", marks=pytest.mark.slow),
    ],
)
async def test_a_claim_whose_reply_is_lost_is_asked_for_again_and_is_no_lost_worker(
    two_workers: Stack, how: str
) -> None:
    """A job whose policy is to fail with its worker is done, in its first attempt, after one call to the model."""
    acts: dict[str, Callable[[Proxy], object]] = {"cut": Proxy.cut, "silent": fall_silent}
    act = acts.get(how, lambda _: two_workers.redis.kill())
    body = paced(tokens=30, rate=200) | {"on_worker_lost": "fail"}
    first, other = two_workers.workers
    other.kill()
    first.stop()
    job = await submit(two_workers, body)
    watcher = job.watcher(resumes=False)
    watching = asyncio.create_task(watcher.run())
    await until(lambda: watcher.history, "the first event")
    # Only the reply to the claim has the request in it.
    question = job.question.encode()
    lost = once(two_workers.worker_route, lambda piece: question in piece, act, keep=False)
    first.cont()
    await asyncio.wait_for(lost.wait(), 100)
    if how.startswith("Redis"):
        if how != "Redis killed":
            await asyncio.sleep(4)  # the outage itself: there is nothing to wait for
        await asyncio.to_thread(two_workers.redis.restart)
    await assert_unharmed(job, watching)
    assert kinds(two_workers.log_of(job.id)) == ["queued", "started", "content", "done"]
    assert (len(two_workers.generations(job.question)), two_workers.hash_of(job.id)["lost"]) == (1, "0")


@pytest.mark.parametrize(
    "claim",
    [
        pytest.param("done, its reply lost", marks=pytest.mark.slow),
        pytest.param("lost", marks=pytest.mark.slow),
        "late",
    ],
)
async def test_a_claim_that_comes_after_its_lease_does_not_fence_out_the_jobs_worker(
    two_workers: Stack, claim: str
) -> None:
    """The worker's connection is silent for longer than the lease; meanwhile another worker has claimed the job."""
    first, successor = two_workers.workers
    first.restart(READALONG_REDIS_TIMEOUT="8")
    successor.restart(READALONG_REDIS_URL=two_workers.redis.url)  # this one does not use the silent route
    for worker in (first, successor):
        await asyncio.to_thread(worker.line, "(ready:)")
    first.stop()
    successor.stop()
    job = await submit(two_workers, chat("demo-endless"))
    claimed = claim.startswith("done")
    # The reply to the claim has the request. The reply to the acquire has id, place and end of the lease. The sweep's
    # reply names the job as well.
    words = (job.question if claimed else f"*3\r\n$22\r\n{job.id}").encode()
    silent = once(two_workers.worker_route, lambda piece: words in piece, fall_silent, keep=not claimed)
    first.cont()
    await asyncio.wait_for(silent.wait(), 100)
    successor.cont()
    await job.reach(5)
    if claim == "late":
        two_workers.worker_route.do(Proxy.resume)
    await until(lambda: "its lease was lost before it was claimed" in first.output, "the first one to notice")
    await job.reach(len(two_workers.log_of(job.id)) + 5)
    assert (await job.worker()).pid == successor.pid
    await job.cancel()
    shown = await job.ended()
    assert_whole(two_workers.log_of(job.id))
    assert (shown["status"], shown["attempt"]) == ("cancelled", 1 + claimed)
    assert len(two_workers.generations(job.question)) == 1
