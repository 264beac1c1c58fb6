"""Workers keep a job's options: its deadline in every stage, and its policy for a lost worker."""

from __future__ import annotations

from typing import Any

import pytest

from readalong.core.events import Event
from readalong.core.settings import Settings
from readalong.redis.facade import RedisFacade
from readalong.store.queue import Queue
from tests.readalong.helpers import command, types
from tests.worker.helpers import Backend, demo_at, settings_for, text_of, working


async def write(backend: Backend, model: str, *, left: float | None = None, lost: str = "retry", **body: Any) -> str:
    """Creates a job that is not in the queue yet, with this many seconds to its deadline."""
    job_id = await backend.write(model, **body)
    await command(backend.redis, "HSET", backend.keys.job(job_id), "on_worker_lost", lost)
    if left is not None:
        await expire_in(backend, job_id, left)
    return job_id


async def expire_in(backend: Backend, job_id: str, seconds: float) -> None:
    deadline = await backend.index.now() + int(seconds * 1000)
    await command(backend.redis, "HSET", backend.keys.job(job_id), "deadline", deadline)


async def lose(backend: Backend, job_id: str) -> None:
    """Starts a first attempt that wrote some text before its worker died."""
    claim = await backend.log.claim(job_id, b'{"id":"dead"}', "token")
    await backend.log.append(job_id, claim.attempt, claim.last_seq + 1, [("content", b'{"content":"said"}')])


def failure(events: list[Event]) -> tuple[str, str]:
    """Returns the end's type and the error's code. The end must repeat the text of the log."""
    end = events[-1].fields()
    assert end["content"] == text_of(events)
    assert end["error"]["retryable"]
    return events[-1].type, end["error"]["code"]


@pytest.mark.parametrize(
    ("model", "said"),
    [("demo-hang", False), ("demo-stall", True), ("demo-endless", True)],
    ids=["before the first token", "in a silence", "streaming"],
)
async def test_a_run_ends_at_its_jobs_deadline(
    backend: Backend, settings: Settings, monkeypatch: pytest.MonkeyPatch, model: str, said: bool
) -> None:
    """The attempt ends itself, before any sweep."""
    swept = settings.model_copy(update={"sweep_interval": 0.01})
    async with demo_at(monkeypatch) as demo, working(swept):
        manner = {"tokens_per_second": 200, "first_token_seconds": 0}
        job_id = await write(backend, model, left=2, demo=manner)
        await backend.queue.enqueue(job_id, 0)
        events = await backend.ended(job_id)
        await demo.left_alone()
        assert failure(events) == ("failed", "deadline_exceeded")
        assert bool(text_of(events)) is said
        assert (await backend.record(job_id)).attempt == 1
        assert len(await demo.bodies()) == 1


async def test_a_wait_that_would_pass_the_deadline_is_not_begun(
    backend: Backend, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job ends at once, with the model's error."""
    async with demo_at(monkeypatch) as demo, working(settings):
        job_id = await write(backend, "demo-429", left=15, demo={"retry_after": 16})
        await backend.queue.enqueue(job_id, 0)
        assert failure(await backend.ended(job_id)) == ("failed", "model_rate_limited")
        assert len(await demo.bodies()) == 1


async def test_a_job_whose_deadline_passes_while_it_waits_for_a_slot_calls_no_model(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = settings_for(str(backend.settings.redis_url), max_jobs=1, sweep_interval=0.1)
    async with demo_at(monkeypatch) as demo, working(full):
        runs = await backend.submit("demo-hang")
        await demo.streaming()
        waits = await write(backend, "demo", left=1)
        await backend.queue.enqueue(waits, 0)
        events = await backend.ended(waits)
        assert (types(events), failure(events)[1]) == (["queued", "failed"], "deadline_exceeded")
        await backend.log.cancel(runs, "test")
        assert (await backend.ended(runs))[-1].type == "cancelled"
        assert len(await demo.bodies()) == 1


@pytest.mark.parametrize("end", ["failed", "cancelled"])
@pytest.mark.parametrize("held", [True, False], ids=["its worker died", "handed over"])
async def test_a_begun_job_that_waits_for_a_slot_ends_at_its_deadline_or_its_cancel(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, held: bool, end: str
) -> None:
    """Its text so far is kept. No slot becomes free, and no job loses its slot to it."""
    job_id = await write(backend, "demo")
    await backend.queue.enqueue(job_id, 0)
    if held:
        await Queue(
            RedisFacade(backend.redis, settings_for(str(backend.settings.redis_url), lease=0.5)),
            settings_for(str(backend.settings.redis_url), lease=0.5),
        ).acquire("dead", 1)
    await lose(backend, job_id)
    full = settings_for(str(backend.settings.redis_url), max_jobs=1, sweep_interval=0.05, drain_timeout=20)
    if not held:
        # Older than the waiting job, so that the worker acquires it first.
        await command(backend.redis, "ZADD", backend.keys.queue, await backend.index.now() + 60_000, job_id)
    async with demo_at(monkeypatch) as demo, working(full) as one:
        runs = await backend.submit("demo-hang")
        await demo.streaming()
        await command(backend.redis, "ZADD", backend.keys.queue, "LT", 1, job_id)
        if end == "failed":
            await expire_in(backend, job_id, 0.1)
        else:
            await backend.redis.set(backend.keys.cancel(job_id), "me")
        events = await backend.ended(job_id)
        assert (types(events), text_of(events)) == (["queued", "started", "content", end], "said")
        if end == "failed":
            assert failure(events) == ("failed", "deadline_exceeded")
        assert list(one.runs) == [runs]
        assert (await backend.record(runs)).attempt == 1
        await backend.log.cancel(runs, "test")
        assert (await backend.ended(runs))[-1].type == "cancelled"
        assert len(await demo.bodies()) == 1


@pytest.mark.parametrize("code", ["deadline_exceeded", "worker_lost"])
async def test_a_lost_job_that_may_not_begin_again_fails_with_what_was_said(
    backend: Backend, settings: Settings, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    job_id = await write(backend, "demo", lost="fail" if code == "worker_lost" else "retry")
    await lose(backend, job_id)
    if code == "deadline_exceeded":
        await expire_in(backend, job_id, -1)
    await backend.queue.enqueue(job_id, 0)
    async with demo_at(monkeypatch) as demo, working(settings):
        events = await backend.ended(job_id)
        assert failure(events) == ("failed", code)
        assert (text_of(events), types(events).count("restarted")) == ("said", 0)
        assert await demo.bodies() == []
