"""The reconciler repairs queue and lists after a crash."""

from __future__ import annotations

import pytest

from readalong.core.errors import StoreRefused
from readalong.core.settings import Settings
from readalong.worker.reconciler import Reconciler
from tests.readalong.helpers import command, state, types
from tests.support.waiting import until
from tests.worker.helpers import House, demo_at, settings_for, working


@pytest.fixture
def ended() -> list[str]:
    """The jobs that a sweep has told its worker to end."""
    return []


@pytest.fixture
def sweep(house: House, settings: Settings, ended: list[str]) -> Reconciler:
    """A sweep whose turn comes again after a millisecond."""
    return made(house, settings.model_copy(update={"sweep_interval": 0.001}), ended)


def made(house: House, settings: Settings, ended: list[str] | None = None) -> Reconciler:
    """A sweep without a worker."""

    async def end(job_id: str) -> None:
        assert ended is not None, f"{job_id} is to end"
        ended.append(job_id)

    return Reconciler(house.log, house.index, house.queue, settings, end)


async def opened(house: House) -> set[str]:
    return {cursor.job_id for cursor in await house.index.open_jobs(None, 100)}


async def queued(house: House, job_id: str) -> bool:
    return (await house.queue.contains([job_id]))[0]


async def turn(house: House, sweep: Reconciler) -> None:
    """A sweep that is not left to another worker."""
    await house.redis.delete(house.keys.sweep)
    await sweep.turn()


async def test_a_job_that_was_written_but_never_enqueued_is_enqueued(house: House, sweep: Reconciler) -> None:
    job_id = await house.write(age=60)
    await turn(house, sweep)
    assert await queued(house, job_id)
    assert await command(house.redis, "LRANGE", house.keys.wake, 0, -1) == [job_id.encode()]
    assert job_id in await opened(house)


async def test_a_submit_that_is_under_way_is_left_alone(house: House, sweep: Reconciler) -> None:
    job_id = await house.write()
    await turn(house, sweep)
    assert not await queued(house, job_id)


async def test_a_job_whose_queue_entry_lost_its_call_gets_it_back(house: House, sweep: Reconciler) -> None:
    job_id = await house.submit(age=60)
    await house.redis.delete(house.keys.arq_job(job_id))
    await turn(house, sweep)
    assert await queued(house, job_id)


async def test_a_running_job_that_fell_out_of_the_queue_is_enqueued(
    house: House, sweep: Reconciler, caplog: pytest.LogCaptureFixture
) -> None:
    """An operator reads in the log that it was missing."""
    job_id = await house.write(age=60)
    await house.log.claim(job_id, b"{}", "token")
    await turn(house, sweep)
    assert await queued(house, job_id)
    assert f"re-queued job {job_id} (missing from the queue)" in caplog.text


async def test_a_flag_set_by_hand_ends_a_queued_job_that_no_worker_is_free_for(house: House, sweep: Reconciler) -> None:
    job_id = await house.submit()
    await house.redis.set(house.keys.cancel(job_id), "me")
    await turn(house, sweep)
    events = await house.events(job_id)
    assert (types(events), events[-1].fields()["by"]) == (["queued", "cancelled"], "me")
    assert await house.is_closed(job_id)


async def test_a_flag_on_a_running_job_is_left_to_its_worker(house: House, sweep: Reconciler) -> None:
    job_id = await house.submit(age=60)
    await house.queue.acquire("w", 1)
    await house.log.claim(job_id, b"{}", "token")
    await house.redis.set(house.keys.cancel(job_id), "me")
    await turn(house, sweep)
    assert types(await house.events(job_id)) == ["queued", "started"]
    assert await queued(house, job_id)
    assert job_id in await opened(house)


@pytest.mark.parametrize("why", ["deadline", "flag"])
async def test_a_begun_job_that_is_to_end_is_the_workers_to_end_if_nobody_holds_it(
    house: House, sweep: Reconciler, ended: list[str], why: str
) -> None:
    job_id, other = await house.submit(age=60), await house.submit(age=60)
    for begun in (job_id, other):
        await house.log.claim(begun, b"{}", "token")
        await command(house.redis, "HSET", house.keys.job(begun), "deadline", await house.index.now() + 60_000)
    await turn(house, sweep)
    assert ended == []
    if why == "flag":
        await house.redis.set(house.keys.cancel(job_id), "me")
    else:
        await command(house.redis, "HSET", house.keys.job(job_id), "deadline", await house.index.now())
    await turn(house, sweep)
    assert ended == [job_id]
    assert await opened(house) == {job_id, other}


