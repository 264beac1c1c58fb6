"""A model that is away briefly fails no job: jobs wait, watchers are told, and one job at a time probes."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack

import pytest

from readalong.core.errors import ModelError
from readalong.core.events import NewEvent
from readalong.core.settings import Settings
from readalong.store.log import Claim, ClaimStatus, ClaimTimes
from readalong.worker.model.call import Access, ModelCall
from tests.readalong.helpers import command, types
from tests.support.servers import free_port, served
from tests.support.waiting import until
from tests.worker.doors import back_at, hanging_up
from tests.worker.helpers import Backend, settings_for, working
from tests.worker.raw import DONE, HELLO, SSE, raw_server, reply
from tests.worker.test_options import write

AWAY = ["queued", "started", "waiting"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("readalong.worker.model.gate._FIRST", 0.05)


def patient(backend: Backend, seconds: float = 60, **changes: object) -> Settings:
    return settings_for(str(backend.settings.redis_url), model_patience=seconds, model_retries=0, **changes)


@pytest.mark.parametrize("how", ["closed", "hangs up"])
async def test_a_job_whose_model_is_down_is_done_once_it_is_back(backend: Backend, port: int, how: str) -> None:
    """Connections are refused, or break before an answer: one attempt, and one `waiting` event."""
    async with AsyncExitStack() as down, working(patient(backend)):
        if how == "hangs up":
            count = await down.enter_async_context(hanging_up(port))
        job_id = await backend.submit(rate=0, demo={"tokens": 3})
        events = await backend.has(job_id, "waiting")
        if how == "hangs up":
            await until(lambda: count[0] > 2, "it to be asked again")
        await down.aclose()
        async with back_at(port):
            events = await backend.ended(job_id)
    assert types(events)[:3] == AWAY
    assert (types(events).count("waiting"), events[-1].type) == (1, "done")
    told = events[2].fields()
    assert (told["for"], told["reason"]) == ("model", "model_unreachable")
    assert told["seconds"] >= 0
    assert (await backend.record(job_id)).attempt == 1


async def test_the_time_for_the_first_token_does_not_go_by_while_a_job_waits(backend: Backend, port: int) -> None:
    limit = 2.0
    async with working(patient(backend, first_token_timeout=limit)):
        job_id = await backend.submit(rate=0, demo={"tokens": 3})
        await backend.has(job_id, "waiting")
        await asyncio.sleep(limit)  # it is the subject
        async with back_at(port):
            assert (await backend.ended(job_id))[-1].type == "done"


async def test_a_server_that_is_down_is_not_asked_by_all_jobs_that_wait(backend: Backend, port: int) -> None:
    """One probes at a time, after pauses that grow. All continue when the model is back."""
    async with working(patient(backend)):
        async with hanging_up(port) as count:
            first = await backend.submit(rate=0, demo={"tokens": 3})
            await backend.has(first, "waiting")
            jobs = [await backend.submit(rate=0, demo={"tokens": 3}) for _ in range(50)]
            for job_id in jobs[:20]:  # the worker may have stopped taking before the last ones
                await backend.has(job_id, "waiting")
            await until(lambda: count[0] >= 4, "a few tries")
            assert count[0] < 25
        async with back_at(port):
            for job_id in [first, *jobs]:
                events = await backend.ended(job_id)
                assert (events[-1].type, types(events).count("restarted")) == ("done", 0)


async def test_the_cancel_of_the_job_that_probes_lets_another_one_probe(
    backend: Backend, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the others would wait for the result of a call that is over."""
    monkeypatch.setattr("readalong.worker.model.gate._PROBE_TIMEOUT", 1000.0)
    calls: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        calls.append(writer)
        if len(calls) > 2:
            writer.write(SSE + HELLO + DONE)
        if len(calls) == 2:
            await reader.read()  # a probe without a response, until its client leaves
        writer.close()

    async with served(port, answer), working(patient(backend)):
        probes = await backend.submit()
        await backend.has(probes, "waiting")
        await until(lambda: len(calls) == 2, "the probe")
        waits = await backend.submit()
        await backend.has(waits, "waiting")
        await backend.log.cancel(probes, "test")
        assert (await backend.ended(probes))[-1].type == "cancelled"
        assert (await backend.ended(waits))[-1].type == "done"


