"""The eight promises of the architecture, each by its name, with real processes."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from typing import Any

import redis

from readalong.core.keys import Keys
from tests.e2e.jobs import Job, chat, paced, submit
from tests.support.client import Response, Watcher
from tests.support.history import assert_whole, faults_of_log, text
from tests.support.stack import Stack, has_redis_cli, redis_cli
from tests.support.waiting import until

#: Keys that live for a few seconds and may have expired on a slow machine.
_PASSING = {
    "readalong:liveness",
    "readalong:probe",
    "readalong:queued:bytes",
    "readalong:sweep",
    "readalong:wake",
    "readalong:worker:*",
    "readalong:workers",
    "arq:in-progress:*",
}
#: Sorted sets that name jobs and so live as long as any job; the sweep trims them.
INDEXES = {"readalong:jobs", "readalong:active", "arq:queue:readalong", "readalong:leases"} | {
    *Keys().by_state,
    Keys().ids,
}


async def test_promise_1_one_log_every_watcher_sees_each_event_once_in_order_up_to_one_end(stack: Stack) -> None:
    """From each position of the log, during the job and after it, on both replicas."""
    job = await submit(stack, paced(tokens=40, rate=50))
    await job.reach(10)
    starts = list(range(10))
    tasks = [
        asyncio.create_task(job.watcher(url, position=start, resumes=False).run())
        for start in starts
        for url in stack.urls
    ]
    live = await asyncio.gather(*tasks)
    log = stack.log_of(job.id)
    late = [await job.watcher(stack.url, position=start, resumes=False).run() for start in range(len(log))]
    after = [*(start for start in starts for _ in stack.urls), *range(len(log))]
    assert_whole(log, *(watcher.history for watcher in (*live, *late)), after=after)


async def test_promise_2_one_end_every_job_gets_exactly_one_whatever_dies(stack: Stack) -> None:
    """A cancel, the worker's death and the model's end at one moment, for twenty jobs; then silence."""
    jobs = [await submit(stack, paced(tokens=10 + number, rate=20)) for number in range(20)]
    await asyncio.gather(*(job.reach(4) for job in jobs))
    cancels = asyncio.gather(*(job.cancel(stack.urls[number % 2]) for number, job in enumerate(jobs[:10])))
    stack.workers[0].kill()
    await cancels
    ends = [(await job.ended())["status"] for job in jobs]
    logs = [stack.log_of(job.id) for job in jobs]
    assert [faults for log in logs if (faults := faults_of_log(log))] == []
    assert [log[-1].event for log in logs] == ends
    assert ends[10:] == ["done"] * 10
    assert set(ends[:10]) <= {"cancelled", "done"}
    await until(lambda: not stack.redis.command("ZCARD", stack.keys.queue), "an empty queue")
    assert [stack.log_of(job.id) for job in jobs] == logs


async def test_promise_3_one_step_what_the_log_holds_is_what_was_published(stack: Stack) -> None:
    """Each append is one message with its events, in order; calls repeated after lost replies add nothing."""
    job = await submit(stack, paced(tokens=60, rate=40))
    heard: list[dict[str, object]] = []
    with redis.Redis(port=stack.redis.port) as client, client.pubsub(ignore_subscribe_messages=True) as subscription:
        subscription.subscribe(stack.keys.live(job.id))
        for part in (0.3, 0.6):
            await job.says(part)
            stack.redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        while not heard or heard[-1]["type"] != "done":
            message = await asyncio.to_thread(subscription.get_message, timeout=100)
            if message is not None:
                heard += map(json.loads, message["data"].split(b"\n"))
    log = stack.log_of(job.id)
    assert_whole(log)
    assert text(log) == job.text
    said = [{"seq": entry.id, "type": entry.event, **entry.fields} for entry in log]
    assert heard == said[-len(heard) :]


async def test_promise_4_one_writer_a_worker_declared_dead_writes_nothing_more(stack: Stack) -> None:
    """No event of the older attempt follows the newer attempt's first event: the log's text is one attempt's, whole."""
    job = await submit(stack, paced(tokens=60, rate=30))
    await job.says(0.2)
    zombie = await job.worker()
    zombie.stop()
    await until(lambda: any(entry.event == "restarted" for entry in stack.log_of(job.id)), "the next attempt")
    zombie.cont()
    shown = await job.ended()
    log = stack.log_of(job.id)
    assert_whole(log)
    assert text(log) == shown["content"] == job.text
    assert shown["worker"]["pid"] != zombie.pid
    assert zombie.running
    await until(lambda: job.id not in _running(stack, zombie.pid), "the zombie to notice")


