"""Each finding, provoked in a real Redis; and what a look at it costs. Its sentences are read by people at night."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from typing import Any

import orjson
import pytest
from arq.connections import ArqRedis
from pydantic import AnyUrl

from readalong.core.events import NewEvent
from readalong.core.keys import Keys, new_job_id
from readalong.core.settings import Settings
from readalong.redis.facade import RedisFacade
from readalong.store.findings import Finding, Growth, findings_of
from readalong.store.health import Probe
from readalong.store.job_index import JobIndex
from readalong.store.log import Log, encode
from readalong.store.queue import Queue
from readalong.store.status import Snapshot, StatusStore
from readalong.store.worker_registry import WorkerRegistry
from tests.readalong.helpers import command, enqueue
from tests.readalong.jobs import submission
from tests.support.clients import client_of
from tests.support.servers import RedisServer, free_port
from tests.support.waiting import WITHIN

LEASE_MS = 60_000


class Place:
    """One Redis, with what stands in it."""

    def __init__(self, redis: ArqRedis, settings: Settings) -> None:
        self.redis, self.settings, self.keys = redis, settings, settings.keys
        facade = RedisFacade(redis, settings)
        self.log, self.index = Log(facade, settings), JobIndex(facade, settings)
        self.queue, self.registry = Queue(facade, settings), WorkerRegistry(facade, settings)
        self.store = StatusStore(facade, settings, Probe(facade, settings))

    async def look(self) -> Snapshot:
        return await self.store.look()

    async def findings(self, growth: Growth | None = None) -> list[Finding]:
        return findings_of(await self.look(), self.settings.safe_redis_url, "redis-cli", growth)

    async def found(self, code: str, growth: Growth | None = None) -> Finding:
        """Returns the one finding of this code."""
        every = await self.findings(growth)
        [one] = [each for each in every if each.code == code]
        assert len(one.title) <= 60
        assert one.reason.endswith(".")
        assert one.action
        return one

    async def worker(self, name: str = "w1", *, lives: int = LEASE_MS, **says: Any) -> None:
        details = {"id": name, "host": "h", "pid": 7, "slots": 3, "running": [], **says}
        await self.registry.heartbeat(name, orjson.dumps(details), await self.index.now(), lives)

    async def running(self, worker: str = "w1", *events: NewEvent, silent: float = 0) -> str:
        """Returns a job that runs at this worker, under a lease, without an event for so many seconds."""
        new = submission(new_job_id(), created_at=await self.index.now())
        await self.log.submit(new)
        await self.queue.enqueue(new.job_id, new.created_at, model=new.model)
        [taken] = await self.queue.acquire(worker, 1)
        assert taken.job_id == new.job_id
        by = orjson.dumps({"id": worker, "host": "h", "pid": 7})
        claim = await self.log.claim(new.job_id, by, "t")
        if events:
            await self.log.append(new.job_id, claim.fence, 3, encode(events))
        spoke = await self.index.now() - int(silent * 1000)
        await command(self.redis, "HSET", self.keys.job(new.job_id), "last_event_at", spoke)
        return new.job_id


@pytest.fixture
def place(redis: ArqRedis, settings: Settings, resources: AsyncExitStack) -> Place:
    place = Place(redis, settings)
    resources.push_async_callback(place.queue.close)
    return place


async def codes(place: Place) -> list[str]:
    """All but what Redis' own settings are the reason of."""
    return [each.code for each in await place.findings() if not each.code.startswith("redis_")]


async def test_all_is_well_with_a_worker_and_a_job_that_streams(place: Place) -> None:
    await place.worker(running=[])
    await place.running("w1", NewEvent("content", {"content": "a"}))
    assert await codes(place) == []
    look = await place.look()
    assert {str(state): count for state, count in look.counts.items()} == {
        "queued": 0,
        "running": 1,
        "done": 0,
        "failed": 0,
        "cancelled": 0,
    }
    assert (look.queued, look.queued_bytes, look.oldest_wait) == (0, 0, None)
    assert abs(look.now - time.time() * 1000) < 60_000


