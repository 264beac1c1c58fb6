"""Redis loses what watchers have seen, and another claim writes other events with its numbers: no watcher gets both."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack

import orjson
import pytest
from arq.connections import ArqRedis

from readalong.api.fanout.hub import Hub
from readalong.api.fanout.lost_jobs import is_lost
from readalong.core.errors import Fenced
from readalong.core.events import NewEvent
from readalong.core.position import Position
from readalong.core.settings import Settings
from readalong.core.sse import Message
from readalong.store.job_record import Record
from readalong.store.log import ClaimStatus, Log, encode
from tests.api.forgetful import Worker, attempt, check, job, told, waiting, watch, watching
from tests.api.helpers import Client
from tests.api.serving import a_hub, on_valkey, short_settings
from tests.readalong.helpers import command
from tests.readalong.jobs import METRICS, WORKER
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer
from tests.support.waiting import until

pytestmark = on_valkey


async def test_a_failover_between_two_looks_at_a_job_is_no_loss(
    settings: Settings, log: Log, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its watchers would be told that it is gone, and go: the log is behind, and its worker repairs it."""
    job_id, forgetful, _ = await attempt(log, redis, settings, kept=2, lost=18)
    records = [await log.record(job_id)]
    await forgetful.forget()
    really = log.record

    async def record(name: str) -> Record | None:
        return records.pop() if records else await really(name)

    monkeypatch.setattr(log, "record", record)
    assert not await is_lost(log, job_id)
    assert not records
    await command(redis, "DEL", settings.keys.events(job_id))
    assert await is_lost(log, job_id)


@pytest.mark.parametrize("more", [3, 30], ids=["less", "more"])
async def test_who_has_seen_what_is_lost_is_told_and_gets_the_other_attempt_alone(
    settings: Settings, log: Log, redis: ArqRedis, more: int
) -> None:
    """Live, and with a position of the lost log at another process; the other attempt says less, or more."""
    job_id, forgetful, one = await attempt(log, redis, settings, kept=2)
    async with a_hub(settings) as hub, watching(hub, job_id, 4) as client:
        await one.say(18)
        await client.reaches(22)
        await forgetful.forget()
        two = await Worker.claims(log, job_id, "bbb")
        await two.say(more)
        await two.finish()
    last = f"{two.written}-bbb"
    check(client.seen, Position(0), last)
    assert told(client.seen) == ["5-bbb"]
    async with a_hub(settings) as other:
        for position, lost in (("22-aaa", True), ("5-aaa", True), ("4-aaa", False), ("1", False), ("6-bbb", False)):
            seen = await watch(other, job_id, position)
            check(seen, Position.parse(position), last)
            assert told(seen) == (["5-bbb"] if lost else []), position
        feed = await other.feed(job_id, two.written, "bbb")
        assert feed.is_complete_at(feed.place(two.written, "bbb"))
        # A bare number is one of whatever log there is.
        assert Position.parse((await watch(other, job_id, "5"))[0].id).seq > 5
        assert feed.is_complete_at(feed.place(60, ""))


async def test_who_waits_beyond_the_log_goes_on_when_its_worker_has_sent_again(
    settings: Settings, log: Log, redis: ArqRedis
) -> None:
    job_id, forgetful, one = await attempt(log, redis, settings, lost=20)
    await forgetful.forget()
    async with a_hub(settings) as hub:
        early = await waiting(hub, job_id, "22-aaa")
        await one.say(1)
        await one.finish()
        seen = await early
    assert [message.id for message in seen] == ["23-aaa", "24-aaa"]


async def test_who_waits_beyond_the_log_is_told_when_another_claim_comes(
    settings: Settings, log: Log, redis: ArqRedis
) -> None:
    """A client with a bare number waits for what follows it, whichever claim writes that."""
    job_id, forgetful, _ = await attempt(log, redis, settings, lost=20)
    await forgetful.forget()
    async with a_hub(settings) as hub:
        early = asyncio.create_task(watch(hub, job_id, "22-aaa"))
        bare = asyncio.create_task(watch(hub, job_id, "22"))
        await until(lambda: "watchers=2" in repr(hub), "the watchers")
        two = await Worker.claims(log, job_id, "bbb")
        await two.say(30)
        await two.finish()
        seen = await early
        assert Position.parse((await bare)[0].id).seq > 22
        assert told(await bare) == []
    assert told(seen) == ["2-bbb"]
    check(seen, Position(22, "aaa"), "33-bbb")