async def test_promise_5_a_cancel_is_kept_and_closes_the_connection_to_the_model(stack: Stack) -> None:
    """Queued, before the first token, between tokens, in a stall, in a resumed job; the model's connections close."""
    resumed = await submit(stack, chat("demo-endless"))
    await resumed.reach(4)
    (await resumed.worker()).kill()
    jobs = [
        resumed,
        await submit(stack, chat("demo-hang")),
        await submit(stack, chat("demo-slow-first-token")),
        await submit(stack, chat("demo-endless")),
        await submit(stack, chat("demo-stall", demo={"tokens_per_second": 0})),
    ]
    await until(lambda: stack.log_of(resumed.id)[-1].fields.get("attempt") == 2 or _resumed(resumed), "a resumed job")
    await asyncio.gather(*(job.at_model(2 if job is resumed else 1) for job in jobs))
    for worker in stack.workers:
        if worker.running:
            worker.stop()
    jobs.append(await submit(stack, paced()))
    await asyncio.gather(*(job.cancel(stack.urls[number % 2]) for number, job in enumerate(jobs)))
    for worker in stack.workers:
        if worker.running:
            worker.cont()
    for job in jobs:
        assert (await job.ended())["status"] == "cancelled"
        assert_whole(stack.log_of(job.id))
        await job.model_let_go()


async def test_promise_6_no_watcher_can_hurt_anyone(stack: Stack) -> None:
    """One watcher reads nothing while fifty read: no additional Redis connection, no wait, no lost event."""

    def subscriptions() -> int:
        return len(stack.redis.command("CLIENT", "LIST", "TYPE", "pubsub").splitlines())

    # One of each API, two of each worker, which may have started just now.
    await until(
        lambda: subscriptions() == len(stack.apis) + 2 * len(stack.workers), "the subscriptions of all processes"
    )
    job = await submit(stack, paced(tokens=20_000, rate=20_000))
    url = f"{stack.url}/v1/jobs/{job.id}/events"
    async with await Response.open("GET", url) as response:
        slow = job.watcher(stack.url)
        entries = response.entries()
        slow.history.append(await anext(entries))
        watchers = await asyncio.gather(*(job.watcher(stack.url, resumes=False).run() for _ in range(50)))
        assert subscriptions() == len(stack.apis) + 2 * len(stack.workers)
        slow.history += [entry async for entry in entries]
    log = stack.log_of(job.id)
    assert_whole(log, slow.history, watchers[0].history)
    assert {text(watcher.history) for watcher in watchers} == {job.text}
    assert {watcher.history[-1] for watcher in watchers} == {slow.history[-1]}


async def test_promise_7_nothing_hidden_all_of_redis_is_text_and_has_an_end(stack: Stack) -> None:
    """Queued, running, ended in each way, and requeued jobs: every value is plain text or JSON, and all but the indexes
    expire.
    """
    for body in (paced(3, 0), chat("demo-fast+error")):
        await (await submit(stack, body)).ended()
    cancelled = await submit(stack, chat("demo-endless"))
    running = await submit(stack, chat("demo-endless"), headers={"Idempotency-Key": "k"})
    await running.reach(3)
    await cancelled.cancel()
    await cancelled.ended()
    for worker in stack.workers:
        worker.stop()
    await submit(stack, paced())
    dump = stack.dump()
    names = list(dump)
    assert {_shape(name) for name in names} == {
        "arq:job:*",
        "arq:queue:readalong",
        "arq:retry:*",
        "readalong:idempotency:*",
        "readalong:job:*",
        "readalong:job:*:cancel",
        "readalong:job:*:events",
        "readalong:jobs",
        "readalong:jobs:model:*",
        "readalong:leases",
        "readalong:active",
        "readalong:last-acquire:*",
    } | (_shapes(names) & {*_PASSING, *INDEXES, "readalong:stats:*"})
    for name in names:
        assert name in INDEXES or stack.redis.command("PTTL", name) != -1, f"{name} lives for ever"
        assert dump[name].isprintable(), name
    for name in names:
        for value in _jsons(stack, name, dump[name]):
            json.loads(value)
    if has_redis_cli():
        _read_with_redis_cli(stack, running, cancelled)