async def test_a_job_that_is_stuck_at_its_model_is_named_with_the_model_and_the_seconds(place: Place) -> None:
    await place.worker()
    first = await place.running("w1", NewEvent("content", {"content": "a"}), silent=45)
    job = await place.found("job_stuck")
    assert (job.job_id, job.worker_id, job.severity) == (first, "w1", "warning")
    assert job.reason == "The model 'm' has sent nothing for 45 s; the job waits for its next token."
    assert f"readalong cancel {first}" in job.action
    # Before its first token, and for long: the worst comes first.
    second = await place.running("w1", silent=400)
    stuck = [each for each in await place.findings() if each.code == "job_stuck"]
    assert [(each.job_id, each.severity) for each in stuck] == [(second, "critical"), (first, "warning")]
    assert "7 min; the job waits for its first token" in stuck[0].reason


async def test_many_stuck_jobs_are_counted_and_not_all_named(place: Place) -> None:
    await place.worker()
    for _ in range(23):
        await place.running("w1", silent=60)
    stuck = [each for each in await place.findings() if each.code == "job_stuck"]
    assert [each.job_id is None for each in stuck] == [False] * 20 + [True]
    assert "3 more" in stuck[-1].reason


async def test_a_job_that_waits_for_its_model_says_why(place: Place) -> None:
    await place.worker()
    waiting = NewEvent("waiting", {"for": "model", "reason": "model_unreachable", "seconds": 2})
    job_id = await place.running("w1", waiting, silent=40)
    job = await place.found("job_waits_for_model")
    assert (job.job_id, job.reason) == (job_id, "The model 'm' is away for 40 s: model_unreachable.")
    assert "job_stuck" not in await codes(place)


async def test_a_dead_worker_is_named_while_its_sign_of_life_is_there_and_afterwards(place: Place) -> None:
    run = (await place.redis.info("server"))["run_id"]
    await place.worker("gone", connected_to=run, at="2026-01-01T00:00:00.000Z")
    job_id = await place.running("gone", silent=5)
    assert await codes(place) == ["no_worker", "worker_dead", "job_waits_for_worker"]
    dead = await place.found("worker_dead")
    assert dead.worker_id == "gone"
    assert "7 on h" in dead.reason
    assert "1 job is waiting" in dead.reason
    waits = await place.found("job_waits_for_worker")
    assert (waits.job_id, waits.worker_id) == (job_id, "gone")
    assert "readalong worker" in waits.action
    # Its sign of life is over, and then its entry too, and the lease.
    await place.redis.delete(place.keys.worker("gone"))
    assert await codes(place) == ["no_worker", "worker_dead", "job_waits_for_worker"]
    await place.registry.leave("gone")
    await place.redis.zadd(place.keys.leases, {job_id: 1})
    await place.worker("other")
    assert await codes(place) == ["worker_dead", "job_waits_for_worker"]


async def test_without_a_worker_that_is_said_first(place: Place) -> None:
    await enqueue(place.queue, place.index, 2)
    assert (await place.findings())[0].code == "no_worker"
    assert "2 jobs are waiting" in (await place.found("no_worker")).reason


async def test_refused_workers_are_critical_once_none_is_left(place: Place) -> None:
    await place.worker("w1", refused="model_unauthorized")
    await place.worker("w2")
    refused = await place.found("workers_refused")
    assert (refused.severity, refused.worker_id) == ("warning", "w1")
    assert "1 of 2" in refused.reason
    await place.worker("w2", refused="model_unreachable")
    refused = await place.found("workers_refused")
    assert refused.severity == "critical"
    assert "model_unauthorized, model_unreachable" in refused.reason


async def test_a_worker_that_stands_still_is_silent_and_not_dead(place: Place) -> None:
    await place.worker(at="2026-01-01T00:00:00.000Z")
    assert (await place.found("worker_silent")).worker_id == "w1"
    assert "worker_dead" not in await codes(place)
    # For so long that its sign of life is over.
    async with place.redis.pubsub() as pubsub:
        await pubsub.subscribe(place.keys.alive("w1"))
        await pubsub.get_message(timeout=WITHIN)
        await place.redis.delete(place.keys.worker("w1"))
        assert await codes(place) == ["no_worker", "worker_silent"]


