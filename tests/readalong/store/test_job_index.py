"""The lists of jobs, on a real server."""

from __future__ import annotations

import asyncio
import time

import pytest
from arq.connections import ArqRedis

from readalong.core.keys import Keys, model_digest
from readalong.core.states import TERMINAL, Status
from readalong.store.job_index import Cursor, JobIndex
from readalong.store.log import Log
from readalong.store.queue import Queue
from tests.readalong.helpers import JOB_TTL, RETENTION, command
from tests.readalong.jobs import CREATED_AT, queued
from tests.support.waiting import until

KEEP_MS = (RETENTION + JOB_TTL) * 1000


def _id(name: str) -> str:
    return f"listed-job-00000-{name}"


#: Ids and times with ties, oldest first, and by id for equal times: the order of the list.
LISTED = [Cursor(t, _id(i)) for t, i in [(1, "a"), (2, "b"), (2, "c"), (2, "d"), (2, "e"), (3, "f"), (9, "g")]]


async def fill(queue: Queue) -> None:
    for cursor in reversed(LISTED):
        await queue.enqueue(cursor.job_id, cursor.created_at, model="m")


async def test_the_time_is_that_of_redis(index: JobIndex) -> None:
    assert abs(await index.now() - time.time() * 1000) < 5_000
    first = await index.now()
    assert await index.now() >= first


@pytest.mark.parametrize("count", range(1, 9))
async def test_pages_of_any_size_give_every_job_once_newest_first(count: int, index: JobIndex, queue: Queue) -> None:
    await fill(queue)
    seen: list[Cursor] = []
    while page := await index.page(seen[-1] if seen else None, count):
        assert len(page) <= count
        seen += page
    assert seen == LISTED[::-1]


@pytest.mark.parametrize("count", range(1, 9))
async def test_the_open_jobs_come_in_pages_of_any_size_oldest_first(count: int, index: JobIndex, queue: Queue) -> None:
    await fill(queue)
    seen: list[Cursor] = []
    while page := await index.open_jobs(seen[-1] if seen else None, count):
        assert len(page) <= count
        seen += page
    assert seen == LISTED


async def test_a_page_goes_on_from_a_job_that_is_gone_meanwhile(index: JobIndex, queue: Queue) -> None:
    await fill(queue)
    page = await index.page(None, 3)
    await index.remove(page[-1].job_id)
    assert await index.page(page[-1], 3) == LISTED[::-1][3:6]


async def test_a_page_that_is_full_is_followed_by_new_jobs_only_at_the_front(index: JobIndex, queue: Queue) -> None:
    await fill(queue)
    page = await index.page(None, 2)
    await queue.enqueue(_id("new"), 10)
    assert await index.page(page[-1], 2) == LISTED[::-1][2:4]


async def test_an_empty_list_has_an_empty_page(index: JobIndex) -> None:
    assert await index.page(None, 5) == []
    assert await index.page(Cursor(5, "x"), 5) == []
    assert await index.open_jobs(None, 5) == []


def test_a_cursor_is_written_with_its_time_first() -> None:
    assert str(Cursor(12, "abc")) == "12:abc"


async def test_a_removed_job_is_in_no_list(index: JobIndex, queue: Queue, redis: ArqRedis, keys: Keys) -> None:
    await fill(queue)
    await index.remove(_id("a"), _id("c"), model=model_digest("m"))
    assert [await index.contains(_id(name)) for name in "abc"] == [False, True, False]
    for name in (keys.jobs, keys.active, keys.jobs_in("queued"), keys.jobs_of("m")):
        assert await redis.zrange(name, 0, -1) == [at.job_id.encode() for at in LISTED if at.job_id[-1] not in "ac"]


@pytest.mark.parametrize("status", Status)
async def test_a_job_is_put_where_its_hash_says_whatever_its_worker_thinks(
    index: JobIndex, log: Log, redis: ArqRedis, keys: Keys, status: Status
) -> None:
    """Redis returned without its lists, or without the job's end: only the sweep can get it run again."""
    job_id = await queued(log)
    await command(redis, "HSET", keys.job(job_id), "status", status)
    await command(redis, "ZADD", keys.jobs_in("running" if status == "done" else "done"), 5, job_id)
    await index.refile(job_id)
    at = [Cursor(CREATED_AT, job_id)]
    assert await index.open_jobs(None, 10) == ([] if status in TERMINAL else at)
    for state in Status:
        assert await index.page(None, 10, state=state) == (at if state == status else [])
    assert await index.page(None, 10) == await index.page(None, 10, model="m") == at
    assert await index.page(None, 10, model="other") == []
    await redis.delete(keys.job(job_id))
    await index.refile(job_id)
    assert await index.page(None, 10, state=status) == await index.open_jobs(None, 10) == []
    assert await index.contains(job_id)


async def test_an_id_that_was_never_listed_is_not_known(index: JobIndex) -> None:
    assert not await index.contains("unknown")


async def test_trimming_forgets_old_jobs_whose_record_is_gone_and_no_others(
    index: JobIndex, queue: Queue, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It works in slices, however many jobs that are kept come before them."""
    monkeypatch.setattr("readalong.store.job_index._SLICE", 2)
    monkeypatch.setattr("readalong.store.job_index._SLICES", 2)
    kept = [await queued(log) for _ in range(5)]
    old, young = _id("old"), _id("young")
    for job_id in kept:
        await queue.enqueue(job_id, CREATED_AT)
    await queue.enqueue(old, CREATED_AT)
    await queue.enqueue(young, CREATED_AT + 1)
    for _ in range(3):
        await index.trim(CREATED_AT + KEEP_MS)
    assert await index.contains(old)
    for _ in range(3):
        await index.trim(CREATED_AT + KEEP_MS + 1)
    assert [await index.contains(name) for name in (old, *kept, young)] == [False, *[True] * 5, True]
    for job_id in kept:
        await log.delete(job_id)
    for _ in range(4):
        await index.trim(CREATED_AT + KEEP_MS + 2)
    assert await index.page(None, 10) == await index.page(None, 10, state="queued") == []


async def test_ids_are_found_by_their_beginning_whatever_else_stands_among_them(
    log: Log, queue: Queue, index: JobIndex, redis: ArqRedis, keys: Keys
) -> None:
    await fill(queue)
    odd = (
        "listed-job-00000-{x}",
        "listed-job-0",
        "listed-job-00000-a\xff",
        b"listed-job-00000-\xff\xfe",
        "",
        "x" * 5000,
    )
    await command(redis, "ZADD", keys.ids, *(part for member in odd for part in (0, member)))
    assert await index.beginning("listed-job", 100) == [cursor.job_id for cursor in LISTED]
    assert await index.beginning(_id("c"), 100) == [_id("c")]
    assert await index.beginning("listee", 100) == []
    # Another type in its place stops no submit; a search moves it aside, and the sweep mends it.
    await redis.delete(keys.ids)
    await command(redis, "SET", keys.ids, "a person wrote this")
    job_id = await queued(log)
    assert await queue.enqueue(job_id, CREATED_AT)
    assert await index.beginning(job_id, 100) == []
    await index.refile(job_id)
    assert await index.beginning(job_id, 100) == [job_id]


async def test_one_of_many_may_sweep_and_another_after_a_while(index: JobIndex) -> None:
    turns = await asyncio.gather(*(index.try_lock_sweep(1_500) for _ in range(10)))
    assert sorted(turns) == [False] * 9 + [True]
    assert not await index.try_lock_sweep(1_500)
    assert await until(lambda: index.try_lock_sweep(1_500))