async def test_a_begun_job_that_is_to_end_and_fell_out_of_the_queue_is_enqueued_first(
    house: House, sweep: Reconciler, ended: list[str]
) -> None:
    """Only the worker can acquire a job that may have a holder."""
    job_id = await house.write(age=60)
    await house.log.claim(job_id, b"{}", "token")
    await house.redis.set(house.keys.cancel(job_id), "me")
    await turn(house, sweep)
    assert await queued(house, job_id)
    assert ended == []
    await turn(house, sweep)
    assert ended == [job_id]


@pytest.mark.parametrize("enqueued", [True, False])
async def test_an_ended_job_leaves_the_open_jobs_and_the_queue(house: House, sweep: Reconciler, enqueued: bool) -> None:
    job_id = await house.submit() if enqueued else await house.write()
    await house.log.cancel(job_id, "client")
    await turn(house, sweep)
    assert await house.is_closed(job_id)
    assert await house.index.contains(job_id)


async def test_a_job_that_has_expired_leaves_the_open_jobs(house: House, sweep: Reconciler) -> None:
    job_id = await house.write(age=60)
    await house.log.delete(job_id)
    await turn(house, sweep)
    assert await opened(house) == set()
    assert not await queued(house, job_id)


async def test_a_waiting_job_does_not_expire_while_it_waits(house: House, sweep: Reconciler) -> None:
    job_id = await house.submit(age=60)
    names = [house.keys.job(job_id), house.keys.events(job_id), house.keys.arq_job(job_id)]
    for name in names:
        await house.redis.pexpire(name, 5_000)
    await turn(house, sweep)
    for name in names:
        assert await house.redis.pttl(name) > 60_000


