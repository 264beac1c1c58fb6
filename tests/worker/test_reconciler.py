"""The reconciler repairs queue and lists after a crash."""

from __future__ import annotations

import pytest

from readalong.core.errors import StoreRefused
from readalong.core.settings import Settings
from readalong.worker.reconciler import Reconciler
from tests.readalong.helpers import command, state, types
from tests.support.waiting import until
from tests.worker.helpers import Backend, demo_at, settings_for, working


@pytest.fixture
def ended() -> list[str]:
    """Records the jobs that a sweep has told its worker to end."""
    return []


@pytest.fixture
def sweep(backend: Backend, settings: Settings, ended: list[str]) -> Reconciler:
    """Returns a reconciler whose next sweep is due after a millisecond."""
    return made(backend, settings.model_copy(update={"sweep_interval": 0.001}), ended)


def made(backend: Backend, settings: Settings, ended: list[str] | None = None) -> Reconciler:
    """Runs a sweep without a worker."""

    async def end(job_id: str) -> None:
        assert ended is not None, f"{job_id} is to end"
        ended.append(job_id)

    return Reconciler(backend.log, backend.index, backend.queue, settings, end, turns=backend.turns)


async def opened(backend: Backend) -> set[str]:
    return {cursor.job_id for cursor in await backend.index.open_jobs(None, 100)}


async def queued(backend: Backend, job_id: str) -> bool:
    return (await backend.queue.contains([job_id]))[0]


async def turn(backend: Backend, sweep: Reconciler) -> None:
    """Runs a sweep that no other worker does instead."""
    await backend.redis.delete(backend.keys.sweep)
    await sweep.turn()


async def test_a_job_that_was_written_but_never_enqueued_is_enqueued(backend: Backend, sweep: Reconciler) -> None:
    job_id = await backend.write(age=60)
    await turn(backend, sweep)
    assert await queued(backend, job_id)
    assert await command(backend.redis, "LRANGE", backend.keys.wake, 0, -1) == [job_id.encode()]
    assert job_id in await opened(backend)


async def test_a_submit_that_is_under_way_is_left_alone(backend: Backend, sweep: Reconciler) -> None:
    job_id = await backend.write()
    await turn(backend, sweep)
    assert not await queued(backend, job_id)


async def test_a_job_whose_queue_entry_lost_its_call_gets_it_back(backend: Backend, sweep: Reconciler) -> None:
    job_id = await backend.submit(age=60)
    await backend.redis.delete(backend.keys.arq_job(job_id))
    await turn(backend, sweep)
    assert await queued(backend, job_id)


async def test_a_running_job_that_fell_out_of_the_queue_is_enqueued(
    backend: Backend, sweep: Reconciler, caplog: pytest.LogCaptureFixture
) -> None:
    """The log tells an operator that it was missing."""
    job_id = await backend.write(age=60)
    await backend.log.claim(job_id, b"{}", "token")
    await turn(backend, sweep)
    assert await queued(backend, job_id)
    assert f"re-queued job {job_id} (missing from the queue)" in caplog.text


async def test_a_flag_set_by_hand_ends_a_queued_job_that_no_worker_is_free_for(
    backend: Backend, sweep: Reconciler
) -> None:
    job_id = await backend.submit()
    await backend.redis.set(backend.keys.cancel(job_id), "me")
    await turn(backend, sweep)
    events = await backend.events(job_id)
    assert (types(events), events[-1].fields()["by"]) == (["queued", "cancelled"], "me")
    assert await backend.is_closed(job_id)


async def test_a_flag_on_a_running_job_is_left_to_its_worker(backend: Backend, sweep: Reconciler) -> None:
    job_id = await backend.submit(age=60)
    await backend.queue.acquire("w", 1)
    await backend.log.claim(job_id, b"{}", "token")
    await backend.redis.set(backend.keys.cancel(job_id), "me")
    await turn(backend, sweep)
    assert types(await backend.events(job_id)) == ["queued", "started"]
    assert await queued(backend, job_id)
    assert job_id in await opened(backend)


@pytest.mark.parametrize("why", ["deadline", "flag"])
async def test_a_started_job_that_is_to_end_and_has_no_holder_is_ended_by_the_worker(
    backend: Backend, sweep: Reconciler, ended: list[str], why: str
) -> None:
    job_id, other = await backend.submit(age=60), await backend.submit(age=60)
    for begun in (job_id, other):
        await backend.log.claim(begun, b"{}", "token")
        await command(backend.redis, "HSET", backend.keys.job(begun), "deadline", await backend.index.now() + 60_000)
    await turn(backend, sweep)
    assert ended == []
    if why == "flag":
        await backend.redis.set(backend.keys.cancel(job_id), "me")
    else:
        await command(backend.redis, "HSET", backend.keys.job(job_id), "deadline", await backend.index.now())
    await turn(backend, sweep)
    assert ended == [job_id]
    assert await opened(backend) == {job_id, other}


