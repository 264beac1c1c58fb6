"""Each branch of the scripts with which an attempt writes, on a real server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest
from arq.connections import ArqRedis

from readalong.core.errors import Fenced, StoreRefused
from readalong.core.keys import Keys
from readalong.core.options import JobOptions
from readalong.core.states import Status
from readalong.store.log import AppendResult, ClaimStatus, Log
from tests.readalong.helpers import check_log, command, history, state, types
from tests.readalong.jobs import METRICS, WORKER, content, end, ended, queued, reclaim, running, submission

# append


async def test_append_numbers_the_events_and_answers_the_last(log: Log) -> None:
    job_id = await running(log)
    assert await log.append(job_id, 1, 3, content("a", "b")) == AppendResult("ok", 4, None)
    assert await log.append(job_id, 1, 5, content("c")) == AppendResult("ok", 5, None)
    events = await history(log, job_id)
    check_log(events)
    assert [event.data for event in events[2:]] == [data for _, data in content("a", "b", "c")]
    record = await log.record(job_id)
    assert record is not None
    assert record.last_seq == 5


async def test_append_of_nothing_asks_for_the_flag_only(log: Log, redis: ArqRedis, keys: Keys) -> None:
    job_id = await running(log)
    before = await state(redis, keys, job_id)
    assert await log.append(job_id, 1, 3, []) == AppendResult("ok", 2, None)
    assert await state(redis, keys, job_id) == before
    await redis.set(keys.cancel(job_id), "bob")
    assert await log.append(job_id, 1, 3, []) == AppendResult("ok", 2, "bob")


async def test_append_answers_the_flag_as_it_is_and_writes_all_the_same(log: Log) -> None:
    job_id = await running(log)
    await log.cancel(job_id, "ann")
    answer = await log.append(job_id, 1, 3, content("a"))
    assert (answer.status, answer.last_seq) == ("ok", 3)
    assert orjson.loads(answer.cancel_flag or "")["by"] == "ann"


async def test_append_beyond_the_end_of_the_log_is_a_gap_and_writes_nothing(
    log: Log, redis: ArqRedis, keys: Keys
) -> None:
    job_id = await running(log)
    before = await state(redis, keys, job_id)
    assert await log.append(job_id, 1, 4, content("a")) == AppendResult("gap", 2, None)
    assert await log.append(job_id, 1, 40, content("a")) == AppendResult("gap", 2, None)
    assert await state(redis, keys, job_id) == before


async def test_append_writes_only_what_is_not_in_the_log_yet(log: Log) -> None:
    job_id = await running(log)
    await log.append(job_id, 1, 3, content("a", "b"))
    assert await log.append(job_id, 1, 4, content("b", "c", "d")) == AppendResult("ok", 6, None)
    assert await log.append(job_id, 1, 3, content("a")) == AppendResult("ok", 6, None)
    events = await history(log, job_id)
    check_log(events)
    assert [event.fields()["content"] for event in events[2:]] == ["a", "b", "c", "d"]


async def assert_refused(log: Log, job_id: str, attempt: int, first: int, code: str) -> None:
    """Asserts that each way to write by this attempt, from event `first` on, is refused with this code."""
    for call in (
        log.append(job_id, attempt, first, content("a")),
        log.finish(job_id, attempt, first, end(), {}),
        log.requeue(job_id, attempt, "deploy", counts=True),
    ):
        with pytest.raises(Fenced) as caught:
            await call
        assert caught.value.code == code


@pytest.mark.parametrize("attempt", [0, 1, 3, 20])
async def test_only_the_newest_attempt_may_write(attempt: int, log: Log, redis: ArqRedis, keys: Keys) -> None:
    job_id = await running(log)
    await reclaim(log, job_id)
    before = await state(redis, keys, job_id)
    await assert_refused(log, job_id, attempt, 4, "fenced")
    assert await state(redis, keys, job_id) == before


async def test_a_job_that_was_never_claimed_refuses_every_write(log: Log, redis: ArqRedis, keys: Keys) -> None:
    job_id = await queued(log)
    before = await state(redis, keys, job_id)
    await assert_refused(log, job_id, 0, 2, "fenced")
    assert await state(redis, keys, job_id) == before


async def test_a_write_to_a_job_that_is_gone_is_refused_and_leaves_nothing(
    log: Log, redis: ArqRedis, keys: Keys
) -> None:
    job_id = await running(log)
    await redis.delete(*keys.of_job(job_id))
    await assert_refused(log, job_id, 1, 3, "gone")
    assert await redis.keys("*") == []


@pytest.mark.parametrize("how", ["append", "finish", "claim", "cancel", "expire"])
async def test_a_job_whose_log_redis_has_dropped_is_gone(how: str, log: Log, redis: ArqRedis, keys: Keys) -> None:
    """A watcher could not read a log that continued without its beginning. Watchers are told that the job is gone."""
    if how in ("append", "finish"):
        job_id = await running(log)
    else:
        new = submission(terms=JobOptions(deadline=0.001))
        await log.submit(new)
        job_id = new.job_id
    await redis.delete(keys.events(job_id))
    async with redis.pubsub(ignore_subscribe_messages=True) as tap:
        await tap.subscribe(keys.live(job_id))
        if how == "claim":
            assert (await log.claim(job_id, WORKER, "late")).status in (ClaimStatus.GONE, ClaimStatus.ENDED)
        elif how == "cancel":
            await log.cancel(job_id, "ann")
        elif how == "expire":
            await log.expire(job_id)
        else:
            call = log.append(job_id, 1, 3, content("a")) if how == "append" else log.finish(job_id, 1, 3, end(), {})
            with pytest.raises(Fenced) as caught:
                await call
            assert caught.value.code == "gone"
        told: Any = None
        while told is None:
            told = await tap.get_message(timeout=5)
        assert told["data"] == b"erased"
    assert await redis.exists(keys.job(job_id), keys.events(job_id)) == 0


async def test_an_append_notes_its_time_where_it_is_asked_to(log: Log, redis: ArqRedis, keys: Keys) -> None:
    """By Redis' clock. The claim has recorded its own time."""
    job_id = await running(log)
    record = await log.record(job_id)
    assert record is not None
    assert record.last_event_at == record.started_at
    await command(redis, "HSET", keys.job(job_id), "last_event_at", 1)
    await log.append(job_id, 1, 3, content("a"))
    record = await log.record(job_id)
    assert record is not None
    seconds, micros = await redis.time()
    assert record.created_at < record.last_event_at <= seconds * 1000 + micros // 1000
    await log.finish(job_id, 1, 4, end(), {})
    record = await log.record(job_id)
    assert record is not None
    assert record.last_event_at == record.ended_at


