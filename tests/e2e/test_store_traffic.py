"""The Redis commands of a submit, a status, a watch, a cancel and an erase: their order, and the bytes of their
replies.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from arq.connections import ArqRedis

from bench.harness.monitor import Monitor
from readalong.core.settings import Settings
from readalong.redis.scripts import SCRIPTS
from tests.api.helpers import Player
from tests.api.serving import Site, a_site, short_settings
from tests.support.proxy import Proxy
from tests.support.waiting import until
from tests.worker.helpers import demo_at, settings_for, working

BODY: dict[str, Any] = {"messages": [{"role": "user", "content": "x"}], "model": "demo-fast"}


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return short_settings(redis_url)


@pytest.mark.parametrize(
    "cached",
    [
        (),
        pytest.param(("submit",), marks=pytest.mark.slow),
        pytest.param(("enqueue",), marks=pytest.mark.slow),
        ("claim", "enqueue", "acquire"),
        pytest.param(("submit", "acquire"), marks=pytest.mark.slow),
    ],
)
async def test_a_job_runs_whichever_scripts_redis_has_forgotten(
    cached: tuple[str, ...], redis_url: str, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A release that changes some scripts has this effect.

    The waiting worker is faster than the API, whose way to Redis is long. It would find a job gone that is enqueued
    before it is written, and no list would have the job.
    """
    settings = settings_for(redis_url)  # this worker does not sweep
    assert settings.redis_url.port is not None
    async with (
        Proxy(settings.redis_url.port) as slow,
        demo_at(monkeypatch),
        a_site(settings_for(slow.url)) as site,
        working(settings),
    ):
        assert (await site.http.post("/v1/jobs", json=BODY)).status_code == 202  # this opens the connection
        slow.delay = 0.03
        for _ in range(2):
            await until(lambda: _waits(redis), "a worker to wait")
            await redis.script_flush()
            for name in cached:
                await redis.script_load(SCRIPTS[name][0])
            job_id = (await site.http.post("/v1/jobs", json=BODY)).json()["id"]
            await until(partial(_is_done, site, job_id), "the job's end")


async def _waits(redis: ArqRedis) -> bool:
    commands: list[str] = [client["cmd"] for client in await redis.client_list()]
    return "blpop" in commands


async def _is_done(site: Site, job_id: str) -> bool:
    shown: dict[str, str] = (await site.http.get(f"/v1/jobs/{job_id}")).json()
    return shown["status"] == "done"


async def test_a_process_that_connects_loads_all_scripts(settings: Settings, redis: ArqRedis) -> None:
    """Otherwise the first calls after a start or a release would each be sent twice."""
    await redis.config_resetstat()
    async with a_site(settings) as site:
        assert (await site.http.post("/v1/jobs", json=BODY)).status_code == 202
        stats = await redis.info("commandstats")
        assert "cmdstat_eval" not in stats
        assert all(await redis.script_exists(*(digest for _, digest in SCRIPTS.values())))


@asynccontextmanager
async def counted(redis: ArqRedis) -> AsyncIterator[list[int]]:
    """Counts the bytes that Redis sends meanwhile; set at the end."""
    found: list[int] = []
    before = (await redis.info("stats"))["total_net_output_bytes"]
    yield found
    found.append((await redis.info("stats"))["total_net_output_bytes"] - before)


async def test_redis_sends_a_request_only_to_the_worker_that_claims_it(settings: Settings, redis: ArqRedis) -> None:
    """A conversation of a megabyte, and a kilobyte or two for each call about it."""
    body = {**BODY, "messages": [{"role": "user", "content": "x" * 1_000_000}]}
    async with a_site(settings) as site:
        await site.http.post("/v1/jobs", json=BODY)  # this opens the connection
        async with counted(redis) as sent:
            key = {"Idempotency-Key": "k"}
            answers = [await site.http.post("/v1/jobs", json=body, headers=key) for _ in range(2)]
            path = f"/v1/jobs/{answers[0].json()['id']}"
            assert answers[1].json()["id"] == answers[0].json()["id"]
            await site.http.get(path)
            async with await site.open(f"{path}/events") as stream:
                await stream.some(1)
            await site.http.get("/v1/jobs")
            await site.http.post(f"{path}/cancel")
            assert (await site.http.delete(path)).status_code == 204
        assert sent[0] < 100_000


async def test_a_cancel_of_a_running_job_is_one_command_and_its_answer(settings: Settings, redis: ArqRedis) -> None:
    """The script sets the flag by Redis' clock, nudges the worker, and returns the job.

    For a queued job two more scripts, side by side, remove it from the queue and the lists.
    """
    port = settings.redis_url.port
    assert port is not None
    async with a_site(settings) as site:
        player = await Player.start(site.deps.log, (await site.http.post("/v1/jobs", json=BODY)).json()["id"])
        await player.say(3)
        waits = (await site.http.post("/v1/jobs", json=BODY)).json()["id"]
        for job_id, commands in ((player.job_id, 1), (waits, 3)):
            monitor = Monitor(port)
            with monitor:
                answer = await site.http.post(f"/v1/jobs/{job_id}/cancel")
                await asyncio.sleep(0)
            assert answer.json()["content"] is None
            counts = {name: count for name, count in monitor.counts.items() if name != "publish"}  # the hub's heartbeat
            assert counts == {"evalsha": commands}


async def test_a_submit_is_two_commands_one_after_the_other(settings: Settings) -> None:
    """While the queue has room; the first submit of a second also checks for room."""
    port = settings.redis_url.port
    assert port is not None
    async with a_site(settings) as site:
        await site.http.post("/v1/jobs", json=BODY)
        monitor = Monitor(port)
        with monitor:
            await site.http.post("/v1/jobs", json=BODY)
        counts = {name: count for name, count in monitor.counts.items() if name != "publish"}
        assert counts in ({"evalsha": 2}, {"evalsha": 3})
