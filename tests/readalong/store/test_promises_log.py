"""Promises 1 to 4 of the architecture for the log: each test is named after its promise."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from arq.connections import ArqRedis

from readalong.core.errors import Fenced
from readalong.core.events import Event, parse_live
from readalong.core.keys import Keys
from readalong.core.settings import Settings
from readalong.core.states import TERMINAL, Status
from readalong.redis.client import connect
from readalong.redis.facade import RedisFacade
from readalong.store.log import AppendResult, ClaimStatus, Log
from tests.readalong.helpers import check_log, history, settings_for, types
from tests.readalong.jobs import METRICS, WORKER, content, end, ended, queued, reclaim, running, submission
from tests.support.clients import client_of
from tests.support.proxy import Proxy

# 1. One log


async def test_promise_1_one_log_is_numbered_without_a_gap_over_attempts_and_ends_with_its_end(log: Log) -> None:
    job_id = await running(log)
    await log.append(job_id, 1, 3, content("a", "b"))
    await reclaim(log, job_id)
    await log.append(job_id, 2, 6, content("c"))
    await log.finish(job_id, 2, 7, end(), {})
    events = await history(log, job_id)
    check_log(events)
    assert types(events) == ["queued", "started", "content", "content", "restarted", "content", "done"]


async def test_promise_1_one_log_gives_each_event_after_any_position_once_and_in_order(log: Log) -> None:
    job_id = await running(log)
    await log.append(job_id, 1, 3, content(*(str(n) for n in range(40))))
    await log.finish(job_id, 1, 43, end(), {})
    whole = await history(log, job_id)
    for position in range(len(whole) + 1):
        seen: list[Event] = []
        while page := await log.read(job_id, seen[-1].seq if seen else position, 7):
            seen += page
        assert seen == whole[position:]


async def test_promise_1_one_log_tells_the_same_live_as_when_read(log: Log, redis: ArqRedis, keys: Keys) -> None:
    job_id = await queued(log)
    async with redis.pubsub() as pubsub:
        await pubsub.subscribe(keys.live(job_id))
        await log.claim(job_id, WORKER, "t")
        for number in range(3, 30):
            await log.append(job_id, 1, number - number % 3, content("abc"[: number % 3 + 1]) * (number % 3 + 1))
        await log.cancel(job_id, "ann")
        last = (await log.read(job_id, 0, 1000))[-1].seq
        await log.finish(job_id, 1, last + 1, end("cancelled"), {})
        heard: list[Event] = []
        while not heard or not heard[-1].terminal:
            message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=100)
            if message is not None:
                heard += parse_live(message["data"])
    assert heard == await log.read(job_id, 1, 1000)


# 2. One end


async def test_promise_2_one_end_of_many_workers_that_end_a_job_at_once(
    log: Log, settings: Settings, resources: AsyncExitStack
) -> None:
    logs = [Log(RedisFacade(client_of(settings, resources), settings), settings) for _ in range(6)]
    for _ in range(10):
        job_id = await running(log)
        calls = [
            one.finish(job_id, 1, 3, end(kind, who=n), {}) for n, one in enumerate(logs) for kind in sorted(TERMINAL)
        ]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert all(
            isinstance(answer, Fenced) or (isinstance(answer, AppendResult) and answer.last_seq == 3)
            for answer in answers
        )
        events = await history(log, job_id)
        check_log(events)
        record = await log.record(job_id)
        assert record is not None
        assert (len(events), record.status) == (3, events[-1].type)


async def test_promise_2_one_end_when_a_cancel_races_the_claim_of_a_queued_job(
    log: Log, settings: Settings, resources: AsyncExitStack
) -> None:
    other = Log(RedisFacade(client_of(settings, resources), settings), settings)
    for _ in range(20):
        job_id = await queued(log)
        claim, status = await asyncio.gather(other.claim(job_id, WORKER, "t"), log.cancel(job_id, "ann"))
        if claim.status == ClaimStatus.RUN:
            assert status == Status.RUNNING
            await other.finish(job_id, 1, 3, end("cancelled"), {})
        else:
            assert (claim.status, status) == (ClaimStatus.ENDED, Status.CANCELLED)
        events = await history(log, job_id)
        check_log(events)
        assert events[-1].type == "cancelled"


@pytest.mark.parametrize("kind", sorted(TERMINAL))
async def test_promise_2_one_end_and_nothing_after_it(kind: str, log: Log, redis: ArqRedis) -> None:
    job_id = await ended(log, kind)
    before = await history(log, job_id)
    async with redis.pubsub() as pubsub:
        await pubsub.subscribe(Keys().live(job_id))
        for other in sorted(TERMINAL):
            for first in range(2, 6):
                # The same end again is a repeat; any other end is refused.
                if (other, first) != (kind, 3):
                    with pytest.raises(Fenced):
                        await log.finish(job_id, 1, first, end(other), {})
        with pytest.raises(Fenced):
            await log.append(job_id, 1, 4, content("x"))
        await log.cancel(job_id, "ann")
        await reclaim(log, job_id)
        await redis.publish(Keys().live(job_id), b"over")
        message = None
        while message is None:
            message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=100)
        assert message["data"] == b"over"
    assert await history(log, job_id) == before


async def test_promise_2_one_end_for_a_job_whose_every_worker_dies(redis: ArqRedis, settings: Settings) -> None:
    log = Log(
        RedisFacade(redis, settings_for(str(settings.redis_url), max_attempts=3)),
        settings_for(str(settings.redis_url), max_attempts=3),
    )
    job_id = await queued(log)
    claims = 0
    while True:
        claims += 1
        claim = await log.claim(job_id, WORKER, f"t{claims}")
        if claim.status != ClaimStatus.RUN:
            break
    assert (claims, claim.status) == (4, ClaimStatus.LOST)
    # This one dies too, before it wrote the end: the next gets the same task.
    claim = await log.claim(job_id, WORKER, "after")
    assert claim.status == ClaimStatus.LOST
    await log.finish(job_id, claim.attempt, claim.last_seq + 1, end("failed"), {})
    assert (await history(log, job_id))[-1].type == "failed"


# 3. One step


async def test_promise_3_one_step_a_listener_that_gets_an_event_finds_it_in_the_log(
    log: Log, redis: ArqRedis, keys: Keys, settings: Settings, resources: AsyncExitStack
) -> None:
    writer = Log(RedisFacade(client_of(settings, resources), settings), settings)
    job_id = await running(log)
    async with redis.pubsub() as pubsub:
        await pubsub.subscribe(keys.live(job_id))

        async def write() -> None:
            for number in range(3, 103, 2):
                await writer.append(job_id, 1, number, content("a", "b"))
            await writer.finish(job_id, 1, 103, end(), {"metrics": METRICS})

        writing = asyncio.create_task(write())
        position = 2
        while position < 103:
            message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=100)
            if message is None:
                continue
            heard = parse_live(message["data"])
            record = await log.record(job_id)
            assert record is not None
            assert record.last_seq >= heard[-1].seq
            assert record.ended or not heard[-1].terminal
            assert await log.read(job_id, position, len(heard)) == heard
            position = heard[-1].seq
        await writing


async def test_promise_3_one_step_repeated_by_many_at_once_is_written_and_told_once(
    log: Log, redis: ArqRedis, keys: Keys, settings: Settings, resources: AsyncExitStack
) -> None:
    logs = [Log(RedisFacade(client_of(settings, resources), settings), settings) for _ in range(5)]
    job_id = await running(log)
    async with redis.pubsub() as pubsub:
        await pubsub.subscribe(keys.live(job_id))
        for number in range(3, 20):
            answers = await asyncio.gather(*(one.append(job_id, 1, number, content(str(number))) for one in logs))
            assert {answer.last_seq for answer in answers} == {number}
        last = [*content("last"), *end()]
        answers = await asyncio.gather(*(one.finish(job_id, 1, 20, last, {}) for one in logs))
        assert {answer.last_seq for answer in answers} == {21}
        heard: list[Event] = []
        while not heard or not heard[-1].terminal:
            message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=100)
            if message is not None:
                heard += parse_live(message["data"])
    assert heard == await log.read(job_id, 2, 100)
    assert [event.seq for event in heard] == list(range(3, 22))


@pytest.mark.parametrize("call", ["submit", "claim", "append", "finish"])
async def test_promise_3_one_step_survives_an_answer_that_is_lost(
    call: str, log: Log, redis: ArqRedis, settings: Settings
) -> None:
    """The connection is cut after Redis has run the command and before the caller has the reply."""
    assert settings.redis_url.port is not None
    new = submission()
    marks = {
        "submit": b":%d\r\n" % new.created_at,
        "claim": b"$3\r\nrun\r\n",
        "append": b"$2\r\nok\r\n",
        "finish": b"$2\r\nok\r\n",
    }
    lost = False

    def keeps(piece: bytes) -> bool:
        nonlocal lost
        if lost or marks[call] not in piece:
            return True
        lost = True
        proxy.cut()
        return False

    async with Proxy(settings.redis_url.port) as proxy:
        proxy.keeps = keeps
        client = connect(settings_for(proxy.url))
        unlucky = Log(RedisFacade(client, settings), settings)
        await (unlucky if call == "submit" else log).submit(new)
        claim = await (unlucky if call == "claim" else log).claim(new.job_id, WORKER, "t")
        await (unlucky if call == "append" else log).append(new.job_id, 1, 3, content("a", "b"))
        answer = await (unlucky if call == "finish" else log).finish(new.job_id, 1, 5, end(), {})
        await client.aclose()
        assert lost
    assert (claim.status, claim.attempt, answer.last_seq) == (ClaimStatus.RUN, 1, 5)
    events = await history(log, new.job_id)
    check_log(events)
    assert types(events) == ["queued", "started", "content", "content", "done"]


# 4. One writer


async def test_promise_4_one_writer_a_worker_that_was_paused_is_fenced_out_at_its_next_append(log: Log) -> None:
    job_id = await running(log)
    await log.append(job_id, 1, 3, content("old"))
    await reclaim(log, job_id)
    with pytest.raises(Fenced) as caught:
        await log.append(job_id, 1, 4, content("old"))
    assert caught.value.code == "fenced"
    with pytest.raises(Fenced):
        await log.finish(job_id, 1, 4, end(), {})
    await log.append(job_id, 2, 5, content("new"))
    assert types(await history(log, job_id)) == ["queued", "started", "content", "restarted", "content"]


async def test_promise_4_one_writer_of_many_workers_that_claim_at_once(
    log: Log, settings: Settings, resources: AsyncExitStack
) -> None:
    plenty = settings_for(str(settings.redis_url), max_attempts=100)
    logs = [Log(RedisFacade(client_of(plenty, resources), plenty), plenty) for _ in range(8)]
    job_id = await queued(log)
    claims = await asyncio.gather(*(one.claim(job_id, WORKER, f"t{n}") for n, one in enumerate(logs)))
    assert sorted(claim.attempt for claim in claims) == list(range(1, 9))
    calls = (one.append(job_id, claim.attempt, 10, content("x")) for one, claim in zip(logs, claims, strict=True))
    answers = await asyncio.gather(*calls, return_exceptions=True)
    wrote = [claim.attempt for claim, answer in zip(claims, answers, strict=True) if not isinstance(answer, Fenced)]
    assert wrote == [8]
