"""Workers and the queue: slots, leases, fencing, drain, lost workers, and what they leave in Redis."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any

import orjson
import pytest

from readalong import __version__
from readalong.core.settings import Settings
from readalong.redis.facade import RedisFacade
from readalong.store.log import Claim
from readalong.store.queue import Queue
from tests.readalong.helpers import command, types
from tests.support.waiting import until
from tests.worker.helpers import Backend, DemoModel, demo_at, settings_for, text_of, working

STEP = 0.2


@pytest.fixture
def shorter(settings: Settings) -> Settings:
    """Returns the settings with the shortest lease."""
    return settings_for(str(settings.redis_url), lease=0.5)


async def asked(demo: DemoModel) -> list[str]:
    """Returns the `user` of each request, in order."""
    return [body["user"] for body in await demo.bodies()]


@pytest.mark.parametrize("slots", [1, 3])
async def test_more_jobs_than_slots_wait_in_order_and_all_finish(
    backend: Backend, settings: Settings, monkeypatch: pytest.MonkeyPatch, slots: int
) -> None:
    small = settings.model_copy(update={"max_jobs": slots})
    jobs = [await backend.submit(rate=60, user=str(n), demo={"tokens": 30}) for n in range(7)]
    async with demo_at(monkeypatch) as demo, working(small) as one:
        most = 0
        while not all([await backend.is_closed(job_id) for job_id in jobs]):
            most = max(most, len(one.runs), (await demo.stats())["open"])
        for job_id in jobs:
            assert (await backend.ended(job_id))[-1].type == "done"
        places = [int(user) for user in await asked(demo)]
    assert most == slots
    # Those that start together may reach the model in any order.
    assert sorted(places) == list(range(7))
    assert all(abs(place - number) < slots for place, number in enumerate(places))


async def test_a_job_starts_at_once_on_an_idle_worker(
    backend: Backend, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the wake-up it would wait for the poll, which takes longer than this test waits."""
    slow = settings.model_copy(update={"poll_interval": 3600})
    async with demo_at(monkeypatch), working(slow):
        for _ in range(5):
            job_id = await backend.submit("demo-fast", demo={"tokens": 1})
            assert (await backend.ended(job_id))[-1].type == "done"