# finish


@pytest.mark.parametrize("how", ["finish", "cancel", "expire"])
async def test_a_job_whose_end_redis_refuses_to_write_has_not_ended(
    how: str, log: Log, redis: ArqRedis, keys: Keys
) -> None:
    """Otherwise it would have ended without a terminal event, and its watchers would wait for ever. A script has no
    rollback."""
    job_id = await (running(log) if how == "finish" else queued(log))
    await command(redis, "HSET", keys.job(job_id), "deadline", 1)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "finish": lambda: log.finish(job_id, 1, 3, end(), {"metrics": METRICS}),
        "cancel": lambda: log.cancel(job_id, "client"),
        "expire": lambda: log.expire(job_id),
    }
    before = await history(log, job_id)
    await command(redis, "ACL", "SETUSER", "default", "-xadd")
    try:
        with pytest.raises(StoreRefused):
            await calls[how]()
    finally:
        await command(redis, "ACL", "SETUSER", "default", "+xadd")
    record = await log.record(job_id)
    assert record is not None
    assert not record.ended
    assert await history(log, job_id) == before
    await calls[how]()
    events = await history(log, job_id)
    check_log(events)
    assert events[-1].terminal


@pytest.mark.parametrize("kind", ["done", "failed", "cancelled"])
async def test_finish_writes_the_last_events_and_the_end_in_one_step(kind: str, log: Log) -> None:
    job_id = await running(log)
    fields: dict[str, Any] = {"metrics": METRICS, "finish_reason": "stop"}
    answer = await log.finish(job_id, 1, 3, [*content("a"), *end(kind)], fields)
    assert answer == AppendResult("ok", 4, None)
    record = await log.record(job_id)
    assert record is not None
    assert (record.status, record.last_seq, record.finish_reason) == (kind, 4, "stop")
    assert record.metrics == orjson.loads(METRICS)
    assert record.ended_at is not None
    assert types(await history(log, job_id)) == ["queued", "started", "content", kind]


async def test_finish_without_fields_works_too(log: Log) -> None:
    record = await log.record(await ended(log))
    assert record is not None
    assert (record.status, record.metrics) == (Status.DONE, None)


async def test_finish_beyond_the_end_of_the_log_is_a_gap_and_ends_nothing(
    log: Log, redis: ArqRedis, keys: Keys
) -> None:
    job_id = await running(log)
    before = await state(redis, keys, job_id)
    assert await log.finish(job_id, 1, 4, end(), {"metrics": METRICS}) == AppendResult("gap", 2, None)
    assert await state(redis, keys, job_id) == before


async def test_finish_writes_only_what_is_not_in_the_log_yet(log: Log) -> None:
    job_id = await running(log)
    await log.append(job_id, 1, 3, content("a", "b"))
    assert (await log.finish(job_id, 1, 4, [*content("b", "c"), *end()], {})).last_seq == 6
    assert types(await history(log, job_id))[2:] == ["content"] * 3 + ["done"]


async def test_a_finish_whose_end_would_be_skipped_as_a_repeat_does_not_end_the_job_without_it(
    log: Log, redis: ArqRedis, keys: Keys
) -> None:
    job_id = await running(log)
    await log.append(job_id, 1, 3, content("a", "b"))
    before = await state(redis, keys, job_id)
    with pytest.raises(Exception, match="no room for the end"):
        await log.finish(job_id, 1, 3, [*content("a"), *end()], {})
    assert await state(redis, keys, job_id) == before


async def test_a_repeated_finish_is_as_good_as_the_first_and_changes_nothing(
    log: Log, redis: ArqRedis, keys: Keys
) -> None:
    job_id = await running(log)
    last = [*content("a"), *end()]
    await log.finish(job_id, 1, 3, last, {})
    before = await state(redis, keys, job_id)
    assert await log.finish(job_id, 1, 3, last, {"metrics": METRICS}) == AppendResult("ok", 4, None)
    assert await state(redis, keys, job_id) == before


@pytest.mark.parametrize(
    ("first", "last"), [(3, end("failed")), (4, end("done")), (3, [*content("a"), *end("done")])], ids=repr
)
async def test_a_second_and_different_end_is_refused(
    first: int, last: list[tuple[str, bytes]], log: Log, redis: ArqRedis, keys: Keys
) -> None:
    job_id = await ended(log, "done")
    before = await state(redis, keys, job_id)
    for call in (log.finish(job_id, 1, first, last, {}), log.append(job_id, 1, 4, content("x"))):
        with pytest.raises(Fenced) as caught:
            await call
        assert caught.value.code == "ended"
    assert await state(redis, keys, job_id) == before