async def test_an_older_attempt_that_writes_on_is_another_log(settings: Settings, log: Log, redis: ArqRedis) -> None:
    """Redis has lost the claim that had fenced it out. No event says so: its numbers are only written once more."""
    job_id, forgetful, one = await attempt(log, redis, settings, kept=3)
    two = await Worker.claims(log, job_id, "bbb")
    await two.say(20)
    async with a_hub(settings) as hub, watching(hub, job_id, 26) as client:
        await forgetful.forget()
        await until(lambda: "connected" in repr(hub), "the subscription")
        await one.say(1)
        with pytest.raises(Fenced):
            await two.say(1)
        await one.say(40)
        await one.finish()
    check(client.seen, Position(0), "47-aaa")
    assert told(client.seen) == ["2-aaa"]


@pytest.mark.parametrize("cancelled", [True, False], ids=["cancelled", "lost"])
async def test_an_end_by_a_claim_that_says_nothing_else_is_told_to_watchers_that_have_seen_more(
    settings: Settings, log: Log, redis: ArqRedis, cancelled: bool
) -> None:
    """Its number was one of the text, or the number before the newest."""
    job_id, forgetful, _ = await attempt(log, redis, settings, kept=2, lost=2)
    await forgetful.forget()
    if cancelled:
        await log.cancel(job_id, "ann")
    else:
        await command(redis, "HSET", settings.keys.job(job_id), "max_attempts", "1")
    claim = await log.claim(job_id, WORKER, "bbb")
    assert claim.status == (ClaimStatus.CANCELLED if cancelled else ClaimStatus.LOST)
    async with a_hub(settings) as hub:
        early = await waiting(hub, job_id, "4-aaa")
        end = encode([NewEvent("failed", {"content": "", "epoch": "bbb"})])
        await log.finish(job_id, claim.fence, claim.last_seq + 1, end, {"metrics": METRICS})
        assert [message.id for message in await early] == ["5-bbb"]
        for position in ("5-aaa", "6-aaa"):
            seen = await watch(hub, job_id, position)
            assert (seen[0].id, seen[-1].id, told(seen)) == ("2-aaa", "5-bbb", ["2-aaa"])
            check(seen[1:], Position(2, "aaa"), "5-bbb")


async def test_a_job_that_is_cancelled_while_redis_has_lost_its_claim_has_an_end_for_all(
    settings: Settings, log: Log, redis: ArqRedis
) -> None:
    """No attempt is left that they could be given."""
    job_id, forgetful, _ = await attempt(log, redis, settings, lost=2)
    await forgetful.forget()
    async with a_hub(settings) as hub:
        early = await waiting(hub, job_id, "4-aaa")
        await log.cancel(job_id, "ann")
        for seen in (await early, await watch(hub, job_id, "2-aaa")):
            assert [message.event for message in seen] == ["restarted", "cancelled"]
            assert [Position.parse(message.id).seq for message in seen] == [1, 2]
            assert orjson.loads(seen[0].data)["attempt"] == 0


@pytest.mark.parametrize("again", ["cancelled", "failed"])
async def test_who_has_seen_an_end_that_no_claim_wrote_is_told_of_the_one_that_took_its_number(
    settings: Settings, log: Log, redis: ArqRedis, again: str
) -> None:
    """Redis has forgotten that the job was cancelled while it waited; then it ends once more, still waiting."""
    job_id, forgetful = await job(log, redis, settings)
    await log.cancel(job_id, "ann")
    async with a_hub(settings) as hub, a_hub(settings) as other:
        lost = (await watch(hub, job_id))[-1].id
        await forgetful.forget()
        early = await waiting(other, job_id, lost)
        if again == "cancelled":
            await log.cancel(job_id, "bob")
        else:
            await command(redis, "HSET", settings.keys.job(job_id), "deadline", "1")
            assert await log.expire(job_id)
        # A hub that has not heard of the new end yet knows nothing that follows the old one.
        here = await until(lambda: watch(hub, job_id, lost), "the hub to hear of it")
        for seen in (await early, here, await watch(other, job_id, lost)):
            assert [message.event for message in seen] == ["restarted", again]
            assert told(seen) == ["1"]
            assert seen[-1].id != lost
            feed = await hub.feed(job_id, 2)
            assert feed.is_complete_at(feed.place(2, Position.parse(seen[-1].id).epoch))