async def test_promise_7_what_a_stopped_worker_leaves_behind_has_an_end_too(stack: Stack) -> None:
    """All workers requeue their jobs and end: every key of the waiting jobs has a time to live."""
    worker, other = stack.workers
    other.kill()
    worker.restart(READALONG_DRAIN_TIMEOUT="0")
    job = await submit(stack, chat("demo-endless"))
    await job.reach(4)
    worker.term()
    assert await asyncio.to_thread(worker.wait) == 0
    assert stack.redis.command("LRANGE", stack.keys.wake, 0, -1) == [job.id]
    for name in stack.key_names():
        assert name in INDEXES or stack.redis.command("PTTL", name) != -1, f"{name} lives for ever"


async def test_promise_8_cheap_one_script_call_a_token_at_most_and_nothing_for_a_watcher(stack: Stack) -> None:
    """Counted by Redis: script calls grow with tokens, and no command grows with watchers."""
    alone = await _commands(stack, 1)
    crowd = await _commands(stack, 60)
    for counted in (alone, crowd):
        # Besides the appends: submit, claim, finish, the clean-up after them, and scripts that are sent again.
        assert counted["evalsha, the log"] + counted["eval, the log"] <= 100 + 20, counted
    for name in ("subscribe", "unsubscribe", "xrange", "hgetall", "hget", "get", "exists"):
        assert crowd[name] <= alone[name] + 10, (name, alone, crowd)


async def _commands(stack: Stack, watchers: int) -> Counter[str]:
    """Returns the number of commands that named a job of a hundred tokens, by command, with this many watchers on one
    API. Other commands and the duration do not count.
    """
    with redis.Redis(port=stack.redis.port, decode_responses=True) as client, client.monitor() as monitor:
        job = await submit(stack, paced(tokens=100, rate=100))
        counting = asyncio.create_task(asyncio.to_thread(_counted, monitor, job))
        tasks = [asyncio.create_task(job.watcher(stack.url, resumes=False).run()) for _ in range(watchers)]
        done: list[Watcher] = await asyncio.gather(*tasks)
        await job.ended()
        stack.redis.command("ECHO", f"no more of {job.id}")
        counted = await counting
    assert {text(watcher.history) for watcher in done} == {job.text}
    return counted


def _counted(monitor: Any, job: Job) -> Counter[str]:
    counted: Counter[str] = Counter()
    for heard in monitor.listen():
        said = heard["command"]
        name = said.split(" ")[0].lower()
        if heard["client_type"] != "lua" and job.id in said:
            counted[name] += 1
            counted[f"{name}, the log"] += job.stack.keys.events(job.id) in said
        if name == "echo":
            break
    return counted


def _running(stack: Stack, pid: int) -> list[str]:
    """Returns the jobs that a worker reports as running; its heartbeat must be recent."""
    signs = [json.loads(stack.redis.command("GET", name)) for name in stack.key_names() if _is_sign(name)]
    [running] = [sign["running"] for sign in signs if sign["pid"] == pid]
    return list(running)


def _is_sign(name: str) -> bool:
    return _shape(name) == "readalong:worker:*"


def _resumed(job: Job) -> bool:
    return any(entry.event == "restarted" for entry in job.stack.log_of(job.id))


def _shape(name: str) -> str:
    name = re.sub(r"\{[^}]+\}", "*", name)
    return re.sub(
        r"^(arq:(?:in-progress|job|retry)|readalong:(?:idempotency|jobs:model|last-acquire|stats|worker)):.+$",
        r"\1:*",
        name,
    )


def _shapes(names: list[str]) -> set[str]:
    return {_shape(name) for name in names}


def _jsons(stack: Stack, name: str, value: str) -> list[str]:
    """Returns the values of a key that must be JSON.

    `value`: its earlier string value, since the key may have expired.
    """
    shape = _shape(name)
    if shape == "readalong:job:*:events":
        return [row["data"] for _, row in stack.redis.command("XRANGE", name, "-", "+")]
    if shape == "readalong:job:*":
        row = stack.redis.command("HGETALL", name)
        return [row[field] for field in ("request", "metadata", "worker", "metrics", "usage", "error") if field in row]
    if shape in ("readalong:job:*:cancel", "readalong:worker:*", "arq:job:*"):
        return [value]
    return []


def _read_with_redis_cli(stack: Stack, running: Job, cancelled: Job) -> None:
    """Runs a command as a person types it."""
    assert redis_cli(stack.redis, "HGET", stack.keys.job(running.id), "status") == "running"
    assert running.id in redis_cli(stack.redis, "ZREVRANGE", stack.keys.jobs, "0", "-1").split("\n")
    shown = redis_cli(stack.redis, "XREVRANGE", stack.keys.events(cancelled.id), "+", "-", "COUNT", "1")
    assert '"by":"client"' in shown
    assert "cancelled" in shown
