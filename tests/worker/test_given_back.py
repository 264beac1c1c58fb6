"""A worker that acquires its own job, since the lease was over, and jobs whose lease is being released."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from readalong.store.queue import LeasedJob
from readalong.worker.worker import QueueWorker
from tests.readalong.helpers import types
from tests.support.waiting import until
from tests.worker.helpers import Backend, demo_at, settings_for, working


def takes_once_more(
    worker: QueueWorker, patch: pytest.MonkeyPatch, replies: Callable[[], bool] = lambda: True
) -> asyncio.Event:
    """Makes the worker acquire jobs once more; the reply comes when `replies` says so. The returned event is set
    when it got some."""
    take, taken = worker._queue.acquire, asyncio.Event()

    async def take_once_more(*given: Any) -> list[LeasedJob]:
        if taken.is_set():
            return []
        jobs = await take(*given)
        if jobs:
            taken.set()
            await until(replies)
        return jobs

    patch.setattr(worker._queue, "acquire", take_once_more)
    return taken


async def arq_runs(worker: QueueWorker, job_id: str) -> asyncio.Task[None]:
    """Waits until arq has read its record of the job, for which the model need not wait, and runs it. Cancelled before,
    arq gives nothing back: the lease runs out. Returns the job's task."""
    await until(lambda: job_id in worker.job_tasks)
    return worker.tasks[job_id]


