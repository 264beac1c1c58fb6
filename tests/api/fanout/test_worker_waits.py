"""What watchers and the job itself are told of a job that waits for a worker, and what that costs Redis."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import orjson
import pytest
from arq.connections import ArqRedis

from readalong.api.fanout.feed import Feed
from readalong.core.settings import Settings
from readalong.store.job_index import JobIndex
from readalong.store.log import Log
from readalong.store.queue import Queue
from readalong.store.worker_registry import WorkerRegistry
from tests.api.helpers import Player
from tests.api.serving import Site, a_site, on_valkey
from tests.readalong.helpers import command
from tests.support.waiting import until

pytestmark = on_valkey


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("readalong.api.fanout.worker_waits._EVERY", 0.02)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of how many jobs each call asked so far."""
    made: list[int] = []
    really = WorkerRegistry.waiting

    async def waiting(registry: WorkerRegistry, job_ids: Any) -> Any:
        made.append(len(job_ids))
        return await really(registry, job_ids)

    monkeypatch.setattr(WorkerRegistry, "waiting", waiting)
    return made


async def taken(log: Log, queue: Queue, index: JobIndex, worker_id: str = "w") -> Player:
    """Starts a job that a worker runs; its Player appends its events."""
    player = await Player.start(log)
    await queue.enqueue(player.job_id, await index.now())
    await queue.acquire_by_id(worker_id, player.job_id)
    return player


async def worker(registry: WorkerRegistry, index: JobIndex, worker_id: str = "w") -> None:
    """A worker that lives, and cannot be seen to be dead."""
    await registry.heartbeat(worker_id, b"{}", await index.now(), 60_000)


async def waiting_for(site: Site, job_id: str) -> Any:
    return (await site.http.get(f"/v1/jobs/{job_id}")).json()["waiting_for"]


async def test_one_call_asks_for_all_silent_jobs_and_none_while_they_speak(
    settings: Settings, log: Log, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many watch them. A job that has ended, or that no client watches here, is not asked about."""
    monkeypatch.setattr("readalong.api.fanout.worker_waits._EVERY", 3600)  # each look is the test's own
    async with AsyncExitStack() as clients, a_site(settings) as site:
        players = [await Player.start(log) for _ in range(3)]
        streams = [
            await clients.enter_async_context(await site.open(f"/v1/jobs/{player.job_id}/events"))
            for player in players
            for _ in range(4)
        ]

        async def look(*speaking: Player) -> list[int]:
            for player in speaking:
                await player.say()
                feed = await site.hub.feed(player.job_id, 0)
                await until(partial(_has, feed, player.last))
            asked.clear()
            await site.deps.waits.look()
            return asked

        assert await look() == [], "nothing is known of their silence yet"
        assert await look() == [3]
        assert await look(players[0]) == [2]
        assert await look(*players) == []
        await players[0].finish()
        await until(lambda: "watchers=8" in repr(site.hub))
        await look()
        assert await look() == [2]
        for stream in streams:
            stream.vanish()
        await until(lambda: "watchers=0" in repr(site.hub))
        assert await look() == []


def _has(feed: Feed, seq: int) -> bool:
    return feed.newest >= seq


async def test_a_watcher_is_told_once_and_again_only_after_something_has_come(
    settings: Settings, log: Log, queue: Queue, index: JobIndex, registry: WorkerRegistry
) -> None:
    """The worker has given the job back; another begins, and gives it back too."""
    await worker(registry, index)
    async with a_site(settings) as site:
        player = await taken(log, queue, index)
        path = f"/v1/jobs/{player.job_id}"
        async with await site.open(f"{path}/events") as stream:
            assert [message.event for message in await stream.some(2)] == ["queued", "started"]
            assert await waiting_for(site, player.job_id) is None
            for number in (3, 4):
                await queue.nack("w", player.job_id)
                [notice] = await stream.some(1)
                assert (notice.event, notice.id) == ("waiting", f"{number - 1}-first"), "it has no id of its own"
                fields = orjson.loads(notice.data)
                assert fields == {"type": "waiting", "for": "worker", "since": fields["since"]}
                assert await waiting_for(site, player.job_id) == "worker"
                async with await site.open(f"{path}/events?after={number - 1}") as late:
                    assert [message.data for message in await late.some(1)] == [notice.data]
                await queue.acquire_by_id("w", player.job_id)
                assert await waiting_for(site, player.job_id) is None
                await player.say()
                [said] = await stream.some(1)
                assert (said.event, said.id) == ("content", f"{number}-first")


async def test_a_queued_job_waits_for_a_worker_only_where_there_is_none(
    settings: Settings, log: Log, queue: Queue, index: JobIndex, registry: WorkerRegistry
) -> None:
    async with a_site(settings) as site:
        answer = await site.http.post("/v1/jobs", json={"messages": [{"role": "user", "content": "?"}]})
        job_id = answer.json()["id"]
        async with await site.open(f"/v1/jobs/{job_id}/events") as stream:
            assert [message.event for message in await stream.some(2)] == ["queued", "waiting"]
        assert await waiting_for(site, job_id) == "worker"
        await worker(registry, index)
        assert await waiting_for(site, job_id) is None
        await site.http.post(f"/v1/jobs/{job_id}/cancel")
        await registry.leave("w")
        assert await waiting_for(site, job_id) is None, "it has ended"


async def test_a_broken_key_keeps_no_client_from_jobs_and_streams(
    settings: Settings, log: Log, redis: ArqRedis, caplog: pytest.LogCaptureFixture
) -> None:
    """It is moved aside, and that is logged once."""
    player = await Player.start(log)
    await command(redis, "SET", settings.keys.workers, "broken")
    async with a_site(settings) as site, await site.open(f"/v1/jobs/{player.job_id}/events") as stream:
        await until(lambda: "held a string" in caplog.text)
        assert await waiting_for(site, player.job_id) is None
        await player.finish()
        assert [message.event for message in await stream.rest()] == ["queued", "started", "done"]
        assert caplog.text.count("held a string") == 1