async def test_lives_are_renewed_once_in_a_quarter_of_their_time(
    house: House, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at each turn: many open jobs would cost more commands than their tokens."""
    sweep = made(house, settings)
    job_id = await house.submit(age=60)
    names = [house.keys.job(job_id), house.keys.events(job_id), house.keys.arq_job(job_id)]
    await turn(house, sweep)
    for name in names:
        await house.redis.pexpire(name, 50_000)
    await turn(house, sweep)
    assert all([await house.redis.pttl(name) <= 50_000 for name in names])
    assert await queued(house, job_id)
    later = await house.index.now() + int(settings.job_ttl * 1000) // 4

    async def now() -> int:
        return later

    monkeypatch.setattr(house.index, "now", now)
    await turn(house, sweep)
    assert all([await house.redis.pttl(name) > 60_000 for name in names])


@pytest.mark.parametrize(("setting", "every"), [(10.0, 2.5), (1.0, 1.0)])
def test_sweeps_are_as_frequent_as_the_time_to_live_of_a_waiting_job_demands(
    house: House, settings: Settings, setting: float, every: float
) -> None:
    changed = settings.model_copy(update={"sweep_interval": setting, "job_ttl": 10})
    assert made(house, changed).every == every


async def test_a_flag_that_was_set_by_hand_for_no_job_does_not_stay_for_ever(
    house: House, sweep: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a job that has ended, or expired, or never was; among more keys than one look goes through."""
    monkeypatch.setattr("readalong.store.job_index._SCANNED", 10)
    ended, running = await house.submit(), await house.submit()
    await house.log.cancel(ended, "client")
    await house.log.claim(running, b"{}", "token")
    names = [house.keys.cancel(job_id) for job_id in (ended, running, "no-such-job-0123456789")]
    others = [f"readalong:job:{number}:cancelled" for number in range(100)]
    for name in (*names, *others):
        await house.redis.set(name, "me")
    short = house.keys.cancel("short-lived-0123456789")
    await house.redis.set(short, "me", px=600_000)
    for _ in range(len(others)):
        await turn(house, sweep)
        if all([await house.redis.pttl(name) > 0 for name in names]):
            break
    for name in names:
        assert 600_000 < await house.redis.pttl(name) <= house.settings.job_ttl * 1000
    assert 0 < await house.redis.pttl(short) <= 600_000
    assert {await house.redis.pttl(name) for name in others} == {-1}


async def test_the_list_forgets_jobs_past_their_retention(house: House, settings: Settings) -> None:
    age = settings.retention + settings.job_ttl + 60
    old, alive, young = await house.submit(age=age), await house.submit(age=age), await house.submit(age=60)
    for job_id in (old, young):
        await house.redis.delete(house.keys.job(job_id))
    await turn(house, made(house, settings))
    assert [await house.index.contains(job_id) for job_id in (old, alive, young)] == [False, True, True]


async def test_an_erased_job_leaves_all_lists_if_its_erase_broke_off_behind_the_first_step(
    house: House, sweep: Reconciler
) -> None:
    """Also the list of its model, which only the mark of the erase names by then. No client repeats the erase."""
    job_id, other = await house.submit(age=60), await house.submit(age=60)
    _, model = await house.log.erasable(job_id)
    await house.log.delete(job_id, model)
    await house.redis.zrem(house.keys.active, job_id)
    await turn(house, sweep)
    for name in (house.keys.jobs, *house.keys.by_state, house.keys.jobs_of("demo")):
        assert await house.redis.zscore(name, job_id) is None, name
    assert await house.redis.zscore(house.keys.jobs_of("demo"), other) is not None


async def test_one_sweep_is_enough_for_all_workers(house: House, settings: Settings) -> None:
    sweeps = [made(house, settings) for _ in range(2)]
    await sweeps[0].turn()
    job_id = await house.write(age=60)
    await sweeps[1].turn()
    assert not await queued(house, job_id)


async def test_more_open_jobs_than_a_page_are_all_looked_at(
    house: House, sweep: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("readalong.worker.reconciler._PAGE", 2)
    jobs = [await house.write(age=60) for _ in range(5)]
    await turn(house, sweep)
    assert await house.queue.contains(jobs) == [True] * 5


async def test_a_record_that_this_version_cannot_read_does_not_keep_the_others_from_being_mended(
    house: House, sweep: Reconciler
) -> None:
    """A newer version writes beside an older one while a deploy is under way."""
    newer, job_id = await house.write(age=60), await house.write(age=60)
    await command(house.redis, "HSET", house.keys.job(newer), "schema", 99)
    await turn(house, sweep)
    assert await queued(house, job_id)
    assert newer in await opened(house)


async def test_a_waiting_job_of_another_schema_keeps_its_flag_for_a_worker_that_knows_it(
    house: House, sweep: Reconciler
) -> None:
    """Nothing is written into a log that this version does not know, and the job stays in the queue."""
    job_id = await house.submit(age=60)
    await command(house.redis, "HSET", house.keys.job(job_id), "schema", 99)
    await house.redis.set(house.keys.cancel(job_id), "me")
    await turn(house, sweep)
    assert types(await house.events(job_id)) == ["queued"]
    assert await queued(house, job_id)
    assert job_id in await opened(house)
    await command(house.redis, "HSET", house.keys.job(job_id), "schema", 1)
    claim = await house.log.claim(job_id, b"{}", "token")
    assert claim.status == "ended"
    assert (await house.events(job_id))[-1].fields()["by"] == "me"


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("how", ["type", "deadline", "events"])
async def test_a_job_whose_keys_somebody_broke_does_not_keep_the_others_from_being_mended(
    house: House, sweep: Reconciler, caplog: pytest.LogCaptureFixture, how: str, place: int
) -> None:
    """And is mended with them when its keys are."""
    jobs = [await house.write(age=60) for _ in range(3)]
    await house.index.refile(*jobs)
    broken = jobs.pop(place)
    name = house.keys.events(broken) if how == "events" else house.keys.job(broken)
    whole = await house.redis.dump(name)
    if how == "deadline":
        await command(house.redis, "HSET", name, "deadline", "tomorrow")
    else:
        await house.redis.set(name, "by hand")
    await house.redis.set(house.keys.cancel(broken), "me")
    await turn(house, sweep)
    assert await house.queue.contains(jobs) == [True, True]
    assert f"{broken}: broken keys" in caplog.text
    assert {broken, *jobs} == await opened(house)
    await house.redis.restore(name, 60_000, whole, replace=True)
    await turn(house, sweep)
    assert types(await house.events(broken)) == ["queued", "cancelled"]
    assert set(jobs) == await opened(house)


async def test_a_right_that_is_missing_is_no_single_jobs_fault(house: House, sweep: Reconciler) -> None:
    """A line for each of thousands of jobs would bury everything else."""
    await house.write(age=60)
    await command(house.redis, "ACL", "SETUSER", "default", "-mget")
    try:
        with pytest.raises(StoreRefused):
            await turn(house, sweep)
    finally:
        await command(house.redis, "ACL", "SETUSER", "default", "+mget")


@pytest.mark.parametrize("begun", [False, True])
async def test_a_job_of_another_schema_is_not_ended_at_its_deadline_by_a_worker_that_does_not_know_it(
    house: House, sweep: Reconciler, ended: list[str], begun: bool
) -> None:
    job_id = await house.submit(age=60)
    if begun:
        await house.log.claim(job_id, b"{}", "token")
    late = await house.index.now() - 1
    await command(house.redis, "HSET", house.keys.job(job_id), "schema", 99, "deadline", late)
    before = await state(house.redis, house.keys, job_id)
    await turn(house, sweep)
    assert await state(house.redis, house.keys, job_id) == before
    assert await queued(house, job_id)
    assert ended == []


async def test_a_worker_sweeps_by_itself(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_for(str(house.settings.redis_url), sweep_interval=0.1)
    async with demo_at(monkeypatch), working(settings):
        job_id = await house.write("demo-fast", age=60)
        assert (await house.ended(job_id))[-1].type == "done"
        await until(lambda: house.redis.exists(house.keys.sweep))