async def test_a_slow_watcher_that_reads_the_log_again_is_told_that_it_is_another(
    settings: Settings, log: Log, redis: ArqRedis, redis_server: RedisServer
) -> None:
    """Redis has lost it, and the subscription says nothing of that: only the page that is read does."""
    job_id, forgetful, one = await attempt(log, redis, settings, kept=10)
    async with (
        Proxy(redis_server.port) as proxy,
        a_hub(short_settings(proxy.url, replay_buffer_bytes=4096)) as hub,
        watching(hub, job_id, 12) as client,
    ):
        await one.say(8)
        await client.reaches(20)
        client.reading.clear()
        feed = await hub.feed(job_id, 0)
        await one.say(1)
        await until(lambda: feed.newest == 21, "a write that the client does not take")
        for _ in range(5):
            await one.say(100)
        await until(lambda: feed.newest == 521, "all of it")
        proxy.keeps = lambda piece: b":live" not in piece
        await forgetful.forget(noticed=False)
        two = await Worker.claims(log, job_id, "bbb")
        await two.say(700)
        client.reading.set()
        await until(lambda: told(client.seen), "the word that the log is lost")
        proxy.keeps = None
        await two.finish()
        await redis.client_kill_filter(_type="pubsub")
    assert told(client.seen) == ["13-bbb"]
    check(client.seen, Position(0), "714-bbb")


async def test_a_log_of_another_version_has_bare_numbers_and_is_held_against_nobody(
    settings: Settings, log: Log, redis: ArqRedis
) -> None:
    """Its workers say no epoch, neither in the hash nor in the log."""
    job_id, _, one = await attempt(log, redis, settings)
    names = settings.keys
    await command(redis, "HDEL", names.job(job_id), "epochs")
    await redis.delete(names.events(job_id))
    for number, (kind, data) in enumerate((("queued", "{}"), ("started", '{"attempt":1,"worker":null}')), 1):
        await redis.xadd(names.events(job_id), {"type": kind, "data": data}, f"{number}-0")
    async with a_hub(settings) as hub:
        early = await waiting(hub, job_id, "2-aaa")
        await one.say(1)
        await one.finish()
        assert [message.id for message in await early] == ["3", "4"]
        assert [message.id for message in await watch(hub, job_id, "3-ccc")] == ["4"]


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_redis_forgets_each_watcher_sees_one_log_at_a_time(
    settings: Settings, log: Log, redis: ArqRedis, seed: int
) -> None:
    """Attempts old and new, alive and dead, write at random; watchers come, go, and come back to either of two hubs."""
    dice = random.Random(seed)
    job_id, forgetful = await job(log, redis, settings)
    workers: list[Worker] = []
    ending = asyncio.Event()

    async def follow(hubs: list[Hub], dice: random.Random) -> list[Message]:
        seen: list[Message] = []
        while True:
            client = Client()
            position = Position.parse(seen[-1].id) if seen else Position(0)
            call = client.watch(dice.choice(hubs), job_id, position.seq, epoch=position.epoch)
            task = asyncio.create_task(call)
            stay = None if ending.is_set() else dice.uniform(0, 0.2)
            if dice.random() < 0.3:
                client.reading.clear()
                asyncio.get_running_loop().call_later(0.05, client.reading.set)
            await asyncio.wait([task], timeout=stay)
            client.leave()
            await task
            seen += client.seen
            if client.ended:
                return seen

    async def step(number: int) -> None:
        match dice.choice(("say", "say", "say", "say", "claim", "keep", "forget")):
            case "say" if workers:
                worker = dice.choice(workers)
                try:
                    await worker.say(dice.randint(1, 30))
                except Fenced:
                    workers.remove(worker)
            case "claim":
                workers.append(await Worker.claims(log, job_id, f"t{number}"))
            case "keep":
                await forgetful.keep()
            case "forget":
                await forgetful.forget()
                if workers and dice.random() < 0.5:
                    workers.remove(dice.choice(workers))

    async with AsyncExitStack() as exits, asyncio.timeout(50):
        hubs = [
            await exits.enter_async_context(a_hub(short_settings(str(settings.redis_url), replay_buffer_bytes=8192)))
            for _ in range(2)
        ]
        following = [asyncio.create_task(follow(hubs, random.Random(dice.random()))) for _ in range(8)]
        for number in range(80):
            await step(number)
            await asyncio.sleep(dice.choice((0, 0, 0.02)))
        last = await Worker.claims(log, job_id, "last")
        await last.say(3)
        ending.set()
        await last.finish()
        for seen in await asyncio.gather(*following):
            check(seen, Position(0), f"{last.written}-last")