async def test_a_started_job_that_is_to_end_and_is_missing_from_the_queue_is_enqueued_first(
    backend: Backend, sweep: Reconciler, ended: list[str]
) -> None:
    """Only the worker can acquire a job that may have a holder."""
    job_id = await backend.write(age=60)
    await backend.log.claim(job_id, b"{}", "token")
    await backend.redis.set(backend.keys.cancel(job_id), "me")
    await turn(backend, sweep)
    assert await queued(backend, job_id)
    assert ended == []
    await turn(backend, sweep)
    assert ended == [job_id]


@pytest.mark.parametrize("enqueued", [True, False])
async def test_an_ended_job_leaves_the_open_jobs_and_the_queue(
    backend: Backend, sweep: Reconciler, enqueued: bool
) -> None:
    job_id = await backend.submit() if enqueued else await backend.write()
    await backend.log.cancel(job_id, "client")
    await turn(backend, sweep)
    assert await backend.is_closed(job_id)
    assert await backend.index.contains(job_id)


async def test_a_job_that_has_expired_leaves_the_open_jobs(backend: Backend, sweep: Reconciler) -> None:
    job_id = await backend.write(age=60)
    await backend.log.delete(job_id)
    await turn(backend, sweep)
    assert await opened(backend) == set()
    assert not await queued(backend, job_id)


async def test_a_waiting_job_does_not_expire_while_it_waits(backend: Backend, sweep: Reconciler) -> None:
    job_id = await backend.submit(age=60)
    names = [backend.keys.job(job_id), backend.keys.events(job_id), backend.keys.arq_job(job_id)]
    for name in names:
        await backend.redis.pexpire(name, 5_000)
    await turn(backend, sweep)
    for name in names:
        assert await backend.redis.pttl(name) > 60_000


