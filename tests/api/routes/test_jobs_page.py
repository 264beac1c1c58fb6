"""The list of jobs."""

from __future__ import annotations

import pytest
from arq.connections import ArqRedis

from readalong.api.schemas import JobList
from readalong.core.keys import new_job_id
from readalong.core.settings import Settings
from readalong.store.job_index import JobIndex
from readalong.store.log import Log
from readalong.store.queue import Queue
from tests.api.helpers import Player
from tests.api.routes.test_submit import problem
from tests.api.serving import Site, a_site, on_valkey
from tests.readalong.helpers import command
from tests.readalong.jobs import submission

pytestmark = on_valkey


async def listed(site: Site, query: str = "") -> JobList:
    answer = await site.http.get(f"/v1/jobs{query}")
    assert answer.status_code == 200, answer.text
    return JobList.model_validate_json(answer.content, strict=True)


async def add(log: Log, queue: Queue, created_at: int, model: str = "m") -> str:
    new = submission(created_at=created_at, model=model)
    await log.submit(new)
    await queue.enqueue(new.job_id, created_at, model=model)
    return new.job_id


async def test_the_list_is_newest_first_in_pages_without_repeats_or_holes(
    settings: Settings, log: Log, queue: Queue
) -> None:
    """Also where many jobs have the same time. Every page but the last names the next one."""
    times = [1000, 1000, 1000, 1000, 1000, 2000, 2000, 3000, 4000, 4000, 4000]
    ids = [(at, await add(log, queue, at)) for at in times]
    wanted = [job_id for _, job_id in sorted(ids, reverse=True)]
    async with a_site(settings) as site:
        for limit in (1, 2, 3, 4, 5, 11, 200):
            found: list[str] = []
            path: str | None = f"?limit={limit}"
            while path is not None:
                page = await listed(site, path)
                assert len(page.jobs) <= limit
                assert all(shown.content is None for shown in page.jobs), "a list leaves out what was said"
                found += [shown.id for shown in page.jobs]
                path = None if page.next is None else page.next.removeprefix("/v1/jobs")
            assert found == wanted, f"in pages of {limit}"


async def pages(site: Site, query: str, limit: int) -> list[str]:
    """Returns the ids of all pages. Each page but the last names the next one."""
    found: list[str] = []
    path: str | None = f"?{query}&limit={limit}"
    while path is not None:
        page = await listed(site, path)
        found += [shown.id for shown in page.jobs]
        path = None if page.next is None else page.next.removeprefix("/v1/jobs")
    return found


async def test_the_list_is_of_one_state_one_model_and_one_time_across_pages(
    settings: Settings, log: Log, queue: Queue, index: JobIndex
) -> None:
    """Each filter alone, and all of them together."""
    ids = [await add(log, queue, 1000 + number, "ab c/ü"[number % 2 :]) for number in range(12)]
    done, running = ids[::3], ids[1]
    for job_id in (*done, running):
        player = await Player.start(log, job_id)
        if job_id in done:
            await player.finish()
        await index.refile(job_id)
    async with a_site(settings) as site:
        for limit in (1, 2, 3, 5):
            assert await pages(site, "status=done", limit) == done[::-1]
            assert await pages(site, "model=ab+c/%C3%BC", limit) == ids[::2][::-1]
            assert await pages(site, "model=ab+c/%C3%BC&status=done", limit) == done[::2][::-1]
            assert (
                await pages(site, "created_after=1003&created_before=1970-01-01T00:00:01.007Z", limit) == ids[3:7][::-1]
            )
            assert await pages(site, "created_after=1970-01-01T01:00:01.005%2B01:00&status=done", limit) == done[:1:-1]
        assert await pages(site, "status=running", 5) == [running]
        assert await pages(site, "status=failed", 5) == await pages(site, "model=other", 5) == []


