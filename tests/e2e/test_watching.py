"""Many watchers of one job, on two replicas, that connect and leave at any time."""

from __future__ import annotations

import asyncio
import random

from tests.e2e.jobs import chat, paced, submit
from tests.support.client import Response, Watcher, call
from tests.support.history import assert_whole, faults_of_history, text
from tests.support.stack import Stack
from tests.support.waiting import until


async def test_fifty_watchers_on_two_replicas_that_join_at_different_moments_end_with_the_same_numbers_and_text(
    stack: Stack,
) -> None:
    """From the start, in the middle, late and after the end; from 0 and from a random Last-Event-ID."""
    dice = random.Random(7)
    job = await submit(stack, paced(tokens=120, rate=80))
    tasks: list[asyncio.Task[Watcher]] = []
    starts: list[int] = []

    def join(count: int, newest: int) -> None:
        for number in range(count):
            starts.append(0 if number % 2 else dice.randint(0, newest))
            watcher = job.watcher(stack.urls[number % 3 % 2], position=starts[-1], resumes=False)
            tasks.append(asyncio.create_task(watcher.run()))

    join(15, 1)
    await job.says(0.3)
    join(15, len(stack.log_of(job.id)) - 1)
    await job.says(0.8)
    join(10, len(stack.log_of(job.id)) - 1)
    await job.ended()
    log = stack.log_of(job.id)
    join(10, len(log) - 1)
    watchers = await asyncio.gather(*tasks)
    assert_whole(log, *(watcher.history for watcher in watchers), after=starts)
    assert {watcher.history[-1] for watcher in watchers} == {watchers[0].history[-1]}
    assert text(log) == job.text
    assert {text(watcher.history) for watcher, start in zip(watchers, starts, strict=True) if start < 3} == {job.text}


async def test_a_watcher_that_drops_and_resumes_ten_times_on_alternating_replicas_sees_every_event_once(
    stack: Stack,
) -> None:
    job = await submit(stack, chat("demo-endless"))
    watcher = job.watcher(*stack.urls)
    for _ in range(10):
        await watcher.run(count=3)
        assert not watcher.ended
    await job.cancel()
    await watcher.run()
    assert watcher.connections == 11
    assert_whole(stack.log_of(job.id), watcher.history)


async def test_a_position_from_the_query_is_as_good_as_one_from_the_header(stack: Stack) -> None:
    """EventSource cannot set headers on its first connection; once it has received events, its header wins."""
    job = await submit(stack, paced(tokens=20, rate=0))
    await job.ended()
    log = stack.log_of(job.id)
    for query, header, position in (("?after=3", {}, 3), ("?after=0", {"Last-Event-ID": "3"}, 3), ("", {}, 0)):
        url = f"{stack.url}/v1/jobs/{job.id}/events{query}"
        async with await Response.open("GET", url, None, header) as response:
            history = [entry async for entry in response.entries()]
        assert not faults_of_history(history, log, position)


async def test_a_client_that_returns_to_the_end_of_an_ended_job_gets_204(stack: Stack) -> None:
    """204 stops an EventSource, also on a replica that never saw the job."""
    job = await submit(stack, paced(tokens=5, rate=0))
    await job.ended()
    last = str(len(stack.log_of(job.id)))
    for url in stack.urls:
        answer = await call("GET", f"{url}/v1/jobs/{job.id}/events", None, {"Last-Event-ID": last})
        assert (answer.status, answer.body) == (204, b"")


async def test_a_stream_is_served_so_that_proxies_pass_it_on_at_once(stack: Stack) -> None:
    job = await submit(stack, paced(tokens=5, rate=0))
    async with await Response.open("GET", f"{stack.url}/v1/jobs/{job.id}/events") as response:
        assert response.status == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert "no-cache" in response.headers["cache-control"]
        assert response.headers["x-accel-buffering"] == "no"
        assert [entry async for entry in response.entries()][-1].event == "done"


async def test_a_job_says_what_it_said_wherever_it_is_asked(stack: Stack) -> None:
    """The same response from both replicas: the text so far while the job runs, all of it after the end."""
    job = await submit(stack, paced(tokens=80, rate=60))
    await job.says(0.3)
    halfway = (await job.show(stack.urls[1]))["content"]
    assert halfway
    assert job.text.startswith(halfway)
    await job.ended()
    one, other = [await job.show(url) for url in stack.urls]
    assert one == other
    assert one["content"] == job.text


async def test_an_endless_generation_without_watchers_can_be_watched_again(stack: Stack) -> None:
    """When the last watcher leaves, the feed ends, not the job; a later watcher gets the events of the time between."""
    job = await submit(stack, chat("demo-endless", demo={"tokens_per_second": 200}))
    watcher = job.watcher(stack.url)
    await watcher.run(count=10)
    channel = stack.keys.live(job.id)
    await until(lambda: stack.redis.command("PUBSUB", "NUMSUB", channel)[1] == 0, "the feed's end")
    await job.cancel()
    await watcher.run()
    assert_whole(stack.log_of(job.id), watcher.history)
    assert watcher.history[-1].event == "cancelled"
