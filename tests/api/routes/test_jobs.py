"""Inspect, cancel and erase."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import AsyncMock

import pytest
from arq.connections import ArqRedis

from readalong.api.schemas import FunctionCall, Metrics, ToolCall, WorkerRef
from readalong.core.errors import StoreUnavailable
from readalong.core.events import NewEvent
from readalong.core.keys import new_job_id
from readalong.core.settings import Settings
from readalong.redis.facade import RedisFacade
from readalong.store.idempotency import key_digest
from readalong.store.job_index import JobIndex
from readalong.store.log import Log
from readalong.store.presence import PresenceStore, Visit
from readalong.store.queue import Queue
from tests.api.helpers import Player
from tests.api.routes.test_submit import BODY, job, problem, submit
from tests.api.serving import a_site, on_valkey, short_settings
from tests.readalong.jobs import METRICS
from tests.support.waiting import WITHIN, until

pytestmark = on_valkey

#: Malformed ids: each gets a 404 and nothing else.
NO_IDS = (
    "x",
    "short",
    "a" * 15,
    "a" * 65,
    "a" * 300,
    "%E2%80%A8" * 20,
    "%F0%9F%A6%8A" * 5,
    "%00" * 20,
    "%FF" * 20,
    "abcdefghijklmnop%7Bx%7D",
    "*" * 22,
    "abcdefghijklmnop%20qrst",
    "abcdefghijklmnopqrstuv%0A",
)


async def test_a_job_shows_how_far_it_is(settings: Settings, log: Log) -> None:
    """Queued, running with its text and calls, then ended with its metrics."""
    async with a_site(settings) as site:
        path = f"/v1/jobs/{job(await submit(site)).id}"
        queued = job(await site.http.get(path), 200)
        assert (queued.status, queued.content, queued.started_at) == ("queued", "", None)
        player = await Player.start(log, queued.id)
        await player.say(2)
        call = {"index": 0, "id": "c", "name": "f", "arguments": {"a": 1}}
        await player.append(NewEvent("tool_call", call), NewEvent("function_call", {"name": "g", "arguments": {}}))
        running = job(await site.http.get(path), 200)
        assert (running.status, running.attempt, running.last_seq) == ("running", 1, 6)
        assert (running.content, running.tool_calls) == ("3 4 ", [ToolCall.model_validate(call)])
        assert running.function_call == FunctionCall(name="g", arguments={})
        assert running.worker == WorkerRef(host="h", pid=1, id="w1")
        assert running.started_at is not None
        await player.finish("failed", error={"code": "model_cut", "message": "m", "retryable": True})
        ended = job(await site.http.get(path), 200)
        assert (ended.status, ended.metrics) == ("failed", Metrics.model_validate_json(METRICS))
        assert ended.ended_at is not None


async def test_a_long_job_shows_all_its_text(settings: Settings, log: Log) -> None:
    """The log has more than one page."""
    player = await Player.start(log)
    await player.say(2500)
    async with a_site(settings) as site:
        shown = job(await site.http.get(f"/v1/jobs/{player.job_id}"), 200)
        assert shown.content == "".join(f"{n} " for n in range(3, 2503))


async def test_an_unknown_job_is_404_on_each_call(settings: Settings, redis: ArqRedis) -> None:
    async with a_site(settings) as site:
        for job_id in (new_job_id(), *NO_IDS):
            for method, tail in (("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("DELETE", "")):
                answer = await site.http.request(method, f"/v1/jobs/{job_id}{tail}")
                assert answer.status_code == 404, f"{method} {job_id}{tail}: {answer.text}"
                assert answer.headers["content-type"] == "application/problem+json"
                assert not answer.json()["retryable"]
    assert await redis.keys("*") == [], "no name that a client made up became a key"


async def test_an_expired_job_is_410_on_each_call(settings: Settings, log: Log, index: JobIndex) -> None:
    """The list still names it, and Redis has no other key of it. An erase removes it from the list."""
    async with a_site(settings) as site:
        job_id = job(await submit(site)).id
        await log.delete(job_id)  # as when its time to live ends
        for method, tail in (("GET", ""), ("GET", "/events"), ("POST", "/cancel")):
            problem(await site.http.request(method, f"/v1/jobs/{job_id}{tail}"), 410, "job_expired")
        assert await index.contains(job_id)
        assert (await site.http.delete(f"/v1/jobs/{job_id}")).status_code == 204
        assert not await index.contains(job_id)


async def test_a_cancel_ends_a_queued_job_at_once(settings: Settings, queue: Queue, index: JobIndex) -> None:
    """It leaves the queue, and its terminal event names the source of the cancel."""
    async with a_site(settings) as site:
        job_id = job(await submit(site)).id
        for _ in range(3):
            shown = job(await site.http.post(f"/v1/jobs/{job_id}/cancel"))
            assert (shown.status, shown.last_seq) == ("cancelled", 2)
        assert await queue.acquire("w", 10) == []
        assert await index.open_jobs(None, 10) == []
        messages = await site.watch(job_id)
        assert [message.event for message in messages] == ["queued", "cancelled"]
        assert b'"by":"client"' in messages[1].data


async def test_a_cancel_of_a_running_job_sets_the_flag_and_nudges(
    settings: Settings, log: Log, redis: ArqRedis
) -> None:
    """The worker writes the end. A second cancel changes nothing."""
    player = await Player.start(log)
    async with a_site(settings) as site, redis.pubsub() as control:
        await control.subscribe(settings.keys.control)
        for _ in range(2):
            shown = job(await site.http.post(f"/v1/jobs/{player.job_id}/cancel"))
            assert shown.status == "running"
        flags = await log.flags([player.job_id])
        assert '"by":"client"' in flags[player.job_id]
        message: Any = None
        async with asyncio.timeout(WITHIN):
            while message is None or message["type"] != "message":
                message = await control.get_message(timeout=100)
        assert player.job_id.encode() in message["data"]
        await player.finish("cancelled", by="client")
        assert job(await site.http.get(f"/v1/jobs/{player.job_id}"), 200).status == "cancelled"


@pytest.mark.parametrize("kind", ["done", "failed", "cancelled"])
async def test_a_cancel_of_an_ended_job_keeps_its_end(settings: Settings, log: Log, kind: str) -> None:
    player = await Player.start(log)
    await player.say(1)
    await player.finish(kind)
    async with a_site(settings) as site:
        for _ in range(2):
            shown = job(await site.http.post(f"/v1/jobs/{player.job_id}/cancel"))
            assert (shown.status, shown.last_seq, shown.content) == (kind, 4, None), "what was said is not asked for"


def named(dump: dict[str, Any], job_id: str) -> list[str]:
    return [name for name, value in dump.items() if job_id in name or job_id in str(value)]


async def everything(redis: ArqRedis) -> dict[str, Any]:
    """Returns the content of every key of Redis, by name."""
    client: Any = redis  # redis-py's types do not know that this client is asynchronous
    found: dict[str, Any] = {}
    for name in await redis.keys("*"):
        kind = (await redis.type(name)).decode()
        value: Any = None
        if kind == "string":
            value = await redis.get(name)
        elif kind == "hash":
            value = await client.hgetall(name)
        elif kind == "zset":
            value = await redis.zrange(name, 0, -1)
        elif kind == "stream":
            value = await redis.xrange(name)
        found[name.decode()] = value
    return found


@pytest.mark.parametrize("state", ["queued", "cancelled", "done", "failed", "running"])
async def test_erase_leaves_no_key_that_names_the_job(
    settings: Settings, log: Log, redis: ArqRedis, state: str
) -> None:
    """This holds in every state. Its Idempotency-Key is gone too, so a repeat creates a new job."""
    async with a_site(settings) as site:
        job_id = job(await submit(site, key="k")).id
        player = Player(log, job_id)
        if state == "cancelled":
            await site.http.post(f"/v1/jobs/{job_id}/cancel")
        elif state != "queued":
            await player.claim()
            await player.say(2)
        if state in ("done", "failed"):
            await player.finish(state)
        erasing = asyncio.create_task(site.http.delete(f"/v1/jobs/{job_id}"))
        if state == "running":
            await until(lambda: log.flags([job_id]), "the flag")
            await player.finish("cancelled", by="client")
        answer = await erasing
        assert (answer.status_code, answer.content) == (204, b"")
        # It blocks late copies of the submit, for a while.
        assert named(await everything(redis), job_id) == [settings.keys.cancel(job_id)]
        problem(await site.http.get(f"/v1/jobs/{job_id}"), 404, "job_not_found")
        problem(await site.http.delete(f"/v1/jobs/{job_id}"), 404, "job_not_found")
        assert (await site.http.get("/v1/jobs")).json()["jobs"] == []
        assert job(await submit(site, key="k")).id != job_id


async def test_a_key_tied_by_a_late_command_after_the_erase_gets_a_new_job(settings: Settings, redis: ArqRedis) -> None:
    """The key is tied by a command of its own: a late copy of it may arrive after the erase."""
    async with a_site(settings) as site:
        job_id = job(await submit(site, key="k")).id
        name = settings.keys.idempotency(key_digest("k"))
        tie = (await redis.get(name) or b"").removesuffix(b" written")
        assert (await site.http.delete(f"/v1/jobs/{job_id}")).status_code == 204
        await redis.set(name, tie)
        again = job(await submit(site, key="k")).id
        assert again != job_id
        assert job(await submit(site, key="k")).id == again


async def test_erase_of_a_running_job_whose_worker_is_dead_does_not_wait_for_ever(settings: Settings, log: Log) -> None:
    """Its watchers are disconnected, because no event can follow."""
    player = await Player.start(log)
    async with a_site(settings) as site:
        async with await site.open(f"/v1/jobs/{player.job_id}/events") as stream:
            await stream.some(2)
            answer = await site.http.delete(f"/v1/jobs/{player.job_id}")
            assert answer.status_code == 204
            assert await stream.rest() == []
        await until(lambda: "feeds=0 watchers=0" in repr(site.hub), "no feed")
        problem(await site.http.get(f"/v1/jobs/{player.job_id}/events"), 404, "job_not_found")


@pytest.mark.parametrize("step", ["hub.evict", "queue.remove", "index.remove"])
async def test_erase_that_breaks_off_half_way_is_ended_by_its_repeat(
    settings: Settings, log: Log, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Redis goes away after the log is erased, which disconnects the watchers of all processes. The repeat leaves
    nothing, although a worker has put the job into its lists again just before."""
    part, _, name = step.partition(".")
    async with a_site(settings) as site, a_site(settings) as other:
        job_id = job(await submit(site)).id
        path = f"/v1/jobs/{job_id}"
        await Player(log, job_id).claim()
        async with await other.open(f"{path}/events") as stream:
            await stream.some(2)
            erase = site.deps.log.delete

            async def listed_before(*args: str) -> str:
                await site.deps.index.refile(job_id)
                return await erase(*args)

            with monkeypatch.context() as broken:
                broken.setattr(site.deps.log, "delete", listed_before)
                broken.setattr(getattr(site.deps, part), name, AsyncMock(side_effect=StoreUnavailable("away")))
                problem(await site.http.delete(path), 503, "redis_unavailable")
            assert await stream.rest() == []
        assert (await site.http.delete(path)).status_code == 204
        assert named(await everything(redis), job_id) == [settings.keys.cancel(job_id)]


