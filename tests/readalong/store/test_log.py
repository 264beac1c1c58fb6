"""Reading a job's log and keeping it alive, on a real server."""

from __future__ import annotations

from datetime import datetime

import orjson
import pytest
from arq.connections import ArqRedis

from readalong.core.errors import JobNotFound
from readalong.core.keys import Keys
from readalong.core.settings import Settings
from readalong.store.log import Log
from tests.readalong.helpers import JOB_TTL, RETENTION, types
from tests.readalong.jobs import content, ended, queued, running, submission


async def test_reading_goes_on_after_a_position_and_stops_at_a_count(log: Log) -> None:
    job_id = await running(log)
    await log.append(job_id, 1, 3, content("a", "b", "c"))
    assert [e.seq for e in await log.read(job_id, 0, 100)] == [1, 2, 3, 4, 5]
    assert [e.seq for e in await log.read(job_id, 2, 100)] == [3, 4, 5]
    assert [e.seq for e in await log.read(job_id, 2, 2)] == [3, 4]
    assert await log.read(job_id, 5, 100) == []
    assert await log.read(job_id, 999, 100) == []


async def test_the_newest_events_come_in_order(log: Log) -> None:
    job_id = await running(log)
    await log.append(job_id, 1, 3, content("a", "b"))
    assert [e.seq for e in await log.newest(job_id, 2)] == [3, 4]
    assert [e.seq for e in await log.newest(job_id, 99)] == [1, 2, 3, 4]


async def test_of_a_job_that_is_gone_there_is_nothing_to_read(log: Log) -> None:
    job_id = await ended(log)
    await log.delete(job_id)
    assert await log.read(job_id, 0, 10) == []
    assert await log.newest(job_id, 10) == []
    assert await log.record(job_id) is None


async def test_erase_leaves_nothing_of_a_job_and_all_of_another(log: Log, redis: ArqRedis, keys: Keys) -> None:
    """Only the flag that blocks late copies of its submit stays, for a while."""
    job_id, other = await running(log), await running(log)
    await log.cancel(job_id, "ann")
    await log.delete(job_id)
    await log.delete(job_id)
    left = (keys.job(other), keys.events(other), keys.cancel(job_id))
    assert sorted(await redis.keys("*")) == sorted(name.encode() for name in left)
    assert 0 < await redis.pttl(keys.cancel(job_id)) <= 900_000


async def test_a_copy_of_the_submit_that_comes_after_the_erase_makes_no_job(
    log: Log, redis: ArqRedis, keys: Keys
) -> None:
    """A client sent it again over a new connection when the first one was silent, and then the network delivered
    both."""
    new = submission()
    await log.submit(new)
    await log.delete(new.job_id)
    with pytest.raises(JobNotFound):
        await log.submit(new)
    assert await redis.keys("*") == [keys.cancel(new.job_id).encode()]


async def test_records_come_in_the_order_asked_for_with_none_for_what_is_gone(log: Log) -> None:
    first, gone, second = await queued(log), submission().job_id, await running(log)
    found = await log.records([second, gone, first])
    assert [record and record.id for record in found] == [second, None, first]
    assert await log.records([]) == []


async def test_the_flags_of_many_jobs_name_those_that_are_set(log: Log, redis: ArqRedis, keys: Keys) -> None:
    plain, flagged, empty, odd = [await running(log) for _ in range(4)]
    await redis.set(keys.cancel(flagged), "bob")
    await redis.set(keys.cancel(empty), "")
    await redis.set(keys.cancel(odd), b"\xff")
    assert await log.flags([plain, flagged, empty, odd]) == {flagged: "bob", empty: "", odd: "\ufffd"}


async def test_of_no_jobs_there_are_no_flags(log: Log) -> None:
    assert await log.flags([]) == {}
    assert await log.keep_alive([]) == []
    assert await log.missing([]) == []


async def test_gone_are_those_without_a_record(log: Log) -> None:
    there, another, gone = await running(log), await running(log), submission().job_id
    assert await log.missing([there, another]) == []
    assert await log.missing([there, gone, another]) == [gone]


async def test_keep_alive_renews_all_that_a_job_has_and_names_those_that_are_gone(
    log: Log, redis: ArqRedis, keys: Keys
) -> None:
    job_id, gone = await running(log), submission().job_id
    await redis.set(keys.cancel(job_id), "bob")
    for name in keys.of_job(job_id)[:2]:
        await redis.pexpire(name, 5_000)
    assert await log.keep_alive([job_id, gone]) == [gone]
    for name in keys.of_job(job_id)[:3]:
        assert await redis.pttl(name) > (JOB_TTL - 60) * 1000


async def test_keep_alive_leaves_what_has_ended_to_its_retention(log: Log, redis: ArqRedis, keys: Keys) -> None:
    """A worker renews all jobs that it runs, perhaps just after a job's end."""
    job_id = await ended(log)
    assert await log.keep_alive([job_id]) == []
    for name in keys.of_job(job_id)[:2]:
        assert 0 < await redis.pttl(name) <= RETENTION * 1000


async def test_a_cancel_of_a_running_job_nudges_its_worker_with_the_flag(
    log: Log, redis: ArqRedis, settings: Settings
) -> None:
    """With Redis' own time. The first flag is the one that counts."""
    job_id, other = await running(log), await running(log)
    await redis.set(settings.keys.cancel(other), b"a person, \xff")
    async with redis.pubsub() as pubsub:
        await pubsub.subscribe(settings.keys.control)
        nudges: list[dict[str, str]] = []
        for cancelled in (job_id, other):
            await log.cancel(cancelled, "ann")
            message = None
            while message is None:
                message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=100)
            nudges.append(orjson.loads(message["data"]))
    assert [nudge["look_at"] for nudge in nudges] == [job_id, other]
    flag = orjson.loads(nudges[0]["flag"])
    assert flag["by"] == "ann"
    seconds, _ = await redis.time()
    assert abs(datetime.fromisoformat(flag["at"]).timestamp() - seconds) < 60
    assert nudges[1]["flag"] == "a person, ?"
    assert (await log.flags([job_id]))[job_id] == nudges[0]["flag"]


async def test_what_a_worker_writes_reads_back_the_same(log: Log) -> None:
    job_id = await running(log)
    hard = ["\0", "\u2028", '"', "\\", "🦉", "\n", "x" * 100_000]
    await log.append(job_id, 1, 3, content(*hard))
    events = await log.read(job_id, 2, 100)
    assert types(events) == ["content"] * len(hard)
    assert [event.fields()["content"] for event in events] == hard
