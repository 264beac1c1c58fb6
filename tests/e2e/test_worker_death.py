"""A killed worker is found long before its lease ends; a worker that only seems dead is not; watchers are told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import orjson
import pytest

from tests.e2e.jobs import Job, assert_unharmed, chat, paced, submit, watched
from tests.e2e.test_worker_loss import alone, assert_done, reasons
from tests.support.client import Response
from tests.support.history import assert_whole, text
from tests.support.proxy import Proxy
from tests.support.stack import Stack
from tests.support.waiting import until

#: So long that no test waits for its end.
LEASE = {"READALONG_LEASE": "300"}


async def patient(stack: Stack, **settings: str) -> Stack:
    """The stack with leases that do not end."""
    for worker in stack.workers:
        worker.restart(**LEASE, **settings)
    await asyncio.to_thread(stack.wait_ready)
    return stack


def looks(stack: Stack) -> int:
    """Returns the number of checks of the live workers."""
    stats = stack.redis.command("INFO", "commandstats")
    return int(stats.get("cmdstat_pubsub|numsub", {"calls": 0})["calls"])


async def more_looks(stack: Stack, count: int = 12) -> None:
    """Returns when workers have checked again this often: a window is three checks of one worker, after the first."""
    before = looks(stack)
    await until(lambda: looks(stack) >= before + count, "looks")


async def test_a_killed_workers_jobs_are_taken_while_its_lease_has_long_to_go(stack: Stack) -> None:
    """In mid-stream and in silence. The jobs that waited behind run after them."""
    victim, successor = await alone(await patient(stack))
    speaking = await submit(stack, paced(tokens=50, rate=40))
    silent = await submit(stack, paced(tokens=5, first_token_seconds=1))
    await silent.at_model()
    await speaking.says(0.1)
    victim.kill()
    successor.cont()
    for job in (speaking, silent):
        await assert_done(job, (2, "worker_lost"))
    assert "is dead: 2 of its jobs" in successor.output


@pytest.mark.slow
async def test_a_job_whose_workers_are_all_killed_says_that_it_waits_until_one_comes(stack: Stack) -> None:
    """In the job, and once in each stream, without a number: also to a later watcher, and in the form of
    `/chat/stream`. A job queued meanwhile waits as well. The next worker need not have seen the dead ones alive.
    """
    await patient(stack)
    chatting = await Response.open("POST", f"{stack.url}/chat/stream", orjson.dumps(paced(tokens=50, rate=20)))
    payloads: list[dict[str, object]] = []

    async def read() -> None:
        async for entry in chatting.entries():
            if entry.data != "[DONE]":
                payloads.append(entry.fields)

    reading = asyncio.create_task(read())
    job = await submit(stack, paced(tokens=50, rate=20))
    watchers = [job.watcher(url, resumes=False) for url in stack.urls]
    watching = [asyncio.create_task(watcher.run()) for watcher in watchers]
    await job.says(0.1)
    assert (await job.show())["waiting_for"] is None
    for worker in stack.workers:
        worker.kill()
    queued = await submit(stack, paced(tokens=5, rate=0))
    watchers.append(queued.watcher(stack.url, resumes=False))
    watching.append(asyncio.create_task(watchers[-1].run()))
    await until(lambda: all(watcher.notices for watcher in watchers), "the word to the watchers")
    watchers.append(job.watcher(stack.url, resumes=False))
    watching.append(asyncio.create_task(watchers[-1].run()))
    await until(lambda: watchers[-1].notices, "the word to the late one")
    await until(lambda: any("waiting" in payload for payload in payloads), "the word in the plain stream")
    for one in (job, queued):
        shown = await one.show()
        assert (shown["waiting_for"], shown["last_seq"]) == ("worker", len(stack.log_of(one.id)))
    stack.workers[0].restart(**LEASE)
    await assert_done(job, (2, "worker_lost"))
    await assert_done(queued)
    await asyncio.gather(*watching, reading)
    for watcher in watchers:
        assert_whole(stack.log_of(watcher.job_id), watcher.history)
        [notice] = watcher.notices
        assert notice.fields == {"type": "waiting", "for": "worker", "since": notice.fields["since"]}
    [waiting] = [payload for payload in payloads if "waiting" in payload]
    assert waiting["content"] == ""
    assert (await job.show())["waiting_for"] is None
    chatting.abort()


@pytest.mark.slow
async def test_a_paused_worker_keeps_its_connections_and_so_its_jobs(stack: Stack) -> None:
    """A worker killed by the kernel would have no connection; for this one the lease decides."""
    victim, successor = await alone(await patient(stack))
    job = await submit(stack, paced(tokens=40, rate=40))
    await job.says(0.2)
    successor.cont()
    victim.stop()
    await more_looks(stack)
    victim.cont()
    await assert_done(job)


@pytest.mark.slow
async def test_a_worker_that_was_wrongly_taken_for_dead_is_fenced_out(stack: Stack) -> None:
    """It was paused, and its subscription was cut meanwhile: it could neither reconnect nor report."""
    victim, successor = await alone(await patient(stack))
    job = await submit(stack, chat("demo-endless"))
    await job.reach(6)
    successor.cont()
    victim.stop()
    stack.redis.command("CLIENT", "KILL", "TYPE", "pubsub")
    await until(lambda: reasons(job), "the second attempt")
    victim.cont()
    await until(lambda: stack.generations(job.question)[0]["state"] == "gone", "the zombie to let go")
    await job.at_model(2)
    await job.cancel()
    await job.ended()
    log = stack.log_of(job.id)
    assert_whole(log)
    assert reasons(job) == [(2, "worker_lost")]
    assert job.text.startswith(text(log))


@pytest.mark.slow
async def test_connections_that_drop_and_come_back_are_no_death(two_workers: Stack) -> None:
    """All connections of both workers, repeatedly, by a reset of the route and by a short loss of the route."""
    await patient(two_workers)
    job, watching = await watched(two_workers, tokens=120, rate=40)
    for _ in range(4):
        two_workers.worker_route.do(Proxy.cut)
        two_workers.redis.command("CLIENT", "KILL", "TYPE", "pubsub")
        await more_looks(two_workers, 2)
    two_workers.worker_route.do(_away)
    await job.reach(len(two_workers.log_of(job.id)))
    two_workers.worker_route.do(Proxy.mend)
    await more_looks(two_workers)
    await assert_unharmed(job, watching)


def _away(proxy: Proxy) -> None:
    proxy.refusing = True
    proxy.cut()


@pytest.mark.slow
async def test_a_restarted_redis_is_no_death_of_those_that_come_back_to_it_late(two_workers: Stack) -> None:
    """The worker is paused while the other one looks for it; its reported connection is to another run of Redis."""
    victim, successor = await alone(await patient(two_workers))
    job, watching = await watched(two_workers, tokens=60, rate=40)
    successor.cont()
    victim.stop()
    two_workers.redis.restart()
    await more_looks(two_workers)
    victim.cont()
    await assert_unharmed(job, watching)


@pytest.fixture
def unable(stack: Stack) -> Iterator[Stack]:
    """The stack with a Redis that does not allow PUBSUB."""
    stack.redis.command("ACL", "SETUSER", "default", "-pubsub")
    yield stack
    stack.redis.command("ACL", "SETUSER", "default", "+pubsub")


@pytest.mark.slow
async def test_without_the_right_to_look_the_lease_alone_holds(unable: Stack) -> None:
    """The worker logs it once, at its start, and everything else works."""
    for worker in unable.workers:
        worker.restart(READALONG_LEASE="1")
    await asyncio.to_thread(unable.wait_ready)
    victim, successor = await alone(unable)
    job: Job = await submit(unable, paced(tokens=40, rate=40))
    await job.says(0.2)
    victim.kill()
    successor.cont()
    await assert_done(job, (2, "worker_lost"))
    await until(lambda: "a killed worker's jobs wait until its lease is over" in successor.output)
    assert successor.output.count("until its lease is over") == 1
