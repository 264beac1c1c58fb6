"""Promises 5 and 7 of the architecture for the log: a cancel is kept, and nothing is hidden."""

from __future__ import annotations

import subprocess
from contextlib import AsyncExitStack
from typing import Any

import orjson
import pytest
from arq.connections import ArqRedis

from readalong.core.keys import Keys
from readalong.core.settings import Settings
from readalong.core.states import TERMINAL, Status
from readalong.redis.facade import RedisFacade
from readalong.store.idempotency import IdempotencyStore
from readalong.store.job_index import JobIndex
from readalong.store.log import ClaimStatus, Log
from readalong.store.presence import PresenceStore
from readalong.store.queue import Queue
from readalong.store.worker_registry import WorkerRegistry
from tests.readalong.helpers import check_log, history, settings_for
from tests.readalong.jobs import WORKER, content, ended, queued, reclaim, running
from tests.support.clients import client_of
from tests.support.servers import RedisServer

# 5. A cancel is kept


@pytest.mark.parametrize(
    ("flag", "by"),
    [
        (b"bob", "bob"),
        (b'{"by":"ann"}', "ann"),
        (b'{"by":7}', '{"by":7}'),
        (b'{"at":"now"}', '{"at":"now"}'),
        (b'"bob"', '"bob"'),
        (b"[1]", "[1]"),
        (b"1", "1"),
        (b"null", "null"),
        (b"{broken", "{broken"),
        (b"", ""),
        (b'say "hi" \\ \n', 'say "hi" \\ \n'),
        ("zoë 🦉\u2028".encode(), "zoë 🦉\u2028"),
        (b"\xff\xfe", "??"),
        (b"a\xc3", "a?"),
        (b"\xed\xa0\x80", "???"),
        (b'{"by":"\xff"}', "?"),
    ],
    ids=repr,
)
async def test_promise_5_a_cancel_is_kept_that_a_person_set_by_hand_while_the_job_was_queued(
    flag: bytes, by: str, log: Log, redis: ArqRedis, keys: Keys
) -> None:
    job_id = await queued(log)
    await redis.set(keys.cancel(job_id), flag)
    assert (await log.claim(job_id, WORKER, "t")).status == ClaimStatus.ENDED
    events = await history(log, job_id)
    check_log(events)
    assert (events[-1].type, events[-1].fields()["by"]) == ("cancelled", by)
    assert 0 < await redis.pttl(keys.cancel(job_id)) <= 1_000_000


@pytest.mark.parametrize("flag", ["bob", "", '{"by":"ann"}'])
async def test_promise_5_a_cancel_is_kept_that_a_person_set_by_hand_while_the_job_ran(
    flag: str, log: Log, redis: ArqRedis, keys: Keys
) -> None:
    job_id = await running(log)
    await redis.set(keys.cancel(job_id), flag)
    assert (await log.append(job_id, 1, 3, content("a"))).cancel_flag == flag
    assert await log.flags([job_id]) == {job_id: flag}
    claim = await reclaim(log, job_id)
    assert (claim.status, claim.note) == (ClaimStatus.CANCELLED, flag)


async def test_promise_5_a_cancel_is_kept_with_the_source_that_came_first_even_by_hand(
    log: Log, redis: ArqRedis, keys: Keys
) -> None:
    job_id = await queued(log)
    await redis.set(keys.cancel(job_id), "bob")
    assert await log.cancel(job_id, "ann") == Status.CANCELLED
    assert (await history(log, job_id))[-1].fields()["by"] == "bob"


async def test_promise_5_a_cancel_is_kept_through_appends_handovers_and_lost_workers(
    redis: ArqRedis, settings: Settings
) -> None:
    log = Log(RedisFacade(redis, settings), settings)
    job_id = await running(log)
    await log.cancel(job_id, "ann")
    flag = (await log.flags([job_id]))[job_id]
    assert (await log.append(job_id, 1, 3, content("a"))).cancel_flag == flag
    await log.requeue(job_id, 1, "deploy", counts=False)
    for token in ("x", "y", "z"):
        claim = await reclaim(log, job_id, token)
        assert (claim.status, claim.note) == (ClaimStatus.CANCELLED, flag)
        assert (await log.append(job_id, claim.attempt, 4, [])).cancel_flag == flag


async def test_promise_5_a_cancel_is_kept_through_the_death_of_redis(
    resources: AsyncExitStack, redis_server: RedisServer
) -> None:
    server = resources.enter_context(RedisServer.start(aof=True, binary=redis_server.binary))
    settings = settings_for(server.url)
    log = Log(RedisFacade(client_of(settings, resources), settings), settings)
    waits, runs = await queued(log), await running(log)
    await log.cancel(runs, "ann")
    await log.append(runs, 1, 3, content("a"))
    await client_of(settings, resources).set(settings.keys.cancel(waits), "bob")
    before = await history(log, runs)
    server.kill()
    server.restart()
    assert await history(log, runs) == before
    assert orjson.loads((await log.append(runs, 1, 4, content("b"))).cancel_flag or "")["by"] == "ann"
    assert (await log.claim(waits, WORKER, "t")).status == ClaimStatus.ENDED


