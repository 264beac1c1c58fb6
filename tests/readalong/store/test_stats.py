"""Counts by the minute: each job once, its times in percentiles, whatever stands in their keys."""

from __future__ import annotations

import math
import random
from typing import Any

import orjson
import pytest
from arq.connections import ArqRedis

from readalong.core.events import NewEvent
from readalong.core.keys import Keys, new_job_id
from readalong.core.settings import Settings
from readalong.redis.facade import Argument, RedisFacade
from readalong.store.job_index import JobIndex
from readalong.store.log import Log, encode
from readalong.store.queue import Queue
from readalong.store.stats import Minute, StatsStore, percentiles, total
from tests.readalong.helpers import command
from tests.readalong.jobs import WORKER, submission


@pytest.fixture
def stats(redis: ArqRedis, settings: Settings) -> StatsStore:
    return StatsStore(RedisFacade(redis, settings), settings)


class Jobs:
    """Runs jobs through the queue and the lists, as API and worker do."""

    def __init__(self, log: Log, queue: Queue, index: JobIndex) -> None:
        self.log, self.queue, self.index = log, queue, index

    async def submit(self) -> str:
        new = submission(new_job_id(), created_at=await self.index.now())
        await self.log.submit(new)
        await self.queue.enqueue(new.job_id, new.created_at, model=new.model)
        return new.job_id

    async def end(self, job_id: str, kind: str = "done", *, code: str = "", **metrics: float | None) -> None:
        claim = await self.log.claim(job_id, WORKER, "t")
        fields: dict[str, Argument] = {"metrics": orjson.dumps(metrics)}
        if code:
            fields["error"] = orjson.dumps({"code": code})
        await self.log.finish(job_id, claim.fence, 3, encode([NewEvent(kind, {"content": ""})]), fields)
        await self.index.refile(job_id)


@pytest.fixture
def jobs(log: Log, queue: Queue, index: JobIndex) -> Jobs:
    return Jobs(log, queue, index)


async def now_total(stats: StatsStore) -> Minute:
    return total(await stats.minutes(60))


async def test_each_job_counts_once_however_often_its_lists_are_mended(jobs: Jobs, stats: StatsStore) -> None:
    ids = [await jobs.submit() for _ in range(4)]
    await jobs.end(ids[0], completion_tokens=30, chunk_count=20, time_to_first_token=0.5, queue_seconds=0.1)
    await jobs.end(ids[1], chunk_count=12, time_to_first_token=0.5, queue_seconds=0.1)
    await jobs.end(ids[2], "failed", code="model_timeout", chunk_count=0, time_to_first_token=None, queue_seconds=2)
    await jobs.log.cancel(ids[3], "client")
    for _ in range(3):
        await jobs.index.refile(*ids)
    whole = await now_total(stats)
    assert whole.counts == {"submitted": 4, "done": 2, "failed": 1, "cancelled": 1, "tokens": 42}
    assert whole.errors == {"model_timeout": 1}
    # The one that was cancelled before it began has no time in the queue.
    assert (whole.first_token.total(), whole.queue.total()) == (2, 3)


async def test_percentiles_are_those_of_the_times_to_a_fortieth(jobs: Jobs, stats: StatsStore) -> None:
    dice = random.Random(7)
    times = [round(math.exp(dice.gauss(-1, 1.5)), 4) for _ in range(300)]
    for seconds in times:
        await jobs.end(await jobs.submit(), time_to_first_token=seconds, queue_seconds=seconds / 100)
    whole = await now_total(stats)
    assert whole.first_token.total() == 300
    for steps, divisor in ((whole.first_token, 1), (whole.queue, 100)):
        found, exact = percentiles(steps), sorted(seconds / divisor for seconds in times)
        assert found is not None
        assert found.p50 == pytest.approx(exact[149], rel=0.026, abs=0.0006)
        assert found.p95 == pytest.approx(exact[284], rel=0.026, abs=0.0006)
    assert percentiles(total([]).queue) is None


async def test_all_minutes_come_oldest_first_also_those_without_anything(
    jobs: Jobs, stats: StatsStore, redis: ArqRedis, keys: Keys
) -> None:
    await jobs.submit()
    [name] = [name.decode() for name in await redis.keys(f"{keys.stats_names}*")]
    minute = int(name.removeprefix(keys.stats_names))
    assert 7_100_000 < await redis.pttl(name) <= 7_200_000
    await command(redis, "HSET", keys.stats(minute - 5), "done", 3)
    found = await stats.minutes(10)
    assert [each.at for each in found] == [found[0].at + 60_000 * number for number in range(10)]
    shown = {each.at // 60_000: each.counts for each in found if each.counts}
    assert shown == {minute: {"submitted": 1}, minute - 5: {"done": 3}}
    grown = await stats.growth(20)
    assert (grown.submitted, grown.ended, grown.minutes) == (1, 3, 20)


async def test_jobs_that_ended_long_ago_are_not_counted_when_the_lists_are_lost(
    jobs: Jobs, stats: StatsStore, redis: ArqRedis, keys: Keys
) -> None:
    job_id = await jobs.submit()
    await jobs.end(job_id)
    await redis.delete(*keys.by_state)
    await command(redis, "HSET", keys.job(job_id), "ended_at", await jobs.index.now() - 7_300_000)
    await jobs.index.refile(job_id)
    assert (await now_total(stats)).counts["done"] == 1


async def test_hostile_values_in_the_counts_and_in_a_jobs_metrics_stop_nothing(
    jobs: Jobs, stats: StatsStore, redis: ArqRedis, keys: Keys
) -> None:
    minute = await jobs.index.now() // 60_000
    for number in range(minute - 1, minute + 3):
        odd: dict[str, Any] = {
            "submitted": "x",
            "done": "1e9",
            "first:abc": 1,
            "first:": 2,
            "queue:-1": 3,
            "error:": 4,
        }
        await command(redis, "HSET", keys.stats(number), *(part for pair in odd.items() for part in pair))
    await command(redis, "SET", keys.stats(minute - 2), "a person wrote this")
    for metrics in (
        b"\xff",
        b"[]",
        b"7",
        b'{"time_to_first_token":-1,"queue_seconds":"x","completion_tokens":1e300}',
        b'{"time_to_first_token":1e300,"queue_seconds":{},"completion_tokens":-5,"chunk_count":[]}',
    ):
        job_id = await jobs.submit()
        claim = await jobs.log.claim(job_id, WORKER, "t")
        error = b'{"code":"../../x y"}'
        end = encode([NewEvent("failed", {"content": ""})])
        await jobs.log.finish(job_id, claim.fence, 3, end, {"metrics": metrics, "error": error})
        await jobs.index.refile(job_id)
        assert await redis.zscore(keys.jobs_in("failed"), job_id) is not None
    whole = await now_total(stats)
    assert (whole.counts["failed"], whole.errors.total(), whole.first_token.total()) == (5, 0, 0)
    # A key of another type counts nothing, and no submit fails by it.
    for number in range(minute - 1, minute + 3):
        await redis.delete(keys.stats(number))
        await command(redis, "LPUSH", keys.stats(number), "x")
    await jobs.end(await jobs.submit())
    assert (await now_total(stats)).counts == {}