async def test_a_renewed_presence_of_a_job_that_is_erased_is_not_written(
    settings: Settings, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_site(settings) as site:
        job_id = job(await submit(site, BODY | {"cancel_on_disconnect": True})).id
        erase = site.deps.log.delete

        async def watched_behind(*args: str) -> str:
            answer = await erase(*args)
            await PresenceStore(RedisFacade(redis, settings), settings).touch([Visit(job_id, "hub:1", None)])
            return answer

        monkeypatch.setattr(site.deps.log, "delete", watched_behind)
        assert (await site.http.delete(f"/v1/jobs/{job_id}")).status_code == 204
        assert named(await everything(redis), job_id) == [settings.keys.cancel(job_id)]


async def test_watchers_of_an_erased_job_get_its_end(settings: Settings, log: Log) -> None:
    """An erase cancels first, so watchers see the terminal event."""
    async with a_site(settings) as site:
        job_id = job(await submit(site)).id
        async with await site.open(f"/v1/jobs/{job_id}/events") as stream:
            await stream.some(1)
            assert (await site.http.delete(f"/v1/jobs/{job_id}")).status_code == 204
            assert [message.event for message in await stream.rest()] == ["cancelled"]


async def test_every_key_bears_the_prefix(redis_url: str) -> None:
    """Except arq's own job keys, whose names are fixed."""
    async with a_site(short_settings(redis_url, prefix="other")) as site:
        job(await submit(site, key="key"))
        names = list(await everything(site.deps.redis.for_arq()))
    assert names
    assert all(name.startswith(("other:", "arq:job:", "arq:queue:other")) for name in names)
