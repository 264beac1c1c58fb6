"""A job with `cancel_on_disconnect` is cancelled as soon as its last watcher has been gone for long enough."""

from __future__ import annotations

import pytest

from readalong.core.errors import StoreUnavailable
from readalong.core.settings import Settings
from readalong.redis.facade import RedisFacade
from readalong.store.presence import PresenceStore
from readalong.worker.abandoned_jobs import AbandonedJobs
from tests.readalong.helpers import command, types
from tests.support.servers import RedisServer
from tests.worker.helpers import Backend, demo_at, working


@pytest.fixture
def watched(backend: Backend, settings: Settings) -> PresenceStore:
    return PresenceStore(RedisFacade(backend.redis, settings), settings)


@pytest.fixture
def orphans(backend: Backend, watched: PresenceStore) -> AbandonedJobs:
    return AbandonedJobs(backend.log, watched, turns=backend.turns)


async def leave(backend: Backend, *job_ids: str) -> None:
    """Ages the presence of these jobs: their last watchers have been gone for long enough."""
    for job_id in job_ids:
        await command(backend.redis, "ZADD", backend.keys.presence, 1, job_id)
    await command(backend.redis, "SET", backend.keys.orphans_from, 1, "PX", 60_000)


async def named(backend: Backend) -> set[str]:
    """Returns the ids in the set."""
    return {member.decode() for member in await backend.redis.zrange(backend.keys.presence, 0, -1)}


async def test_a_queued_orphan_ends_at_once_and_leaves_the_queue(backend: Backend, orphans: AbandonedJobs) -> None:
    job_id = await backend.submit(for_watchers=True)
    await leave(backend, job_id)
    await orphans.turn()
    events = await backend.events(job_id)
    assert (types(events), events[-1].fields()["by"]) == (["queued", "cancelled"], "disconnect")
    assert await backend.is_closed(job_id)
    assert await named(backend) == set()


async def test_a_running_orphan_is_flagged_for_its_worker(backend: Backend, orphans: AbandonedJobs) -> None:
    job_id = await backend.submit(for_watchers=True)
    await backend.queue.acquire("w", 1)
    await backend.log.claim(job_id, b"{}", "token")
    await leave(backend, job_id)
    await orphans.turn()
    assert (await backend.log.append(job_id, 1, 3, [("content", b'{"content":"a"}')])).cancel_flag is not None
    assert not await backend.is_closed(job_id)
    assert await named(backend) == set()


@pytest.mark.parametrize("wish", [False, True])
async def test_a_job_that_does_not_want_it_is_never_cancelled(
    backend: Backend, orphans: AbandonedJobs, wish: bool
) -> None:
    """Two submits with one key may differ in the option: the job's hash decides, also when a person has changed it."""
    job_id = await backend.submit(for_watchers=wish)
    if wish:
        await command(backend.redis, "HSET", backend.keys.job(job_id), "cancel_on_disconnect", "0")
    await leave(backend, job_id)
    await orphans.turn()
    assert types(await backend.events(job_id)) == ["queued"]
    assert not await backend.redis.exists(backend.keys.cancel(job_id))
    assert await named(backend) == set()


async def test_jobs_that_ended_or_are_gone_leave_the_set_and_get_no_flag(
    backend: Backend, orphans: AbandonedJobs
) -> None:
    ended, gone = await backend.submit(for_watchers=True), "never-written-0123456789"
    await backend.log.cancel(ended, "client")
    await backend.redis.delete(backend.keys.cancel(ended))
    await leave(backend, ended, gone)
    await orphans.turn()
    assert await named(backend) == set()
    assert await backend.redis.exists(backend.keys.cancel(ended), backend.keys.cancel(gone)) == 0
    assert types(await backend.events(ended)) == ["queued", "cancelled"]


async def test_an_orphan_with_a_corrupt_record_does_not_keep_the_others_from_being_cancelled(
    backend: Backend, orphans: AbandonedJobs
) -> None:
    jobs = [await backend.submit(for_watchers=True) for _ in range(3)]
    broken = jobs.pop(1)
    await backend.redis.set(backend.keys.job(broken), "by hand")
    await leave(backend, broken, *jobs)
    await orphans.turn()
    assert [types(await backend.events(job_id))[-1] for job_id in jobs] == ["cancelled"] * 2
    assert await named(backend) == {broken}


async def test_an_orphan_without_a_status_is_no_job(backend: Backend, orphans: AbandonedJobs) -> None:
    """The field was deleted by hand. To all other readers the job is gone."""
    jobs = [await backend.submit(for_watchers=True) for _ in range(2)]
    await command(backend.redis, "HDEL", backend.keys.job(jobs[0]), "status")
    await leave(backend, *jobs)
    await orphans.turn()
    assert types(await backend.events(jobs[1]))[-1] == "cancelled"
    assert await named(backend) == set()


async def test_more_orphans_than_a_page_are_all_cancelled(
    backend: Backend, orphans: AbandonedJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("readalong.worker.abandoned_jobs._PAGE", 2)
    jobs = [await backend.submit(for_watchers=True) for _ in range(5)]
    await leave(backend, *jobs)
    await orphans.turn()
    assert [types(await backend.events(job_id))[-1] for job_id in jobs] == ["cancelled"] * 5
    assert await named(backend) == set()


async def test_an_orphan_whose_canceller_dies_is_cancelled_by_the_next(
    backend: Backend, orphans: AbandonedJobs, watched: PresenceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis goes away between the look and the cancel."""
    job_id = await backend.submit(for_watchers=True)
    await leave(backend, job_id)

    async def die(*_: object) -> None:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(backend.log, "cancel", die)
        await orphans.turn()
    assert await named(backend) == {job_id}
    await leave(backend, job_id)
    await orphans.turn()
    assert types(await backend.events(job_id))[-1] == "cancelled"


async def test_a_worker_looks_by_itself_and_lets_go_of_the_model(
    backend: Backend, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with demo_at(monkeypatch) as demo, working(settings):
        job_id = await backend.submit("demo-hang", for_watchers=True)
        await demo.streaming()
        await leave(backend, job_id)
        assert (await backend.ended(job_id))[-1].fields()["by"] == "disconnect"
        await demo.left_alone()


async def test_a_redis_that_is_away_is_no_error(
    backend: Backend, orphans: AbandonedJobs, redis_server: RedisServer, settings: Settings
) -> None:
    job_id = await backend.submit(for_watchers=True)
    redis_server.kill()
    await orphans.turn()
    redis_server.restart()
    await backend.redis.ping()
    await leave(backend, job_id)
    await orphans.turn()
    assert await named(backend) == set()
