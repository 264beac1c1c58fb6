"""From a worker's acquire to its claims: lost replies, pauses, and a full memory."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from readalong.core.errors import StoreUnavailable
from readalong.store.log import Claim
from readalong.store.queue import LeasedJob
from readalong.worker.model.chunks.accumulator import ChunkAccumulator
from tests.readalong.helpers import command, types
from tests.support.waiting import WITHIN, until
from tests.worker.helpers import Backend, Working, demo_at, settings_for, text_of, working


def loses_replies(one: Working, monkeypatch: pytest.MonkeyPatch, count: int) -> list[list[LeasedJob]]:
    """Drops the replies to the next acquires that got jobs. Yields the replies that arrive."""
    take = one.worker._queue.acquire
    replies: list[list[LeasedJob]] = []

    async def take_and_lose(*given: Any) -> list[LeasedJob]:
        nonlocal count
        taken = await take(*given)
        if taken and count:
            count -= 1
            raise StoreUnavailable("the reply was lost")
        if taken:
            replies.append(taken)
        return taken

    monkeypatch.setattr(one.worker._queue, "acquire", take_and_lose)
    return replies


async def test_jobs_whose_take_got_no_reply_run_at_once_and_not_when_the_lease_is_over(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The repeat acquires no more than the free slots."""
    settings = settings_for(str(backend.settings.redis_url), lease=60, max_jobs=2)
    async with demo_at(monkeypatch) as demo:
        async with working(settings) as one:
            replies = loses_replies(one, monkeypatch, 2)
            jobs = [await backend.write("demo-fast") for _ in range(5)]
            await asyncio.gather(*(backend.queue.enqueue(job_id, 0) for job_id in jobs))
            for job_id in jobs:
                events = await backend.ended(job_id)
                assert types(events).count("started") == 1
                assert "restarted" not in types(events)
        assert max(map(len, replies)) <= 2
        assert len(await demo.bodies()) == 5


async def test_a_worker_that_was_paused_between_acquire_and_claim_does_not_fence_out_the_jobs_worker(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A claim would be the next attempt: a second generation, and a lost worker where none was lost."""
    settings = settings_for(str(backend.settings.redis_url), lease=3)
    paused, gone_on = asyncio.Event(), asyncio.Event()
    async with demo_at(monkeypatch) as demo:
        async with working(settings, "paused") as one:
            take = one.worker._queue.acquire

            async def take_and_pause(*given: Any) -> list[LeasedJob]:
                taken = await take(*given)
                if taken:
                    paused.set()
                    await gone_on.wait()
                return taken

            monkeypatch.setattr(one.worker._queue, "acquire", take_and_pause)
            job_id = await backend.submit("demo-endless", rate=200)
            await asyncio.wait_for(paused.wait(), WITHIN)
            async with working(settings, "heir") as heir:
                await backend.has(job_id, "content", 3)
                assert list(heir.runs) == [job_id]
                gone_on.set()
                await until(lambda: "its lease was lost before it was claimed" in caplog.text, "the worker to notice")
                await backend.has(job_id, "content", 30)
                await backend.log.cancel(job_id, "test")
                events = await backend.ended(job_id)
        assert (events[-1].type, types(events).count("restarted")) == ("cancelled", 0)
        assert len(await demo.bodies()) == 1


async def test_a_job_that_its_worker_takes_again_while_its_first_claim_waits_runs_once(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim comes after the end of the lease that it names. It has no effect, and uses up no attempt."""
    settings = settings_for(str(backend.settings.redis_url), lease=60)
    claims, gone_on = [0], asyncio.Event()
    async with demo_at(monkeypatch), working(settings) as one:
        claim = one.worker._log.claim

        async def claim_late(job_id: str, worker: bytes, token: str, ends: int) -> Claim:
            claims[0] += 1
            if claims[0] == 1:
                await gone_on.wait()
                ends = 1
            return await claim(job_id, worker, token, ends)

        monkeypatch.setattr(one.worker._log, "claim", claim_late)
        job_id = await backend.submit("demo-fast")
        await until(lambda: claims[0], "the claim")
        await backend.redis.zadd(backend.keys.leases, {job_id: 1})

        async def taken_again() -> bool:
            return (await backend.redis.zscore(backend.keys.leases, job_id) or 0) > 1

        await until(taken_again, "it to take the job again")
        gone_on.set()
        events = await backend.ended(job_id)
    assert claims == [2]
    assert (types(events).count("started"), types(events).count("restarted"), events[-1].type) == (1, 0, "done")


async def test_a_worker_without_memory_gives_its_job_to_another_and_ends(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts as a lost attempt: a job that uses up all memory must not do so for ever."""
    settings = settings_for(str(backend.settings.redis_url), lease=60)
    add = ChunkAccumulator.add

    def add_much(chunks: ChunkAccumulator, data: bytes) -> Any:
        if chunks.count == 5:
            bytearray(1 << 62)
        return add(chunks, data)

    async with demo_at(monkeypatch):
        async with working(settings, "full") as one:
            with monkeypatch.context() as patch:
                patch.setattr(ChunkAccumulator, "add", add_much)
                patch.setattr(ChunkAccumulator, "add_frame", lambda *_: [])  # each chunk goes to `add`
                job_id = await backend.submit(rate=200, demo={"tokens": 40})
                await one.task
            assert one.worker.out_of_memory
            async with working(settings, "heir"):
                events = await backend.ended(job_id)
        (restarted,) = [event.fields() for event in events if event.type == "restarted"]
        assert (restarted["reason"], restarted["worker"]["id"]) == ("worker_lost", "heir")
        assert events[-1].type == "done"
        assert text_of(events) == events[-1].fields()["content"] != ""
        assert await command(backend.redis, "HGET", backend.keys.job(job_id), "lost") == b"1"