async def test_a_worker_that_takes_a_job_from_itself_goes_on_with_it(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an outage that was longer than the lease, it acquires before it renews."""
    long = settings_for(str(backend.settings.redis_url), lease=60)
    async with demo_at(monkeypatch) as demo, working(long) as one:
        job_id = await backend.submit("demo-endless", rate=200)
        await backend.has(job_id, "content")
        run = one.runs[job_id]
        await backend.redis.zadd(backend.keys.leases, {job_id: 1})

        async def taken_again() -> bool:
            return bool(await backend.redis.zscore(backend.keys.leases, job_id) != 1)

        await until(taken_again)
        await backend.has(job_id, "content", 10)
        assert one.runs == {job_id: run}
        await backend.log.cancel(job_id, "test")
        events = await backend.ended(job_id)
        assert (events[-1].type, types(events).count("restarted")) == ("cancelled", 0)
        assert len((await demo.stats())["requests"]) == 1


async def test_a_job_taken_again_while_its_last_run_ends_is_run_again_after_it(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs of one job in one process would forget each other's slot and lease."""
    long = settings_for(str(backend.settings.redis_url), lease=60)
    async with demo_at(monkeypatch) as demo, working(long) as one:
        queue, worker = one.worker._queue, one.worker
        give_back = queue.nack

        async def give_back_and_see_it_taken(worker_id: str, given: str) -> bool:
            answer = await give_back(worker_id, given)
            await until(lambda: job_id in worker._acquired_again)
            return answer

        monkeypatch.setattr(queue, "nack", give_back_and_see_it_taken)
        job_id = await backend.submit("demo-hang")
        await demo.streaming()
        first = await arq_runs(worker, job_id)
        first.cancel()
        await backend.has(job_id, "restarted")
        assert first.done()
        assert list(worker.tasks) == [job_id]
        await backend.log.cancel(job_id, "test")
        assert (await backend.ended(job_id))[-1].type == "cancelled"


async def test_a_worker_that_took_a_job_from_itself_runs_it_no_more_once_it_gave_it_back(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker had claimed it meanwhile, and died. A run without a lease would be a second one beside that of the
    next worker, and would count a lost worker where none was lost."""
    long = settings_for(str(backend.settings.redis_url), lease=60)
    async with demo_at(monkeypatch), working(long) as one:
        job_id = await backend.submit("demo-endless", rate=200)
        await backend.has(job_id, "content")
        run = one.runs[job_id]
        with monkeypatch.context() as patch:
            taken = takes_once_more(one.worker, patch)
            await backend.redis.zadd(backend.keys.leases, {job_id: 1})
            await taken.wait()
            await backend.log.claim(job_id, b'{"id":"another"}', "token")
            await until(lambda: job_id not in one.worker.tasks or one.runs.get(job_id) not in (None, run))
            assert not one.worker.tasks
            assert types(await backend.events(job_id)).count("restarted") == 1
            assert [job.job_id for job in await backend.queue.acquire("another", 1)] == [job_id]
            await backend.queue.nack("another", job_id)
        await backend.has(job_id, "restarted", 2)
        await backend.log.cancel(job_id, "test")
        assert types(await backend.ended(job_id)).count("restarted") == 2


async def test_a_job_that_a_worker_took_from_itself_and_gave_back_is_left_to_the_next_worker(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The acquire came first in Redis, but its reply during the release. As above, the job has no lease."""
    long = settings_for(str(backend.settings.redis_url), lease=60)
    async with demo_at(monkeypatch), working(long) as one:
        worker = one.worker
        begin, give_back, told = worker._accept, worker._queue.nack, asyncio.Event()

        async def begin_and_tell(*given: Any) -> None:
            told.set()
            await begin(*given)

        async def give_back_and_wait(*given: str) -> bool:
            answer = await give_back(*given)
            await told.wait()
            return answer

        job_id = await backend.submit("demo-endless", rate=200)
        await backend.has(job_id, "content")
        first = worker.tasks[job_id]
        with monkeypatch.context() as patch:
            taken = takes_once_more(worker, patch, lambda: bool(worker._releasing))
            patch.setattr(worker, "_accept", begin_and_tell)
            patch.setattr(worker._queue, "nack", give_back_and_wait)
            await backend.redis.zadd(backend.keys.leases, {job_id: 1})
            await taken.wait()
            await backend.log.claim(job_id, b'{"id":"another"}', "token")
            await asyncio.wait([first])
            assert not worker.tasks
            assert [job.job_id for job in await backend.queue.acquire("another", 1)] == [job_id]
            await backend.queue.nack("another", job_id)
        await backend.log.cancel(job_id, "test")
        await backend.ended(job_id)


async def test_a_job_that_an_acquire_under_way_takes_right_after_its_release_is_run_again(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The acquire was called before the release began, and Redis served it after the release. The job would have a
    holder, and no run, until the lease is over."""
    long = settings_for(str(backend.settings.redis_url), lease=300)
    async with demo_at(monkeypatch), working(long) as one:
        worker = one.worker
        take, give_back, begin = worker._queue.acquire, worker._queue.nack, worker._accept
        asked, given_back, told = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def take_after_release(*given: Any) -> list[LeasedJob]:
            asked.set()
            await given_back.wait()
            return await take(*given)

        async def give_back_and_wait(*given: str) -> bool:
            answer = await give_back(*given)
            given_back.set()
            await told.wait()
            return answer

        async def begin_and_tell(*given: Any) -> None:
            told.set()
            await begin(*given)

        job_id = await backend.submit("demo-hang")
        first = await arq_runs(worker, job_id)
        monkeypatch.setattr(worker._queue, "acquire", take_after_release)
        monkeypatch.setattr(worker._queue, "nack", give_back_and_wait)
        monkeypatch.setattr(worker, "_accept", begin_and_tell)
        await asked.wait()
        first.cancel()
        await until(lambda: worker.tasks.get(job_id) not in (None, first))
        await backend.has(job_id, "restarted")
        await backend.log.cancel(job_id, "test")
        assert (await backend.ended(job_id))[-1].type == "cancelled"


async def test_a_job_that_is_given_back_is_not_taken_back_by_the_renewal_of_leases(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that does not run the job would hold it until the lease is over."""
    long = settings_for(str(backend.settings.redis_url), lease=60)
    async with demo_at(monkeypatch), working(long) as one:
        queue = one.worker._queue
        give_back = queue.nack

        async def give_back_and_renew(*given: str) -> bool:
            answer = await give_back(*given)
            await one.worker._renew()
            return answer

        monkeypatch.setattr(queue, "nack", give_back_and_renew)
        job_id = await backend.submit("demo-endless", rate=200)
        await backend.has(job_id, "content")
        await one.stop()
        assert [job.job_id for job in await backend.queue.acquire("heir", 1)] == [job_id]