async def test_busy_slots_and_a_queue_that_waits_and_grows(place: Place) -> None:
    runs = [await place.running("w1") for _ in range(3)]
    await place.worker(running=runs, since=["2026-11-30T03:00:00.000Z"] * 3)
    assert "all_slots_busy" not in await codes(place)  # none waits
    waiting = await enqueue(place.queue, place.index, 12)
    await place.redis.zadd(place.keys.queue, {waiting[0]: await place.index.now() - 95_000})
    assert "All 3 slots of the workers are taken, and 12 jobs" in (await place.found("all_slots_busy")).reason
    old = await place.found("queue_old")
    assert old.reason.startswith("The oldest of 12 jobs has waited for 9")
    assert "queue_growing" not in await codes(place)
    growing = await place.found("queue_growing", Growth(40, 20, 5))
    assert growing.reason == "In 5 minutes 40 jobs came and 20 ended; 12 jobs are waiting."
    assert "queue_growing" not in [each.code for each in await place.findings(Growth(40, 35, 5))]
    look = await place.look()
    assert look.workers[0].running == tuple((job_id, "2026-11-30T03:00:00.000Z") for job_id in runs)


async def test_broken_keys_are_named_a_jobs_and_a_shared_one(place: Place) -> None:
    await place.worker()
    job_id = await place.running("w1")
    await place.redis.delete(place.keys.job(job_id))
    await place.redis.set(place.keys.job(job_id), "a person wrote this")
    broken = await place.found("broken_key")
    assert (broken.job_id, job_id in broken.action) == (job_id, True)
    await place.log.delete(job_id)
    await place.redis.delete(place.keys.wake)
    await place.redis.set(place.keys.wake, "a person wrote this too")
    await place.queue.enqueue(new_job_id(), 1)  # moves it aside
    assert place.keys.aside(place.keys.wake) in (await place.found("broken_key")).reason