async def test_two_workers_share_the_queue_and_each_job_runs_once(
    backend: Backend, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = settings.model_copy(update={"max_jobs": 3})
    async with demo_at(monkeypatch) as demo, working(small, "w1"), working(small, "w2"):
        jobs = [await backend.submit(rate=500, user=str(n), demo={"tokens": 30}) for n in range(12)]
        workers = []
        for job_id in jobs:
            events = await backend.ended(job_id)
            assert types(events).count("started") == 1
            assert "restarted" not in types(events)
            workers.append(events[1].fields()["worker"]["id"])
        assert sorted(await asked(demo), key=int) == [str(n) for n in range(12)]
    assert set(workers) == {"w1", "w2"}


async def test_a_run_whose_lease_is_anothers_stops_and_writes_nothing_more(
    backend: Backend, shorter: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with demo_at(monkeypatch) as demo, working(shorter) as one:
        job_id = await backend.submit("demo-stall", rate=1000, demo={"after": 3})
        await backend.has(job_id, "content")
        await backend.redis.set(backend.keys.arq_in_progress(job_id), "another", px=60_000)
        await demo.left_alone()
        await until(lambda: not one.runs)
        assert types(await backend.events(job_id))[-1] == "content"
        assert (await backend.record(job_id)).status == "running"
        assert await backend.redis.get(backend.keys.arq_in_progress(job_id)) == b"another"
        assert await backend.redis.zscore(backend.keys.queue, job_id) is not None


async def test_a_run_that_a_newer_attempt_fences_out_stops_at_its_next_append(
    backend: Backend, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with demo_at(monkeypatch) as demo, working(settings) as one:
        job_id = await backend.submit("demo-endless", rate=300)
        await backend.has(job_id, "content", 3)
        await backend.redis.set(backend.keys.arq_in_progress(job_id), "another", px=60_000)
        claim = await backend.log.claim(job_id, b'{"id":"another"}', "token")
        assert claim.attempt == 2
        await demo.left_alone()
        await until(lambda: not one.runs)
        events = await backend.events(job_id)
        assert types(events)[-1] == "restarted"
        assert len(events) == claim.last_seq == (await backend.record(job_id)).last_seq


@pytest.mark.parametrize("model", ["demo-endless", "demo-hang"])
async def test_an_erased_job_stops_wherever_it_is(
    backend: Backend, shorter: Settings, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    async with demo_at(monkeypatch) as demo, working(shorter) as one:
        job_id = await backend.submit(model, rate=300)
        await demo.streaming()
        await backend.log.delete(job_id)
        await backend.index.remove(job_id)
        await demo.left_alone()
        await until(lambda: not one.runs)
        await until(lambda: backend.is_closed(job_id))
        assert not await backend.redis.exists(*backend.keys.of_job(job_id)[:2])


async def test_a_copy_of_the_enqueue_that_comes_after_the_erase_leaves_the_job_in_no_list(
    backend: Backend, shorter: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of all jobs, which still names expired ones, and the list of its model do not have it either."""
    job_id = await backend.submit()
    created_at = (await backend.record(job_id)).created_at
    _, model, _ = await backend.log.erasable(job_id)
    await backend.log.delete(job_id, model)
    await backend.queue.remove(job_id)
    await backend.index.remove(job_id, model=model)
    lists = (
        backend.keys.queue,
        backend.keys.jobs,
        backend.keys.active,
        *backend.keys.by_state,
        backend.keys.ids,
        backend.keys.jobs_of("demo"),
    )
    assert not await backend.redis.exists(*lists)
    await backend.queue.enqueue(job_id, created_at, model="demo")
    async with demo_at(monkeypatch), working(shorter):
        await until(lambda: backend.is_closed(job_id))
    assert not await backend.redis.exists(*lists, backend.keys.arq_job(job_id), backend.keys.wake)


async def lost_count(backend: Backend, job_id: str) -> bytes | None:
    value: bytes | None = await command(backend.redis, "HGET", backend.keys.job(job_id), "lost")
    return value


async def test_a_stopping_worker_hands_its_jobs_over_at_once(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, resources: AsyncExitStack
) -> None:
    """It does not wait for a lease, and the hand-over does not count as a lost attempt."""
    long = settings_for(str(backend.settings.redis_url), lease=60, max_attempts=1)
    demo = await resources.enter_async_context(demo_at(monkeypatch))
    async with working(long, "w1") as first:
        job_id = await backend.submit(rate=200, demo={"tokens": 60})
        await backend.has(job_id, "content", 3)
        await first.stop()
        assert await backend.redis.get(backend.keys.arq_in_progress(job_id)) is None
    async with working(long, "w2"):
        events = await backend.ended(job_id)
    (restarted,) = [event.fields() for event in events if event.type == "restarted"]
    assert (restarted["attempt"], restarted["reason"]) == (2, "worker_stopped")
    assert restarted["worker"] == {"id": "w2", "host": "h", "pid": 1}
    assert (await lost_count(backend, job_id), events[-1].type) == (b"0", "done")
    assert text_of(events) == events[-1].fields()["content"]
    assert (await backend.record(job_id)).attempt == 2
    assert (await demo.left_alone())["gone"] == 1


async def test_a_stopping_worker_lets_its_jobs_end_within_the_drain_time_and_takes_no_other(
    backend: Backend, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says how many jobs may run for how long."""
    caplog.set_level(logging.INFO)
    patient = settings.model_copy(update={"drain_timeout": 20})
    async with demo_at(monkeypatch), working(patient) as one:
        job_id = await backend.submit(rate=150, demo={"tokens": 40})
        await backend.has(job_id, "content", 2)
        stopping = asyncio.create_task(one.stop())
        await until(one.worker._stopping.is_set)
        other = await backend.submit("demo-fast")
        await stopping
        assert (await backend.ended(job_id))[-1].type == "done"
        assert types(await backend.events(other)) == ["queued"]
    assert "draining: 1 jobs have 20 s to finish" in caplog.text


async def test_a_worker_that_stops_as_it_takes_a_job_hands_it_over_too(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stop comes before the job has an attempt to interrupt."""
    long = settings_for(str(backend.settings.redis_url), lease=60)
    async with demo_at(monkeypatch) as demo:
        async with working(long) as one:
            claim = one.worker._log.claim

            async def claim_late(*given: Any) -> Claim:
                await one.worker._stopping.wait()
                for _ in range(20):
                    await asyncio.sleep(0)
                return await claim(*given)

            monkeypatch.setattr(one.worker._log, "claim", claim_late)
            job_id = await backend.submit("demo-hang")
            await until(lambda: one.worker.tasks)
            began = asyncio.get_running_loop().time()
            await one.stop()
            assert asyncio.get_running_loop().time() - began < 10
        await demo.left_alone()
        assert await backend.redis.get(backend.keys.arq_in_progress(job_id)) is None
        assert await lost_count(backend, job_id) == b"0"


async def test_a_job_whose_worker_died_is_finished_by_another(
    backend: Backend, shorter: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await backend.submit(rate=1000, demo={"tokens": 20})
    await Queue(RedisFacade(backend.redis, shorter), shorter).acquire("dead", 1)
    claim = await backend.log.claim(job_id, b'{"id":"dead"}', "token")
    await backend.log.append(job_id, claim.attempt, 3, [("content", b'{"content":"void"}')])
    async with demo_at(monkeypatch), working(shorter):
        events = await backend.ended(job_id)
    (restarted,) = [event.fields() for event in events if event.type == "restarted"]
    assert (restarted["attempt"], restarted["reason"]) == (2, "worker_lost")
    assert text_of(events) == events[-1].fields()["content"] != ""
    assert await lost_count(backend, job_id) == b"1"


async def test_a_job_whose_attempts_are_used_up_fails_with_what_the_last_one_said(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await backend.submit()
    for token in ("first", "second"):
        claim = await backend.log.claim(job_id, b'{"id":"dead"}', token)
        said = {"content": {"content": token}, "tool_call": {"name": token}, "function_call": {"name": token}}
        drafts = [(kind, orjson.dumps(fields)) for kind, fields in said.items()]
        await backend.log.append(job_id, claim.attempt, claim.last_seq + 1, drafts)
    async with demo_at(monkeypatch) as demo, working(settings_for(str(backend.settings.redis_url), max_attempts=2)):
        events = await backend.ended(job_id)
        assert (await demo.stats())["requests"] == []
    end = events[-1].fields()
    assert (end["tool_calls"], end["function_call"]) == ([{"name": "second"}], {"name": "second"})
    assert (events[-1].type, end["error"]["code"], end["error"]["retryable"]) == ("failed", "worker_lost", True)
    assert end["content"] == text_of(events) == "second"
    assert (await backend.record(job_id)).error == end["error"]


@pytest.mark.parametrize("model", ["demo-endless", "demo-hang", "demo-stall"])
async def test_a_job_that_takes_too_long_fails_whatever_its_model_does(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    settings = settings_for(str(backend.settings.redis_url), job_timeout=1, first_token_timeout=0, stall_timeout=0)
    async with demo_at(monkeypatch) as demo, working(settings):
        events = await backend.ended(await backend.submit(model, rate=300))
        end = events[-1].fields()
        assert (events[-1].type, end["error"]["code"]) == ("failed", "job_timeout")
        assert end["content"] == text_of(events)
        assert (await demo.left_alone())["gone"] == 1


async def test_a_worker_gives_a_sign_of_life_and_takes_it_back_when_it_ends(
    backend: Backend, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def alive() -> int:
        return await backend.registry.live_workers(await backend.index.now())

    async def details() -> dict[str, Any]:
        value = await backend.redis.get(backend.keys.worker("w1"))
        found: dict[str, Any] = orjson.loads(value or b"{}")
        return found

    async with demo_at(monkeypatch) as demo:
        async with working(settings):
            await until(alive)
            job_id = await backend.submit("demo-hang")
            await demo.streaming()
            await until(lambda: _runs(details, [job_id]))
            server = await backend.redis.info("server")
            said = await details()
            shown = {"id": "w1", "host": "h", "pid": 1, "connected_to": server["run_id"], "slots": settings.max_jobs}
            assert said.items() >= {**shown, "version": __version__}.items()
            now = await backend.index.now()
            for time in (said["started_at"], said["at"], *said["since"]):
                assert 0 <= now - datetime.fromisoformat(time).timestamp() * 1000 < 600_000
            assert len(said["since"]) == 1
            assert said["lag_seconds"] >= 0
            assert isinstance(said["clock_off_seconds"], float)
            assert 0 < await backend.redis.pttl(backend.keys.worker("w1")) <= 1000 * settings.lease
        assert (await alive(), await details()) == (0, {})


async def _runs(details: Any, wanted: list[str]) -> bool:
    return bool((await details()).get("running") == wanted)


async def test_nothing_in_redis_is_pickled_and_every_key_that_is_not_an_index_expires(
    backend: Backend, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with demo_at(monkeypatch) as demo, working(settings):
        await backend.ended(await backend.submit("demo-fast"))
        await backend.ended(await backend.submit("demo-not-sse"))
        running = await backend.submit("demo-hang")
        await demo.streaming()
        call = orjson.loads(await backend.redis.get(backend.keys.arq_job(running)))
        assert (call["f"], call["a"]) == ("generate", [running])
        indexes = {backend.keys.queue, backend.keys.leases, backend.keys.jobs, backend.keys.active}
        keys = {key.decode() for key in await backend.redis.keys("*")}
        assert indexes < keys
        indexes |= {*backend.keys.by_state, backend.keys.ids}
        for key in keys:
            # How a pickle begins; the last bytes are a checksum, which may be any.
            assert b"\x80\x04" not in (await backend.redis.dump(key) or b"")[:-10]
            assert (await backend.redis.pttl(key) > 0) is (key not in indexes), key
        await backend.log.cancel(running, "test")
        await backend.ended(running)
