"""A cancel is kept: in the queue, before the first token, between tokens, in a stall, in a retry's wait."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from readalong.core.events import Event
from readalong.core.settings import Settings
from readalong.worker.cancel_listener import CancelListener
from tests.readalong.helpers import types
from tests.support.waiting import until
from tests.worker.helpers import Backend, DemoModel, demo_model, settings_for, text_of, working


async def started(backend: Backend, patch: pytest.MonkeyPatch, stack: AsyncExitStack, **settings: float) -> DemoModel:
    """Starts a demo model and a worker for it."""
    demo = await stack.enter_async_context(demo_model())
    patch.setenv("OPENAI_BASE_URL", demo.url)
    await stack.enter_async_context(working(settings_for(str(backend.settings.redis_url), **settings)))
    return demo


async def cancelled(backend: Backend, job_id: str, by: str = "client", within: float = 100) -> list[Event]:
    """Waits for the end, which must be `cancelled` with the whole text."""
    events = await backend.ended(job_id, within)
    end = events[-1]
    assert end.type == "cancelled"
    assert end.fields()["by"] == by
    assert end.fields()["content"] == text_of(events)
    record = await backend.record(job_id)
    assert (record.status, record.metrics) == ("cancelled", end.fields()["metrics"])
    return events


async def cancel(backend: Backend, job_id: str, by: str = "client") -> None:
    await backend.log.cancel(job_id, by)


async def test_a_queued_job_is_cancelled_at_once_and_never_reaches_the_model(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, resources: AsyncExitStack
) -> None:
    job_id = await backend.submit()
    await cancel(backend, job_id)
    assert types(await backend.events(job_id)) == ["queued", "cancelled"]
    demo = await started(backend, monkeypatch, resources)
    events = await cancelled(backend, job_id)
    assert len(events) == 2
    assert (await demo.stats())["requests"] == []


async def test_a_flag_set_by_hand_on_a_queued_job_ends_it_when_it_is_claimed(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, resources: AsyncExitStack
) -> None:
    job_id = await backend.submit()
    await backend.redis.set(backend.keys.cancel(job_id), "me, at the keyboard")
    demo = await started(backend, monkeypatch, resources)
    await cancelled(backend, job_id, "me, at the keyboard")
    assert (await demo.stats())["requests"] == []


async def test_a_cancel_before_the_first_token_closes_the_models_connection(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, resources: AsyncExitStack
) -> None:
    demo = await started(backend, monkeypatch, resources)
    job_id = await backend.submit("demo-slow-first-token", demo={"first_token_seconds": 60})
    await demo.streaming()
    await cancel(backend, job_id)
    events = await cancelled(backend, job_id)
    assert types(events) == ["queued", "started", "cancelled"]
    assert events[-1].fields()["metrics"]["time_to_first_token"] is None
    assert (await demo.left_alone())["gone"] == 1


async def test_a_cancel_before_the_models_headers_closes_its_connection(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, resources: AsyncExitStack
) -> None:
    demo = await started(backend, monkeypatch, resources)
    job_id = await backend.submit("demo-hang")
    await demo.streaming()
    await cancel(backend, job_id)
    await cancelled(backend, job_id)
    assert (await demo.left_alone())["gone"] == 1


async def test_a_cancel_between_tokens_ends_an_endless_job_with_what_was_said(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, resources: AsyncExitStack
) -> None:
    demo = await started(backend, monkeypatch, resources)
    job_id = await backend.submit("demo-endless", rate=300)
    await backend.has(job_id, "content", 10)
    await cancel(backend, job_id)
    events = await cancelled(backend, job_id)
    assert events[-1].fields()["metrics"]["chunk_count"] >= 10
    stats = await demo.left_alone()
    assert stats["gone"] == 1
    assert stats["streams"].popitem()[1]["text"].startswith(text_of(events))


async def test_a_cancel_in_a_stall_does_not_wait_for_the_model(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, resources: AsyncExitStack
) -> None:
    demo = await started(backend, monkeypatch, resources, stall_timeout=0)
    job_id = await backend.submit("demo-stall", rate=1000, demo={"after": 3})
    await backend.has(job_id, "content", 1)
    await cancel(backend, job_id)
    await cancelled(backend, job_id)
    assert (await demo.left_alone())["gone"] == 1


async def test_a_cancel_in_the_wait_before_a_retry_does_not_wait_for_it(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, resources: AsyncExitStack
) -> None:
    demo = await started(backend, monkeypatch, resources, first_token_timeout=0)
    job_id = await backend.submit("demo-429", demo={"retry_after": 50})

    async def refused() -> bool:
        return bool((await demo.stats())["refused"])

    await until(refused)
    await cancel(backend, job_id)
    await cancelled(backend, job_id)
    assert (await demo.stats())["refused"] == 1


@pytest.mark.parametrize("flag", ["", "1", "me", '{"by":"api"}', '{"by":5}', "{", '"quoted"', "\u2028"])
async def test_a_flag_set_by_hand_without_a_nudge_is_seen_within_the_poll(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, resources: AsyncExitStack, flag: str
) -> None:
    demo = await started(backend, monkeypatch, resources, cancel_poll=0.1)
    job_id = await backend.submit("demo-hang")
    await demo.streaming()
    clock = asyncio.get_running_loop().time
    began = clock()
    await backend.redis.set(backend.keys.cancel(job_id), flag)
    await cancelled(backend, job_id, "api" if flag == '{"by":"api"}' else flag)
    assert clock() - began < 10
    assert (await demo.left_alone())["gone"] == 1


async def test_a_nudge_makes_the_worker_look_at_once(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, resources: AsyncExitStack
) -> None:
    """The poll alone would take a minute."""
    demo = await started(backend, monkeypatch, resources, cancel_poll=60)
    job_id = await backend.submit("demo-hang")
    await demo.streaming()

    async def listened() -> bool:
        return bool((await backend.redis.pubsub_numsub(backend.keys.control))[0][1])

    await until(listened)
    await cancel(backend, job_id)
    await cancelled(backend, job_id)


@pytest.mark.parametrize(
    "nudge",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"look_at":7}',
        b'{"look_at":null}',
        b'{"look_at":[]}',
        b'{"look_at":{}}',
        b"\xff",
    ],
)
async def test_what_is_no_nudge_changes_nothing(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, resources: AsyncExitStack, nudge: bytes
) -> None:
    """It also ends no worker: otherwise it would end every worker at once."""
    await started(backend, monkeypatch, resources, cancel_poll=60)

    async def heard() -> bool:
        return bool(await backend.redis.publish(backend.keys.control, nudge))

    await until(heard)
    job_id = await backend.submit("demo-hang")
    await backend.has(job_id, "started")
    await cancel(backend, job_id)
    await cancelled(backend, job_id)


async def test_an_append_alone_tells_the_worker_of_the_flag(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, resources: AsyncExitStack
) -> None:
    """Without a poll and a notification: between tokens the check costs nothing."""
    demo = await started(backend, monkeypatch, resources, cancel_poll=60)
    job_id = await backend.submit("demo-endless", rate=300)
    await backend.has(job_id, "content", 3)
    await backend.redis.set(backend.keys.cancel(job_id), "me")
    await cancelled(backend, job_id, "me")
    await demo.left_alone()


async def test_a_cancel_after_the_end_changes_nothing(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, resources: AsyncExitStack
) -> None:
    await started(backend, monkeypatch, resources)
    job_id = await backend.submit("demo-fast")
    before = await backend.ended(job_id)
    await cancel(backend, job_id)
    assert await backend.events(job_id) == before
    assert (await backend.record(job_id)).status == "done"


async def test_a_flag_set_by_hand_on_a_job_whose_worker_is_lost_ends_it_with_what_was_said(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, resources: AsyncExitStack
) -> None:
    job_id = await backend.submit()
    claim = await backend.log.claim(job_id, b'{"id":"dead"}', "token")
    await backend.log.append(job_id, claim.attempt, 3, [("content", b'{"content":"so far"}')])
    await backend.redis.set(backend.keys.cancel(job_id), "me")
    demo = await started(backend, monkeypatch, resources)
    events = await cancelled(backend, job_id, "me")
    assert (types(events)[2:], text_of(events)) == (["content", "cancelled"], "so far")
    assert (await demo.stats())["requests"] == []


async def test_no_silent_job_goes_unlooked_at_for_longer_than_the_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for a job that fell silent just after a look."""
    chance = random.Random(7)
    every, now, gaps = 0.25, 0.0, [0.0]
    run = SimpleNamespace(looked_at=0.0)

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        if now > 200:
            raise asyncio.CancelledError
        if chance.random() < 0.5:  # an append in between returned the flag
            run.looked_at = max(run.looked_at, now - seconds * chance.random())

    async def flags(job_ids: list[str]) -> dict[str, str]:
        gaps.append(now - run.looked_at)
        return {}

    clock = SimpleNamespace(sleep=sleep, get_running_loop=lambda: SimpleNamespace(time=lambda: now))
    runs: Any = {"a job": run}
    log: Any = SimpleNamespace(flags=flags)
    redis: Any = None
    listener = CancelListener(redis, log, Settings(cancel_poll=every), runs)
    monkeypatch.setattr("readalong.worker.cancel_listener.asyncio", clock)
    with pytest.raises(asyncio.CancelledError):
        await listener.poll()
    assert len(gaps) > 100
    assert max(gaps) <= every + 1e-6
