"""API replicas are stopped, killed and started while clients watch: the clients reconnect and miss nothing."""

from __future__ import annotations

import asyncio

from tests.e2e.jobs import Job, paced, submit
from tests.support.client import Watcher
from tests.support.history import assert_whole, text
from tests.support.stack import Stack
from tests.support.waiting import until


async def _watch(job: Job, urls: list[str]) -> list[tuple[Watcher, asyncio.Task[Watcher]]]:
    """Returns five watchers of the first of these APIs, each with an event."""
    watchers = [job.watcher(*urls) for _ in range(5)]
    tasks = [asyncio.create_task(watcher.run()) for watcher in watchers]
    await until(lambda: all(watcher.position >= 3 for watcher in watchers), "the watchers to see something")
    return list(zip(watchers, tasks, strict=True))


async def test_a_stopped_api_ends_its_streams_in_good_order_and_clients_go_on_at_another(stack: Stack) -> None:
    """No terminal event, no broken connection, exit code 0. Each client resumes from its position."""
    victim, other = stack.apis
    job = await submit(stack, paced(tokens=60, rate=40), url=other.url)
    watching = await _watch(job, [victim.url, other.url])
    victim.term()
    assert await asyncio.to_thread(victim.wait) == 0
    for watcher, task in watching:
        await task
        assert (watcher.farewells, watcher.cuts, watcher.connections) == (1, 0, 2)
    assert_whole(stack.log_of(job.id), *(watcher.history for watcher, _ in watching))
    assert text(stack.log_of(job.id)) == job.text


async def test_a_killed_api_costs_its_clients_a_reconnection_and_nothing_else(stack: Stack) -> None:
    """Clients of a killed API reconnect to it after its restart, or change to another API at once."""
    victim, other = stack.apis
    job = await submit(stack, paced(tokens=80, rate=30), url=other.url)
    loyal = await _watch(job, [victim.url])
    others = await _watch(job, [victim.url, other.url])
    victim.kill()
    victim.restart()
    for watcher, task in (*loyal, *others):
        await task
        assert watcher.cuts >= 1
    assert_whole(stack.log_of(job.id), *(watcher.history for watcher, _ in (*loyal, *others)))


async def test_a_job_survives_every_api(stack: Stack) -> None:
    """All APIs are killed after the submit; the job ends meanwhile. The first watcher afterwards gets all of it."""
    job = await submit(stack, paced(tokens=10, rate=40))
    for api in stack.apis:
        api.kill()
    await until(lambda: stack.log_of(job.id)[-1].terminal, "the end")
    stack.apis[0].restart()
    watcher = await job.watcher(stack.url).run()
    assert_whole(stack.log_of(job.id), watcher.history)
