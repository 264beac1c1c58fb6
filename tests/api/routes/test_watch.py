"""`GET /v1/jobs/{id}/events`: valid and invalid positions, of live and ended jobs."""

from __future__ import annotations

import pytest

from readalong.core.settings import Settings
from readalong.store.log import Log
from tests.api.helpers import Player, check_stream, number
from tests.api.routes.test_submit import problem
from tests.api.serving import a_site, on_valkey
from tests.support.waiting import until

pytestmark = on_valkey

FAR = 2**53


async def ended_job(log: Log) -> str:
    """Creates a job with `queued`, `started`, three texts and `done`, number 6."""
    player = await Player.start(log)
    await player.say(3)
    await player.finish()
    return player.job_id


async def test_a_stream_says_that_it_must_not_be_kept_or_changed_on_the_way(settings: Settings, log: Log) -> None:
    job_id = await ended_job(log)
    async with a_site(settings) as site:
        answer = await site.http.get(f"/v1/jobs/{job_id}/events")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"] == "no-cache, no-transform"
        assert answer.headers["x-accel-buffering"] == "no"


@pytest.mark.parametrize(
    ("header", "query", "after"),
    [
        (None, "", 0),
        (None, "?after=", 0),
        (None, "?after=0", 0),
        (None, "?after=4", 4),
        (None, "?after=0004", 4),
        ("4", "", 4),
        ("4", "?after=1", 4),
        ("1", "?after=4", 1),
        ("0", "?after=4", 0),
        ("", "?after=4", 4),
        ("2", "?after=nonsense", 2),
        (None, "?lastEventId=4", 4),
        (None, "?lastEventID=4", 4),
        (None, "?Last-Event-ID=4", 4),
        (None, "?after=1&lastEventId=4", 4),
        (None, "?lastEventID=4&after=1", 4),
        (None, "?lastEventId=&after=4", 4),
        ("4", "?lastEventId=1", 4),
    ],
)
async def test_the_position_is_the_header_s_or_else_the_query_s(
    settings: Settings, log: Log, header: str | None, query: str, after: int
) -> None:
    """EventSource sends the header when it reconnects, to a URL that still has its first position."""
    job_id = await ended_job(log)
    async with a_site(settings) as site:
        headers = [] if header is None else [f"Last-Event-ID: {header}"]
        async with await site.open(f"/v1/jobs/{job_id}/events{query}", headers=headers) as stream:
            assert stream.status == 200
            messages = await stream.rest()
            check_stream(messages, after, 6)
            assert number(messages[0]) == after + 1


NO_POSITIONS = (
    "x",
    "-1",
    "+1",
    "1.0",
    "1e3",
    "0x1",
    "1_000",
    "1 2",
    "٣",
    "²",
    "1" * 400,
    "9" * 5000,
    "0" * 20 + "9" * 50,
    "0" * 20 + "9" * 5000,
    str(FAR + 1),
)


async def test_a_position_that_is_no_number_is_refused_by_name(settings: Settings, log: Log) -> None:
    job_id = await ended_job(log)
    async with a_site(settings) as site:
        for position in NO_POSITIONS:
            answer = await site.http.get(f"/v1/jobs/{job_id}/events", params={"after": position})
            assert answer.status_code == 400, position[:50]
            problem(answer, 400, "invalid_position", "after")
            answer = await site.http.get(f"/v1/jobs/{job_id}/events", headers={b"Last-Event-ID": position.encode()})
            assert answer.status_code == 400, position[:50]
            problem(answer, 400, "invalid_position", "Last-Event-ID")


async def test_a_position_at_or_beyond_the_end_of_an_ended_job_is_204(settings: Settings, log: Log) -> None:
    """A 204 tells EventSource not to reconnect."""
    job_id = await ended_job(log)
    async with a_site(settings) as site:
        for position in (6, 7, 1000, FAR, "0" * 5000 + "6"):
            answer = await site.http.get(f"/v1/jobs/{job_id}/events?after={position}")
            assert (answer.status_code, answer.content) == (204, b"")
        assert len(await site.watch(job_id, 5)) == 1
        await until(lambda: "feeds=0 watchers=0" in repr(site.hub), "no feed stays")


async def test_a_position_beyond_the_newest_of_a_live_job_waits_and_then_goes_on(settings: Settings, log: Log) -> None:
    """After a failover the log may be behind its watchers until the worker has repaired it."""
    player = await Player.start(log)
    async with a_site(settings) as site, await site.open(f"/v1/jobs/{player.job_id}/events?after=5") as stream:
        assert stream.status == 200
        await player.say(3)
        await player.say(2)
        await player.finish()
        check_stream(await stream.rest(), 5, player.last)


async def test_a_position_beyond_the_end_that_comes_ends_without_events(settings: Settings, log: Log) -> None:
    """The next request gets a 204, so no client waits for events that never come."""
    player = await Player.start(log)
    async with a_site(settings) as site, await site.open(f"/v1/jobs/{player.job_id}/events?after={FAR}") as stream:
        await until(lambda: "watchers=1 " in repr(site.hub), "the watcher")
        await player.say(1)
        await player.finish()
        assert await stream.rest() == []
        answer = await site.http.get(f"/v1/jobs/{player.job_id}/events?after={FAR}")
        assert answer.status_code == 204


async def test_latest_gives_events_from_now_on_and_resumes_there(settings: Settings, log: Log) -> None:
    """Whether the job is watched already or not. The stream begins with a position that EventSource keeps."""
    player = await Player.start(log)
    await player.say(3)
    path = f"/v1/jobs/{player.job_id}/events?after=latest"
    async with a_site(settings) as site, await site.open(path) as first:
        assert await first.piece() == b"id: 5-first\n\n"
        await player.say(2)
        assert number((await first.some(1))[0]) == 6
        async with await site.open(path) as second, await site.open(path, headers=["Last-Event-ID: 5"]) as back:
            await player.say(2)
            await player.finish()
            check_stream(await second.rest(), 7, player.last)
            check_stream(await back.rest(), 5, player.last)
        assert (await site.http.get(path)).status_code == 204
        answer = await site.http.get(f"/v1/jobs/{player.job_id}/events?lastEventId=latest")
        problem(answer, 400, "invalid_position", "lastEventId")


async def test_a_queued_job_can_be_watched_before_it_runs(settings: Settings, log: Log) -> None:
    async with a_site(settings) as site:
        job_id = (await site.http.post("/v1/jobs", json={"messages": [{"role": "user", "content": "x"}]})).json()["id"]
        async with await site.open(f"/v1/jobs/{job_id}/events") as stream:
            assert [message.event for message in await stream.some(1)] == ["queued"]
            player = await Player.start(log, job_id)
            await player.say(2)
            await player.finish()
            check_stream(await stream.rest(), 1, player.last)


async def test_a_stream_of_any_end_has_exactly_one_terminal_event(settings: Settings, log: Log) -> None:
    async with a_site(settings) as site:
        for kind in ("done", "failed", "cancelled"):
            player = await Player.start(log)
            await player.finish(kind)
            assert [message.event for message in await site.watch(player.job_id)] == ["queued", "started", kind]