# 7. Nothing hidden


async def fill(redis: ArqRedis, settings: Settings) -> list[str]:
    """Writes one of everything that this package writes; returns the ids of the jobs."""
    log, queue, index = (
        Log(RedisFacade(redis, settings), settings),
        Queue(RedisFacade(redis, settings), settings),
        JobIndex(RedisFacade(redis, settings), settings),
    )
    waits, runs, flagged = await queued(log), await running(log), await running(log)
    jobs = [waits, runs, flagged, *[await ended(log, kind) for kind in sorted(TERMINAL)]]
    await log.append(runs, 1, 3, content("\u2028\0🦉"))
    await log.cancel(flagged, "ann")
    await log.requeue(runs, 1, "deploy", counts=True)
    gone = await queued(log)
    await log.cancel(gone, "ann")
    now = await index.now()
    for job_id in (*jobs, gone):
        await queue.enqueue(job_id, now, model="m", watched=True)
    await queue.acquire("worker-1", 4)
    await IdempotencyStore(RedisFacade(redis, settings), settings).claim("my key", waits, "digest")
    await WorkerRegistry(RedisFacade(redis, settings), settings).heartbeat("worker-1", WORKER, now, 10_000)
    await index.try_lock_sweep(10_000)
    await PresenceStore(RedisFacade(redis, settings), settings).find_abandoned(1)
    return [*jobs, gone]


async def test_promise_7_nothing_hidden_everything_has_a_time_to_live(redis: ArqRedis, settings: Settings) -> None:
    keys = settings.keys
    await fill(redis, settings)
    without = {name.decode() for name in await redis.keys("*") if await redis.pttl(name) == -1}
    # A deployment has one of each. The lists of jobs are trimmed with retention; members of the queue and of its leases
    # leave with their jobs. None of them belongs to one job.
    assert without <= {keys.jobs, keys.active, *keys.by_state, keys.ids, keys.queue, keys.leases}


async def test_promise_7_nothing_hidden_what_ended_goes_with_its_retention(redis: ArqRedis, settings: Settings) -> None:
    log = Log(RedisFacade(redis, settings), settings)
    for job_id in await fill(redis, settings):
        record = await log.record(job_id)
        assert record is not None
        for name in settings.keys.of_job(job_id)[:3]:
            ttl = await redis.pttl(name)
            if record.ended:
                assert ttl <= settings.retention * 1000
            elif ttl != -2:
                assert settings.retention * 1000 < ttl <= settings.job_ttl * 1000


async def test_promise_7_nothing_hidden_all_that_redis_holds_is_text_and_the_compound_is_json(
    redis: ArqRedis, settings: Settings
) -> None:
    await fill(redis, settings)
    kinds = set()
    for name in await redis.keys("*"):
        kind = (await redis.type(name)).decode()
        kinds.add(kind)
        for value in await values_of(redis, name, kind):
            text = value.decode()
            assert not text.startswith("\x80")
            if text[:1] in ("{", "["):
                assert isinstance(orjson.loads(text), dict | list)
    assert kinds == {"hash", "stream", "string", "zset", "list"}


async def values_of(redis: ArqRedis, name: bytes, kind: str) -> list[bytes]:
    client: Any = redis
    match kind:
        case "hash":
            return [part for pair in (await client.hgetall(name)).items() for part in pair]
        case "stream":
            return [part for _, fields in await client.xrange(name) for pair in fields.items() for part in pair]
        case "zset":
            return list(await client.zrange(name, 0, -1))
        case "list":
            return list(await client.lrange(name, 0, -1))
    return [await client.get(name)]


async def test_promise_7_nothing_hidden_a_job_is_inspected_and_cancelled_with_redis_cli_alone(
    log: Log, keys: Keys, redis_server: RedisServer
) -> None:
    """With the commands that redis-cli would send, and its output as text."""
    job_id = await running(log)
    ask = redis_server.command
    record = ask("HGETALL", keys.job(job_id))
    assert (record["status"], record["attempt"], orjson.loads(record["request"])) == ("running", "1", {"messages": []})
    entries = ask("XRANGE", keys.events(job_id), "-", "+")
    assert [entry_id for entry_id, _ in entries] == ["1-0", "2-0"]
    assert entries[1][1] == {"type": "started", "data": f'{{"attempt":1,"epoch":"first","worker":{WORKER.decode()}}}'}
    ask("SET", keys.cancel(job_id), "bob")
    assert (await log.append(job_id, 1, 3, content("a"))).cancel_flag == "bob"


def test_promise_7_nothing_hidden_no_module_knows_how_to_pickle() -> None:
    found = subprocess.run(
        ["grep", "-rnE", r"^\s*(import|from) (pickle|marshal|shelve|dill)", "readalong", "api", "worker"],
        capture_output=True,
        check=False,
    )
    assert found.stdout == b""
