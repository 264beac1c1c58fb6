"""EventSource gives up after an error status: while Redis is away, its stream stays open until Redis replies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from arq.connections import ArqRedis

from readalong.core.settings import Settings
from readalong.store.log import Log
from tests.api.helpers import Player, check_stream
from tests.api.serving import Site, Stream, a_site, on_valkey, short_settings
from tests.readalong.helpers import command
from tests.support.proxy import Proxy
from tests.support.waiting import until

pytestmark = on_valkey

#: The head of a stream that waits, and the headers of an EventSource.
FIRST = b"retry: 1000\n: Redis is away\n\n"
BROWSER = "Accept: text/event-stream"
NO_JOB = "no-such-job-0123456789"


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("readalong.api.fanout.pending_streams._LOOK_EVERY", 0.05)


@asynccontextmanager
async def cut_off(redis_url: str, **changes: Any) -> AsyncIterator[tuple[Site, Proxy]]:
    """Runs an API whose Redis is away; `refusing` ends that."""
    async with Proxy(int(redis_url.rsplit(":", 1)[1].partition("/")[0])) as proxy:
        proxy.refusing = True
        async with a_site(
            short_settings(redis_url, **changes).model_copy(update={"redis_url": proxied(proxy)})
        ) as site:
            yield site, proxy


def proxied(proxy: Proxy) -> Any:
    return short_settings(proxy.url).redis_url


async def waiting(site: Site, job_id: str, query: str = "", **options: Any) -> Stream:
    stream = await site.open(f"/v1/jobs/{job_id}/events{query}", headers=[BROWSER], **options)
    assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    return stream


@pytest.mark.parametrize("query", ["", "?after=3", "?after=latest"])
async def test_a_browser_that_comes_while_redis_is_away_waits_and_then_watches(
    redis_url: str, log: Log, query: str
) -> None:
    """It gets comments meanwhile. It then starts at its position, as if it had connected later."""
    player = await Player.start(log)
    await player.say(3)
    async with (
        cut_off(redis_url, sse_keepalive=0.06) as (site, proxy),
        await waiting(site, player.job_id, query) as stream,
    ):
        assert await stream.piece() == FIRST
        for _ in range(2):
            assert await stream.piece() == b": still here\n\n"
        proxy.refusing = False
        await until(lambda: "watchers=1" in repr(site.hub), "the watcher")
        assert len(site.hub.pending) == 0
        await player.say(2)
        await player.finish()
        check_stream(await stream.rest(), {"": 0, "?after=3": 3, "?after=latest": 5}[query], player.last)


@pytest.mark.parametrize(("job", "status"), [("ended", 204), ("none", 404)])
async def test_a_stream_of_a_missing_or_ended_job_ends_and_the_next_request_is_told_so(
    redis_url: str, log: Log, job: str, status: int
) -> None:
    """A 404 and a 204 end an EventSource; here both are true."""
    player = await Player.start(log)
    await player.finish()
    job_id, query = (NO_JOB if job == "none" else player.job_id), "?after=3"
    async with cut_off(redis_url) as (site, proxy), await waiting(site, job_id, query) as stream:
        assert await stream.piece() == FIRST
        proxy.refusing = False
        assert await stream.piece() == b""
        assert (await site.http.get(f"/v1/jobs/{job_id}/events{query}")).status_code == status


async def test_an_error_that_would_end_a_browsers_event_source_makes_it_reconnect(
    settings: Settings, log: Log, redis: ArqRedis
) -> None:
    """Another replica may know this job, or take over from this one."""
    player = await Player.start(log)
    await command(redis, "HSET", settings.keys.job(player.job_id), "schema", 99)
    async with a_site(settings) as site:
        path = f"/v1/jobs/{player.job_id}/events"
        answer = await site.http.get(path, headers={"Accept": "text/event-stream, */*"})
        assert (answer.status_code, answer.content) == (200, b"retry: 5000\n\n")
        await site.hub.close()
        answer = await site.http.get(path, headers={"Accept": "text/event-stream"})
        assert (answer.status_code, answer.content) == (200, b"retry: 1000\n\n")
        assert (await site.http.get(path)).status_code == 503


async def test_other_clients_than_browsers_get_503_and_a_wrong_id_or_position_is_refused_at_once(
    redis_url: str,
) -> None:
    async with cut_off(redis_url) as (site, _):
        answer = await site.http.get(f"/v1/jobs/{NO_JOB}/events")
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
        for path, status in ((f"/v1/jobs/{NO_JOB}/events?after=x", 400), ("/v1/jobs/short/events", 404)):
            answer = await site.http.get(path, headers={"Accept": "text/event-stream"})
            assert answer.status_code == status


async def test_a_stopping_process_ends_what_waits_and_one_that_left_leaves_nothing(redis_url: str) -> None:
    """All waiting streams share one task, which ends with the last stream."""
    async with cut_off(redis_url) as (site, _):
        before = len(asyncio.all_tasks())
        streams = await asyncio.gather(*(waiting(site, NO_JOB) for _ in range(20)))
        assert len(site.hub.pending) == 20
        await until(lambda: len(asyncio.all_tasks()) <= before + 1, "one task for all, and none that accepts them")
        for stream in streams[1:]:
            stream.vanish()
        await until(lambda: len(site.hub.pending) == 1, "the stream to wait")
        await site.hub.close()
        assert await streams[0].piece() == FIRST
        assert await streams[0].piece() == b""
        assert len(site.hub.pending) == 0
        streams[0].vanish()
        await until(lambda: len(asyncio.all_tasks()) <= before, "no task")