async def test_a_model_that_says_it_is_away_is_asked_again_and_retries_are_not_used_up(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without Retry-After, each reason is told once. A 500 is a plain failure."""
    busy = [reply(b"{}", status=f"{status} No") for status in (503, 503, 429)]
    asks = reply(b"{}", status="429 No", retry_after_ms="50")
    async with raw_server(*busy, asks, SSE + HELLO + DONE) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        async with working(patient(backend)):
            events = await backend.ended(await backend.submit())
        assert types(events) == [*AWAY, "waiting", "content", "done"]
        assert [event.fields()["reason"] for event in events[2:4]] == ["model_error", "model_rate_limited"]
        assert len(server.heads) == 5
    async with raw_server(reply(b"{}", status="500 No")) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        async with working(patient(backend)):
            events = await backend.ended(await backend.submit())
        assert (types(events), len(server.heads)) == (["queued", "started", "failed"], 1)


async def test_a_time_that_a_model_asks_for_beyond_the_patience_fails_the_job_at_once(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raw_server(reply(b"{}", status="429 No", retry_after="61")) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        async with working(patient(backend)):
            events = await backend.ended(await backend.submit())
    assert types(events) == ["queued", "started", "failed"]
    assert events[-1].fields()["error"]["code"] == "model_rate_limited"


@pytest.mark.parametrize("limit", ["patience", "deadline", "job_timeout"])
async def test_a_model_that_stays_away_fails_its_jobs_with_what_was_met(
    backend: Backend, port: int, limit: str
) -> None:
    """The patience, the deadline or the time of an attempt ends the wait, also of jobs that wait in the queue."""
    # Long enough for the first call on a busy machine.
    settings = patient(backend, 1 if limit == "patience" else 60, job_timeout=5 if limit == "job_timeout" else 0)
    async with working(settings.model_copy(update={"max_jobs": 2})):
        job_id = await write(backend, "demo", left=5 if limit == "deadline" else None)
        await backend.queue.enqueue(job_id, 0)
        jobs = [job_id]
        if limit == "patience":
            jobs += [await backend.submit() for _ in range(5)]
        for job_id in jobs:
            events = await backend.ended(job_id)
            assert (events[-1].type, events[-1].fields()["error"]["code"]) == ("failed", "model_unreachable")
        assert types(await backend.events(jobs[0])) == [*AWAY, "failed"]


async def test_a_cancel_is_obeyed_while_a_job_waits_for_its_model(backend: Backend, port: int) -> None:
    async with working(patient(backend)) as one:
        job_id = await backend.submit()
        await backend.has(job_id, "waiting")
        await backend.log.cancel(job_id, "me")
        assert types(await backend.ended(job_id)) == [*AWAY, "cancelled"]
        assert not one.runs


async def test_a_worker_that_stops_hands_over_at_once_what_waits_for_its_model(backend: Backend, port: int) -> None:
    """It does not wait for the drain time, and the attempt does not count."""
    settings = patient(backend, drain_timeout=600, max_attempts=1)
    async with working(settings) as one:
        job_id = await backend.submit(rate=0, demo={"tokens": 3})
        await backend.has(job_id, "waiting")
        await one.stop()
    async with back_at(port), working(settings, "w2"):
        events = await backend.ended(job_id)
    assert events[-1].type == "done"
    assert [event.fields()["reason"] for event in events if event.type == "restarted"] == ["worker_stopped"]


async def test_what_one_worker_cannot_reach_another_does(
    backend: Backend, port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker with a wrong address acquires no more jobs after a moment, logs it, and re-queues its jobs."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(working(patient(backend, 12, lease=1)))
        job_id = await backend.submit(rate=0, demo={"tokens": 3})
        await backend.has(job_id, "waiting")
        await until(lambda: _says(backend, "w1", "model_unreachable"), "its liveness record")
        other = free_port()
        await stack.enter_async_context(back_at(other))
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{other}/v1")
        await stack.enter_async_context(working(patient(backend, 12, lease=1), "w2"))
        others = [await backend.submit(rate=0, demo={"tokens": 3}) for _ in range(5)]
        assert [(await backend.ended(one))[-1].type for one in (job_id, *others)] == ["done"] * 6
    assert [record.getMessage()[:18] for record in caplog.records if record.levelno == logging.ERROR] == [
        "model_unreachable:"
    ]
    restarts = [event.fields()["reason"] for event in await backend.events(job_id) if event.type == "restarted"]
    assert set(restarts) == {"model_unreachable"}
    assert await command(backend.redis, "HGET", backend.keys.job(job_id), "lost") == b"0"


async def _says(backend: Backend, worker: str, code: str) -> bool:
    return f'"refused":"{code}"'.encode() in (await backend.redis.get(backend.keys.worker(worker)) or b"")


async def test_jobs_that_waited_for_long_wait_for_a_try_that_is_under_way(backend: Backend) -> None:
    """A worker that was paused, or had no Redis, has stale knowledge of its model: its first job probes for all."""
    settings = patient(backend, 2)
    access = Access(settings)
    access.gates.server.failed(ModelError("model_unreachable", "away", retryable=True, away=True), 0)
    access.gates.server.since -= 60
    access.gates.server.next_probe = 0.0
    assert access.breaker.is_exhausted
    claim = Claim(ClaimStatus.RUN, times=ClaimTimes(60.0))

    told: list[NewEvent] = []

    def asking() -> ModelCall:
        return ModelCall(settings, access, "some", claim, tell=told.append, ends=lambda _: float("inf"))

    first = asking()
    await first.begin()
    assert told == []  # it does not wait
    others = [asyncio.create_task(asking().begin()) for _ in range(3)]
    await until(lambda: access.gates.server.waiting == 3, "them to wait")
    assert [event.type for event in told] == ["waiting"] * 3
    first.answered()
    await asyncio.gather(*others)
