"""Each branch of the scripts that start, cancel and hand over a job, on a real server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import orjson
import pytest
from arq.connections import ArqRedis

from readalong.core.errors import Fenced, StoreRefused
from readalong.core.events import Event
from readalong.core.keys import Keys, new_job_id
from readalong.core.options import JobOptions
from readalong.core.settings import Settings
from readalong.core.states import Status
from readalong.redis.facade import RedisFacade
from readalong.store.job_record import rfc3339
from readalong.store.log import Claim, ClaimStatus, Log
from tests.readalong.helpers import command, history, settings_for, state, types
from tests.readalong.jobs import OTHER_WORKER, WORKER, content, end, ended, queued, reclaim, running, submission

# submit
# submit


async def test_submit_writes_the_job_and_its_first_event(log: Log) -> None:
    new = submission()
    created, record = await log.submit(new)
    assert created
    assert (record.id, record.status, record.attempt, record.last_seq) == (new.job_id, Status.QUEUED, 0, 1)
    assert (record.metadata, record.body_digest) == ({"user": "u"}, "digest")
    assert record.created_at == new.created_at
    assert await log.record(new.job_id) == record
    [event] = await history(log, new.job_id)
    assert event == Event(1, "queued", event.data)
    assert event.fields() == {"job_id": new.job_id, "model": "m", "created_at": "2025-11-22T22:20:00.123Z"}


async def test_a_job_is_created_by_redis_own_clock(log: Log, redis: ArqRedis, keys: Keys) -> None:
    """Its deadline counts from then."""
    new = submission(created_at=0, terms=JobOptions(deadline=1.5))
    _, record = await log.submit(new)
    seconds, _ = await redis.time()
    assert abs(record.created_at / 1000 - seconds) < 60
    assert record.deadline == record.created_at + 1500
    assert await log.record(new.job_id) == record
    [event] = await history(log, new.job_id)
    assert event.fields()["created_at"] == rfc3339(record.created_at)


@pytest.mark.parametrize(
    "at", [1, 951_782_399_999, 951_868_800_000, 1_709_164_800_000, 4_107_542_400_000, 253_402_300_799_000]
)
async def test_a_script_writes_a_date_as_everything_else_does(log: Log, at: int) -> None:
    """The first and the last date, and around leap days."""
    new = submission(created_at=at)
    await log.submit(new)
    assert (await history(log, new.job_id))[0].fields()["created_at"] == rfc3339(at)


async def test_submit_of_an_id_that_is_there_changes_nothing_and_answers_the_job_that_is(
    log: Log, redis: ArqRedis, keys: Keys
) -> None:
    job_id = await running(log)
    before = await state(redis, keys, job_id)
    created, record = await log.submit(submission(job_id, model="other", body_digest="other"))
    assert not created
    assert (record.status, record.model, record.body_digest) == (Status.RUNNING, "m", "digest")
    assert await state(redis, keys, job_id) == before


async def test_a_submit_whose_event_redis_refuses_leaves_nothing(log: Log, redis: ArqRedis) -> None:
    """Half a job would stay for ever, and a repeat of the submit would find it."""
    new = submission()
    await command(redis, "ACL", "SETUSER", "default", "-xadd")
    try:
        with pytest.raises(StoreRefused):
            await log.submit(new)
    finally:
        await command(redis, "ACL", "SETUSER", "default", "+xadd")
    assert await redis.keys("*") == []
    assert (await log.submit(new))[0]


# claim


async def test_claim_of_no_job_is_gone_and_writes_nothing(log: Log, redis: ArqRedis) -> None:
    assert (await log.claim(new_job_id(), WORKER, "t")).status == ClaimStatus.GONE
    assert await redis.keys("*") == []


async def test_claim_of_a_queued_job_starts_the_first_attempt(log: Log) -> None:
    job_id = await queued(log)
    claim = await log.claim(job_id, WORKER, "t")
    assert (claim.status, claim.attempt, claim.last_seq, claim.note) == (ClaimStatus.RUN, 1, 2, "")
    assert claim.times.waited > 0
    record = await log.record(job_id)
    assert record is not None
    assert (record.status, record.attempt, record.worker) == (Status.RUNNING, 1, orjson.loads(WORKER))
    assert record.started_at is not None
    assert (await history(log, job_id))[1].fields() == {"attempt": 1, "epoch": "t", "worker": orjson.loads(WORKER)}


def without_wait(claim: Claim) -> Claim:
    """Returns the claim without the time that passes between two claims."""
    return claim._replace(times=claim.times._replace(waited=0))


async def test_the_wait_is_from_submit_by_the_clock_of_redis(log: Log, redis: ArqRedis) -> None:
    seconds, micros = await redis.time()
    new = submission(created_at=seconds * 1000 + micros // 1000 - 7_000)
    await log.submit(new)
    assert 7 <= (await log.claim(new.job_id, WORKER, "t")).times.waited < 12


async def test_a_repeated_claim_answers_the_same_and_writes_nothing(log: Log, redis: ArqRedis, keys: Keys) -> None:
    job_id = await queued(log)
    first = await log.claim(job_id, WORKER, "t")
    before = await state(redis, keys, job_id)
    for until in (0, 1):  # in time or not
        again = await log.claim(job_id, WORKER, "t", until)
        assert without_wait(again) == without_wait(first)
    assert await state(redis, keys, job_id) == before


@pytest.mark.parametrize("make", [queued, running])
async def test_a_claim_whose_lease_is_over_by_the_clock_of_redis_changes_nothing(
    make: Callable[[Log], Awaitable[str]], log: Log, redis: ArqRedis, keys: Keys
) -> None:
    job_id = await make(log)
    before = await state(redis, keys, job_id)
    seconds, micros = await redis.time()
    now = seconds * 1000 + micros // 1000
    assert await log.claim(job_id, OTHER_WORKER, "other", now - 1) == Claim(ClaimStatus.LATE)
    assert await state(redis, keys, job_id) == before
    assert (await log.claim(job_id, OTHER_WORKER, "other", now + 60_000)).status is ClaimStatus.RUN


async def test_a_repeated_claim_of_a_later_attempt_answers_the_same_too(log: Log, redis: ArqRedis, keys: Keys) -> None:
    job_id = await running(log)
    first = await reclaim(log, job_id)
    before = await state(redis, keys, job_id)
    again = await reclaim(log, job_id)
    assert without_wait(again) == without_wait(first)
    assert await state(redis, keys, job_id) == before


async def test_a_repeated_claim_tells_of_a_cancel_that_came_between(log: Log) -> None:
    job_id = await running(log)
    await log.cancel(job_id, "ann")
    claim = await log.claim(job_id, WORKER, "first")
    assert claim.status == ClaimStatus.RUN
    assert orjson.loads(claim.note)["by"] == "ann"


async def test_claim_of_a_running_job_restarts_it_because_its_worker_is_lost(log: Log) -> None:
    job_id = await running(log)
    claim = await reclaim(log, job_id)
    assert (claim.status, claim.attempt, claim.last_seq) == (ClaimStatus.RUN, 2, 3)
    event = (await history(log, job_id))[-1]
    assert (event.type, event.fields()) == (
        "restarted",
        {"attempt": 2, "reason": "worker_lost", "epoch": "second", "worker": orjson.loads(OTHER_WORKER)},
    )
    record = await log.record(job_id)
    assert record is not None
    assert (record.attempt, record.worker) == (2, orjson.loads(OTHER_WORKER))


@pytest.mark.parametrize("max_attempts", [1, 2, 3])
async def test_claim_says_lost_when_the_attempts_allowed_are_used_up(
    max_attempts: int, redis: ArqRedis, settings: Settings
) -> None:
    log = Log(
        RedisFacade(redis, settings_for(str(settings.redis_url), max_attempts=max_attempts)),
        settings_for(str(settings.redis_url), max_attempts=max_attempts),
    )
    job_id = await running(log)
    for attempt in range(2, max_attempts + 1):
        assert (await reclaim(log, job_id, f"t{attempt}")).status == ClaimStatus.RUN
    claim = await reclaim(log, job_id, "last")
    assert (claim.status, claim.attempt, claim.note) == (ClaimStatus.LOST, max_attempts + 1, "worker_lost")
    await log.finish(job_id, claim.attempt, claim.last_seq + 1, end("failed"), {})
    assert types(await history(log, job_id))[-1] == "failed"


async def test_a_job_may_have_its_own_number_of_attempts_set_by_hand(log: Log, redis: ArqRedis, keys: Keys) -> None:
    job_id = await running(log)
    await command(redis, "HSET", keys.job(job_id), "max_attempts", "1")
    assert (await reclaim(log, job_id)).status == ClaimStatus.LOST


async def test_claim_of_a_running_job_that_is_cancelled_lets_the_new_attempt_write_the_end(log: Log) -> None:
    job_id = await running(log)
    await log.cancel(job_id, "ann")
    claim = await reclaim(log, job_id)
    assert (claim.status, claim.attempt, claim.last_seq) == (ClaimStatus.CANCELLED, 2, 2)
    assert orjson.loads(claim.note)["by"] == "ann"
    with pytest.raises(Fenced):
        await log.append(job_id, 1, 3, content("x"))
    await log.finish(job_id, 2, 3, end("cancelled"), {})
    assert types(await history(log, job_id)) == ["queued", "started", "cancelled"]


async def test_a_cancel_wins_over_a_loss(log: Log, redis: ArqRedis, keys: Keys) -> None:
    job_id = await running(log)
    await command(redis, "HSET", keys.job(job_id), "max_attempts", "1")
    await log.cancel(job_id, "ann")
    assert (await reclaim(log, job_id)).status == ClaimStatus.CANCELLED


@pytest.mark.parametrize("kind", ["done", "failed", "cancelled"])
async def test_claim_of_an_ended_job_is_ended_and_writes_nothing(
    kind: str, log: Log, redis: ArqRedis, keys: Keys
) -> None:
    job_id = await ended(log, kind)
    before = await state(redis, keys, job_id)
    assert (await reclaim(log, job_id)).status == ClaimStatus.ENDED
    assert (await log.claim(job_id, WORKER, "first")).status == ClaimStatus.ENDED
    assert await state(redis, keys, job_id) == before


@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_late_repeat_of_an_old_claim_never_shares_the_attempt_of_another_worker(
    cancelled: bool, log: Log, redis: ArqRedis, keys: Keys
) -> None:
    job_id = await running(log)
    if cancelled:
        await log.cancel(job_id, "ann")
    else:
        await command(redis, "HSET", keys.job(job_id), "max_attempts", "1")
    theirs = await reclaim(log, job_id)
    late = await log.claim(job_id, WORKER, "first")
    assert late.attempt != theirs.attempt
    with pytest.raises(Fenced):
        await log.append(job_id, theirs.attempt, theirs.last_seq + 1, content("x"))


@pytest.mark.parametrize("begun", [False, True])
async def test_a_claim_whose_event_redis_refuses_uses_up_no_attempt(
    begun: bool, log: Log, redis: ArqRedis, keys: Keys
) -> None:
    """Each sweep repeats the claim, so a permission that is missing for a minute would fail every job."""
    job_id = await (running(log) if begun else queued(log))
    before = await state(redis, keys, job_id)
    await command(redis, "ACL", "SETUSER", "default", "-xadd")
    try:
        with pytest.raises(StoreRefused):
            await reclaim(log, job_id)
    finally:
        await command(redis, "ACL", "SETUSER", "default", "+xadd")
    assert await state(redis, keys, job_id) == before
    claim = await reclaim(log, job_id)
    assert (claim.status, claim.attempt) == (ClaimStatus.RUN, 1 + begun)


# cancel


async def test_cancel_of_no_job_is_gone_and_writes_nothing(log: Log, redis: ArqRedis) -> None:
    assert await log.cancel(new_job_id(), "ann") is None
    assert await redis.keys("*") == []


async def test_cancel_of_a_queued_job_ends_it_at_once(log: Log) -> None:
    job_id = await queued(log)
    assert await log.cancel(job_id, "ann") == Status.CANCELLED
    record = await log.record(job_id)
    assert record is not None
    assert (record.status, record.last_seq, record.started_at) == (Status.CANCELLED, 2, None)
    assert record.ended_at is not None
    event = (await history(log, job_id))[-1]
    fields = event.fields()
    assert (event.type, fields["by"], fields["content"]) == ("cancelled", "ann", "")
    assert fields["metrics"] == record.metrics
    assert fields["metrics"]["chunk_count"] == 0
    assert fields["metrics"]["queue_seconds"] == fields["metrics"]["total_seconds"] > 0
    assert (await log.claim(job_id, WORKER, "t")).status == ClaimStatus.ENDED


async def test_cancel_of_a_running_job_sets_the_flag_and_leaves_the_end_to_the_worker(log: Log) -> None:
    job_id = await running(log)
    assert await log.cancel(job_id, "ann") == Status.RUNNING
    assert orjson.loads((await log.flags([job_id]))[job_id])["by"] == "ann"
    assert types(await history(log, job_id)) == ["queued", "started"]


async def test_the_flag_names_the_source_of_the_first_cancel(log: Log, redis: ArqRedis, keys: Keys) -> None:
    job_id = await running(log)
    await log.cancel(job_id, "ann")
    before = await state(redis, keys, job_id)
    assert await log.cancel(job_id, "bob") == Status.RUNNING
    assert await state(redis, keys, job_id) == before


@pytest.mark.parametrize("kind", ["done", "failed", "cancelled"])
async def test_cancel_of_an_ended_job_keeps_its_end(kind: str, log: Log, redis: ArqRedis, keys: Keys) -> None:
    job_id = await ended(log, kind)
    before = await state(redis, keys, job_id)
    assert await log.cancel(job_id, "ann") == kind
    assert await state(redis, keys, job_id) == before


async def test_cancel_of_a_queued_job_twice_ends_it_once(log: Log, redis: ArqRedis, keys: Keys) -> None:
    job_id = await queued(log)
    await log.cancel(job_id, "ann")
    before = await state(redis, keys, job_id)
    assert await log.cancel(job_id, "bob") == Status.CANCELLED
    assert await state(redis, keys, job_id) == before


# handover


@pytest.mark.parametrize("counts", [True, False])
async def test_a_handover_goes_on_as_a_new_attempt_for_its_reason(counts: bool, log: Log) -> None:
    job_id = await running(log)
    await log.requeue(job_id, 1, "cut", counts=counts)
    claim = await reclaim(log, job_id)
    assert (claim.status, claim.attempt) == (ClaimStatus.RUN, 2)
    assert (await history(log, job_id))[-1].fields()["reason"] == "cut"
    # The reason is used up: the next loss counts as a loss.
    await reclaim(log, job_id, "third")
    assert (await history(log, job_id))[-1].fields()["reason"] == "worker_lost"


async def test_a_handover_that_counts_uses_up_an_attempt_and_one_that_does_not_uses_none(
    redis: ArqRedis, settings: Settings
) -> None:
    log = Log(
        RedisFacade(redis, settings_for(str(settings.redis_url), max_attempts=2)),
        settings_for(str(settings.redis_url), max_attempts=2),
    )
    job_id = await running(log)
    for attempt in range(1, 6):
        await log.requeue(job_id, attempt, "deploy", counts=False)
        assert (await reclaim(log, job_id, f"d{attempt}")).status == ClaimStatus.RUN
    await log.requeue(job_id, 6, "cut", counts=True)
    assert (await reclaim(log, job_id, "c1")).status == ClaimStatus.RUN
    await log.requeue(job_id, 7, "cut", counts=True)
    claim = await reclaim(log, job_id, "c2")
    assert (claim.status, claim.note) == (ClaimStatus.LOST, "cut")


@pytest.mark.parametrize("counts", [True, False])
async def test_a_repeated_handover_counts_once(counts: bool, log: Log, redis: ArqRedis, keys: Keys) -> None:
    job_id = await running(log)
    await log.requeue(job_id, 1, "cut", counts=counts)
    before = await state(redis, keys, job_id)
    assert before[0][b"lost"] == (b"1" if counts else b"0")
    await log.requeue(job_id, 1, "cut", counts=counts)
    assert await state(redis, keys, job_id) == before


async def test_a_handover_of_an_ended_job_is_refused(log: Log) -> None:
    job_id = await ended(log)
    with pytest.raises(Fenced) as caught:
        await log.requeue(job_id, 1, "deploy", counts=True)
    assert caught.value.code == "ended"


async def test_a_reason_with_quotes_in_it_is_still_json(log: Log) -> None:
    job_id = await running(log)
    await log.requeue(job_id, 1, 'a "b" \\ %s', counts=True)
    await reclaim(log, job_id)
    assert (await history(log, job_id))[-1].fields()["reason"] == 'a "b" \\ %s'
