"""Threads over a whole stack: processes die at any moment, and each turn is recorded once, after those before it."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from tests.e2e.jobs import Job, paced, submit
from tests.support.client import call
from tests.support.history import text
from tests.support.stack import Stack
from tests.support.waiting import until

pytestmark = pytest.mark.slow

#: Turns of the test that kills processes.
MANY = 12


async def turn(
    stack: Stack, tokens: int = 20, rate: float = 100, policy: str = "enqueue", url: str | None = None
) -> Job:
    body = {**paced(tokens=tokens, rate=rate), "thread": "t", "thread_policy": policy}
    return await submit(stack, body, url=url)


async def thread(stack: Stack) -> list[dict[str, Any]]:
    """The messages of the thread once no turn of it is left."""

    async def settled() -> dict[str, Any] | None:
        shown: dict[str, Any] = (await call("GET", f"{stack.url}/v1/threads/t?limit=200")).json()
        return shown if shown["running"] is None else None

    return [entry["message"] for entry in (await until(settled, "the thread"))["entries"]]


async def assert_recorded(stack: Stack, jobs: list[Job]) -> None:
    """Each turn once, with its own answer behind it, and asked of the model with all that stood before it."""
    messages = await thread(stack)
    questions = [message["content"] for message in messages[::2]]
    assert sorted(questions) == sorted(job.question for job in jobs)
    by_question = {job.question: job for job in jobs}
    for place, question in enumerate(questions):
        job = by_question[question]
        assert messages[2 * place + 1] == {"role": "assistant", "content": text(stack.log_of(job.id))}
        for made in stack.generations(question):
            assert made["body"]["messages"] == messages[: 2 * place + 1]


async def test_workers_and_apis_die_at_any_moment_and_each_turn_is_recorded_once(stack: Stack) -> None:
    chance = random.Random(13)
    often = {"READALONG_MAX_ATTEMPTS": "100"}  # no job fails for its workers
    for worker in stack.workers:
        worker.restart(**often)
    await asyncio.to_thread(stack.wait_ready)
    jobs: list[Job] = []
    for number in range(MANY):
        jobs.append(await turn(stack, url=stack.urls[number % 2]))
    while not all([(await job.show())["status"] == "done" for job in jobs]):
        victim = chance.choice(stack.workers)
        await asyncio.sleep(chance.random() * 0.8)  # another moment each time
        victim.kill()
        victim.restart(**often)
        await asyncio.to_thread(stack.wait_ready)
        if chance.random() < 0.3:
            await restart_an_api(stack)
    for job in jobs:
        await job.ended()
    await assert_recorded(stack, jobs)


async def restart_an_api(stack: Stack) -> None:
    stack.apis[1].kill()
    stack.apis[1].restart()
    await asyncio.to_thread(stack.wait_ready)


async def test_a_worker_that_dies_after_an_interrupt_keeps_what_was_said(stack: Stack) -> None:
    first = await turn(stack, tokens=4000, rate=50)
    await first.says(0.001)
    worker = await first.worker()
    worker.stop()  # it does not see the cancel
    second = await turn(stack, policy="interrupt", url=stack.urls[1])
    worker.kill()
    shown = await first.ended()
    assert (shown["status"], (await second.ended())["status"]) == ("cancelled", "done")
    assert stack.log_of(first.id)[-1].fields["by"] == "thread"
    messages = await thread(stack)
    assert [message["content"] for message in messages] == [
        first.question,
        shown["content"],
        second.question,
        text(stack.log_of(second.id)),
    ]
    [made] = stack.generations(second.question)
    assert made["body"]["messages"] == messages[:3]