async def test_clocks_that_are_off(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    await place.worker(clock_off_seconds=-90.2)
    assert (await place.found("clock_off")).reason == "The clock of the worker 7 on h is 90 s behind that of Redis."
    await place.worker(clock_off_seconds=0.2)
    now = time.time()
    monkeypatch.setattr("readalong.store.status.time.time", lambda: now + 3600)
    assert "60 min ahead of" in (await place.found("clock_off")).reason


async def test_a_redis_that_is_full_nearly_full_may_drop_keys_and_keeps_nothing(resources: AsyncExitStack) -> None:
    with RedisServer.start() as server:
        settings = Settings(redis_url=AnyUrl(server.url))
        place = Place(client_of(settings, resources), settings)
        resources.push_async_callback(place.queue.close)
        server.command("CONFIG", "SET", "save", "")
        assert "restart of Redis loses every job" in (await place.found("redis_not_persistent")).reason
        server.command("CONFIG", "SET", "save", "60 1")
        assert "redis_not_persistent" not in [each.code for each in await place.findings()]
        server.command("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
        assert "volatile-lru" in (await place.found("redis_evicts")).reason
        server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        used = int((await place.redis.info("memory"))["used_memory"])
        server.command("CONFIG", "SET", "maxmemory", str(int(used * 1.06)))
        assert (await place.found("redis_full")).severity == "warning"
        server.command("CONFIG", "SET", "maxmemory", "1000000")
        full = await place.found("redis_full")
        assert (full.severity, (await place.findings())[0]) == ("critical", full)
        assert "of 1.0 MiB and takes no writes" in full.reason
        # Reads go on: the other findings are there too.
        assert (await place.look()).queued == 0
        server.command("CONFIG", "SET", "maxmemory", "0")
        server.command("REPLICAOF", "127.0.0.1", str(free_port()))
        assert (await place.findings())[0].code == "redis_refuses"


async def test_a_redis_that_is_away(resources: AsyncExitStack) -> None:
    settings = Settings(redis_url=AnyUrl(f"redis://:secret@127.0.0.1:{free_port()}/0"))
    place = Place(client_of(settings, resources), settings)
    resources.push_async_callback(place.queue.close)
    [away] = await place.findings()
    assert (away.code, away.severity) == ("redis_away", "critical")
    assert "secret" not in away.reason + away.action
    look = await place.look()
    assert (look.queued, look.workers, look.counts) == (None, (), {})


async def test_hostile_values_in_every_key_that_a_look_reads_hurt_nothing(place: Place) -> None:
    """A person may write anything: the look passes over it, and still tells the rest."""
    await place.worker()
    stuck = await place.running("w1", silent=60)
    keys, redis = place.keys, place.redis
    now = await place.index.now()
    signs: list[Any] = [b"{", b"[1]", b"\xff", b'{"running":{"a":1},"slots":-1,"pid":"x","at":7,"lag_seconds":"x"}']
    signs += [b'{"running":[1,"../x"],"since":[1],"clock_off_seconds":1e300,"refused":[],"host":{}}', b'"w"']
    for number, sign in enumerate(signs):
        await redis.set(keys.worker(f"odd{number}"), sign, px=LEASE_MS)
        await redis.zadd(keys.workers, {f"odd{number}": now + LEASE_MS})
    await command(redis, "ZADD", keys.workers, "inf", b"\xff\xfe", "-inf", "", now + 1000, "x" * 5000)
    await command(redis, "LPUSH", keys.worker("list"), "x")
    await redis.zadd(keys.workers, {"list": now + LEASE_MS})
    await command(redis, "ZADD", keys.active, 1, "no id {}", 2, b"\xff" * 20, 3, "../../etc/passwd_____")
    fields: list[dict[str, Any]] = [
        {"last_event_at": "nan"},
        {"last_event_at": "-1"},
        {"last_event_at": "1e999"},
        {"last_event_at": "x"},
        {"attempt": "x", "model": b"\xff\xfe", "created_at": "inf", "worker": b"\xff"},
        {"worker": "[]", "status": "odd"},
    ]
    for mapping in fields:
        job_id = await place.running("w1")
        await command(redis, "HSET", keys.job(job_id), *(part for pair in mapping.items() for part in pair))
    await command(redis, "ZADD", keys.queue, 1, "no id either", "-inf", b"\xff" * 20, 5, new_job_id())
    shown = await place.findings()
    assert [each.job_id for each in shown if each.code == "job_stuck"] == [stuck]
    assert len([each for each in shown if each.code == "broken_key"]) == 4
    look = await place.look()
    assert orjson.dumps([*look.workers, *look.open_jobs])


async def test_a_look_costs_the_same_with_many_jobs_as_with_few(place: Place, keys: Keys) -> None:
    """Counted in commands inside Redis: what a look does must not depend on how many jobs there are."""
    await place.worker()

    async def cost() -> int:
        await place.redis.config_resetstat()
        await place.look()
        stats = await place.redis.info("commandstats")
        return sum(int(each["calls"]) for each in stats.values())

    async def fill(count: int) -> None:
        now = await place.index.now()
        ids = [new_job_id() for _ in range(count)]
        for start in range(0, count, 5000):
            part = dict.fromkeys(ids[start : start + 5000], now - 1000)
            for name in (keys.jobs, keys.active, keys.queue, keys.jobs_in("queued"), keys.jobs_in("done")):
                await place.redis.zadd(name, part)

    await fill(600)  # more than a look goes through
    await cost()  # connections are made
    few = await cost()
    await fill(100_000)
    assert await cost() == few
    assert (await place.look()).queued == 100_600


async def test_jobs_of_another_prefix_are_not_seen(place: Place, resources: AsyncExitStack) -> None:
    other_settings = place.settings.model_copy(update={"prefix": "other"})
    other = Place(client_of(other_settings, resources), other_settings)
    resources.push_async_callback(other.queue.close)
    await other.worker("theirs")
    await other.running("theirs", silent=100)
    look = await place.look()
    assert (look.workers, look.open_jobs, sum(look.counts.values())) == ((), (), 0)
    assert [each.code for each in await place.findings() if each.job_id] == []