async def test_a_page_costs_the_same_however_many_jobs_there_are(
    settings: Settings, log: Log, queue: Queue, index: JobIndex, redis: ArqRedis
) -> None:
    """One read of a list and one of the hashes, without the requests. One failed job stands behind many others."""
    ids = [new_job_id() for _ in range(300)]
    for at, job_id in enumerate(ids, 1000):
        await log.submit(submission(job_id, created_at=at, request=b'{"messages":["%s"]}' % (b"x" * 10_000)))
        await queue.enqueue(job_id, at, model="m")
    await log.cancel(ids[0], "client")
    await index.refile(ids[0])
    async with a_site(settings) as site:
        await listed(site)  # opens the connection
        for query, shown in (
            ("status=cancelled", 1),
            ("model=m&limit=3", 3),
            ("created_before=1002", 2),
            ("limit=3", 3),
        ):
            await redis.config_resetstat()
            assert len((await listed(site, f"?{query}")).jobs) == shown
            stats = await redis.info("all")
            assert stats["cmdstat_zrevrangebyscore"]["calls"] == 1
            assert stats["cmdstat_hmget"]["calls"] <= shown
            assert stats["total_net_output_bytes"] < 20_000


async def test_a_page_that_has_looked_far_enough_says_how_far_it_came(
    settings: Settings, log: Log, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list holds ids that the hashes do not confirm."""
    monkeypatch.setattr("readalong.api.routes.jobs_page._MAX_EXAMINED", 4)
    monkeypatch.setattr("readalong.api.routes.jobs_page._NEXT_READ", 2)
    ids = [await add(log, queue, 1000 + number) for number in range(10)]
    for job_id in ids[1:]:
        await Player.start(log, job_id)
    async with a_site(settings) as site:
        first = await listed(site, "?status=queued&limit=2")
        assert first.jobs == []
        assert first.next is not None
        assert await pages(site, "status=queued", 2) == ids[:1]


async def test_a_page_ends_after_so_many_bytes_and_says_how_far_it_came(
    settings: Settings, log: Log, queue: Queue, redis: ArqRedis
) -> None:
    """Jobs with megabytes of metadata come one at a time; small ones come together. A submit refuses such metadata,
    but another version may have accepted it."""
    ids = [await add(log, queue, 1000 + number) for number in range(6)][::-1]
    for job_id in (ids[1], ids[3]):
        await command(redis, "HSET", settings.keys.job(job_id), "metadata", '{"a":"%s"}' % ("x" * 2_000_000))
    async with a_site(settings) as site:
        found: list[list[str]] = []
        path: str | None = ""
        while path is not None:
            page = await listed(site, path)
            found.append([shown.id for shown in page.jobs])
            path = None if page.next is None else page.next.removeprefix("/v1/jobs")
    assert found == [ids[:1], ids[1:2], ids[2:3], ids[3:4], ids[4:]]


async def test_the_list_skips_jobs_that_are_gone(settings: Settings, log: Log, queue: Queue) -> None:
    ids = [await add(log, queue, 1000 + number) for number in range(6)]
    for job_id in ids[1:5]:
        await log.delete(job_id)
    async with a_site(settings) as site:
        assert [shown.id for shown in (await listed(site, "?limit=2")).jobs] == [ids[5], ids[0]]


async def test_an_empty_list_is_a_list(settings: Settings) -> None:
    async with a_site(settings) as site:
        assert (await site.http.get("/v1/jobs")).json() == {"jobs": [], "next": None}


BAD_QUERIES = (
    ("limit=0", 422, "invalid_parameter", "limit"),
    ("limit=201", 422, "invalid_parameter", "limit"),
    ("limit=x", 422, "invalid_parameter", "limit"),
    ("limit=1e400", 422, "invalid_parameter", "limit"),
    ("status=gone", 422, "invalid_parameter", "status"),
    ("model=", 422, "invalid_parameter", "model"),
    ("created_after=yesterday", 422, "invalid_parameter", "created_after"),
    ("created_before=2026-01-01", 422, "invalid_parameter", "created_before"),
    ("created_before=0000-01-01T00:00:00Z", 422, "invalid_parameter", "created_before"),
    ("before=x", 400, "invalid_cursor", "before"),
    ("before=", 400, "invalid_cursor", "before"),
    ("before=1000:short", 400, "invalid_cursor", "before"),
    ("before=-1:abcdefghijklmnopqrstuv", 400, "invalid_cursor", "before"),
    ("before=%C2%B2:abcdefghijklmnopqrstuv", 400, "invalid_cursor", "before"),
    (f"before={'9' * 400}:abcdefghijklmnopqrstuv", 400, "invalid_cursor", "before"),
)


async def test_a_wrong_parameter_of_the_list_is_named(settings: Settings) -> None:
    async with a_site(settings) as site:
        for query, status, code, field in BAD_QUERIES:
            problem(await site.http.get(f"/v1/jobs?{query}"), status, code, field)