async def test_lives_are_renewed_once_in_a_quarter_of_their_time(
    backend: Backend, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each sweep, many active jobs would cost more commands than their tokens."""
    sweep = made(backend, settings)
    job_id = await backend.submit(age=60)
    names = [backend.keys.job(job_id), backend.keys.events(job_id), backend.keys.arq_job(job_id)]
    await turn(backend, sweep)
    for name in names:
        await backend.redis.pexpire(name, 50_000)
    await turn(backend, sweep)
    assert all([await backend.redis.pttl(name) <= 50_000 for name in names])
    assert await queued(backend, job_id)
    later = await backend.index.now() + int(settings.job_ttl * 1000) // 4

    async def now() -> int:
        return later

    monkeypatch.setattr(backend.index, "now", now)
    await turn(backend, sweep)
    assert all([await backend.redis.pttl(name) > 60_000 for name in names])


@pytest.mark.parametrize(("setting", "every"), [(10.0, 2.5), (1.0, 1.0)])
def test_sweeps_are_as_frequent_as_the_time_to_live_of_a_waiting_job_demands(
    backend: Backend, settings: Settings, setting: float, every: float
) -> None:
    changed = settings.model_copy(update={"sweep_interval": setting, "job_ttl": 10})
    assert made(backend, changed).every == every


async def test_a_flag_that_was_set_by_hand_for_no_job_does_not_stay_for_ever(
    backend: Backend, sweep: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job has ended, has expired, or never existed; and there are more keys than one look scans."""
    monkeypatch.setattr("readalong.store.job_index._SCANNED", 10)
    ended, running = await backend.submit(), await backend.submit()
    await backend.log.cancel(ended, "client")
    await backend.log.claim(running, b"{}", "token")
    names = [backend.keys.cancel(job_id) for job_id in (ended, running, "no-such-job-0123456789")]
    others = [f"readalong:job:{number}:cancelled" for number in range(100)]
    for name in (*names, *others):
        await backend.redis.set(name, "me")
    short = backend.keys.cancel("short-lived-0123456789")
    await backend.redis.set(short, "me", px=600_000)
    for _ in range(len(others)):
        await turn(backend, sweep)
        if all([await backend.redis.pttl(name) > 0 for name in names]):
            break
    for name in names:
        assert 600_000 < await backend.redis.pttl(name) <= backend.settings.job_ttl * 1000
    assert 0 < await backend.redis.pttl(short) <= 600_000
    assert {await backend.redis.pttl(name) for name in others} == {-1}


async def test_the_list_forgets_jobs_past_their_retention(backend: Backend, settings: Settings) -> None:
    age = settings.retention + settings.job_ttl + 60
    old, alive, young = await backend.submit(age=age), await backend.submit(age=age), await backend.submit(age=60)
    for job_id in (old, young):
        await backend.redis.delete(backend.keys.job(job_id))
    await turn(backend, made(backend, settings))
    assert [await backend.index.contains(job_id) for job_id in (old, alive, young)] == [False, True, True]


async def test_an_erased_job_leaves_all_lists_if_its_erase_broke_off_behind_the_first_step(
    backend: Backend, sweep: Reconciler
) -> None:
    """Also the list of its model, which only the mark of the erase still names. No client repeats the erase."""
    job_id, other = await backend.submit(age=60), await backend.submit(age=60)
    _, model, _ = await backend.log.erasable(job_id)
    await backend.log.delete(job_id, model)
    await backend.redis.zrem(backend.keys.active, job_id)
    await turn(backend, sweep)
    for name in (backend.keys.jobs, *backend.keys.by_state, backend.keys.jobs_of("demo")):
        assert await backend.redis.zscore(name, job_id) is None, name
    assert await backend.redis.zscore(backend.keys.jobs_of("demo"), other) is not None


async def test_one_sweep_is_enough_for_all_workers(backend: Backend, settings: Settings) -> None:
    sweeps = [made(backend, settings) for _ in range(2)]
    await sweeps[0].turn()
    job_id = await backend.write(age=60)
    await sweeps[1].turn()
    assert not await queued(backend, job_id)


async def test_more_open_jobs_than_a_page_are_all_looked_at(
    backend: Backend, sweep: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("readalong.worker.reconciler._PAGE", 2)
    jobs = [await backend.write(age=60) for _ in range(5)]
    await turn(backend, sweep)
    assert await backend.queue.contains(jobs) == [True] * 5


async def test_a_record_that_this_version_cannot_read_does_not_keep_the_others_from_being_repaired(
    backend: Backend, sweep: Reconciler
) -> None:
    """A newer version writes beside an older one while a deploy is under way."""
    newer, job_id = await backend.write(age=60), await backend.write(age=60)
    await command(backend.redis, "HSET", backend.keys.job(newer), "schema", 99)
    await turn(backend, sweep)
    assert await queued(backend, job_id)
    assert newer in await opened(backend)


async def test_a_waiting_job_of_another_schema_keeps_its_flag_for_a_worker_that_knows_it(
    backend: Backend, sweep: Reconciler
) -> None:
    """Nothing is written into a log of an unknown schema, and the job stays in the queue."""
    job_id = await backend.submit(age=60)
    await command(backend.redis, "HSET", backend.keys.job(job_id), "schema", 99)
    await backend.redis.set(backend.keys.cancel(job_id), "me")
    await turn(backend, sweep)
    assert types(await backend.events(job_id)) == ["queued"]
    assert await queued(backend, job_id)
    assert job_id in await opened(backend)
    await command(backend.redis, "HSET", backend.keys.job(job_id), "schema", 1)
    claim = await backend.log.claim(job_id, b"{}", "token")
    assert claim.status == "ended"
    assert (await backend.events(job_id))[-1].fields()["by"] == "me"


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("how", ["type", "deadline", "events"])
async def test_a_job_with_corrupt_keys_does_not_keep_the_others_from_being_repaired(
    backend: Backend, sweep: Reconciler, caplog: pytest.LogCaptureFixture, how: str, place: int
) -> None:
    """The sweep repairs it too once its keys are valid again."""
    jobs = [await backend.write(age=60) for _ in range(3)]
    await backend.index.refile(*jobs)
    broken = jobs.pop(place)
    name = backend.keys.events(broken) if how == "events" else backend.keys.job(broken)
    whole = await backend.redis.dump(name)
    if how == "deadline":
        await command(backend.redis, "HSET", name, "deadline", "tomorrow")
    else:
        await backend.redis.set(name, "by hand")
    await backend.redis.set(backend.keys.cancel(broken), "me")
    await turn(backend, sweep)
    assert await backend.queue.contains(jobs) == [True, True]
    assert f"{broken}: broken keys" in caplog.text
    assert {broken, *jobs} == await opened(backend)
    await backend.redis.restore(name, 60_000, whole, replace=True)
    await turn(backend, sweep)
    assert types(await backend.events(broken)) == ["queued", "cancelled"]
    assert set(jobs) == await opened(backend)


async def test_a_right_that_is_missing_is_no_single_jobs_fault(backend: Backend, sweep: Reconciler) -> None:
    """A line for each of thousands of jobs would bury everything else."""
    await backend.write(age=60)
    await command(backend.redis, "ACL", "SETUSER", "default", "-mget")
    try:
        with pytest.raises(StoreRefused):
            await turn(backend, sweep)
    finally:
        await command(backend.redis, "ACL", "SETUSER", "default", "+mget")


@pytest.mark.parametrize("begun", [False, True])
async def test_a_job_of_another_schema_is_not_ended_at_its_deadline_by_a_worker_that_does_not_know_it(
    backend: Backend, sweep: Reconciler, ended: list[str], begun: bool
) -> None:
    job_id = await backend.submit(age=60)
    if begun:
        await backend.log.claim(job_id, b"{}", "token")
    late = await backend.index.now() - 1
    await command(backend.redis, "HSET", backend.keys.job(job_id), "schema", 99, "deadline", late)
    before = await state(backend.redis, backend.keys, job_id)
    await turn(backend, sweep)
    assert await state(backend.redis, backend.keys, job_id) == before
    assert await queued(backend, job_id)
    assert ended == []


async def test_a_worker_sweeps_by_itself(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_for(str(backend.settings.redis_url), sweep_interval=0.1)
    async with demo_at(monkeypatch), working(settings):
        job_id = await backend.write("demo-fast", age=60)
        assert (await backend.ended(job_id))[-1].type == "done"
        await until(lambda: backend.redis.exists(backend.keys.sweep))
