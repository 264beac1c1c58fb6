"""A cancel always takes effect and closes the connection to the model."""

from __future__ import annotations

import asyncio

from tests.e2e.jobs import Job, chat, paced, submit
from tests.support.client import call
from tests.support.history import assert_whole, kinds, text
from tests.support.stack import Stack
from tests.support.waiting import until


async def assert_cancelled(job: Job, by: str = "client") -> None:
    """One end, `cancelled`, with the text so far. The model's connection is closed; queue and index are empty."""
    shown = await job.ended()
    log = job.stack.log_of(job.id)
    assert_whole(log)
    end = log[-1].fields
    assert (shown["status"], log[-1].event, end["by"]) == ("cancelled", "cancelled", by)
    assert end["content"] == shown["content"] == text(log)
    assert job.text.startswith(text(log)[: len(job.text)])  # an endless job may be in its second round
    assert shown["metrics"] == end["metrics"]
    await job.model_let_go()
    redis, keys = job.stack.redis, job.stack.keys
    await until(lambda: redis.command("ZSCORE", keys.queue, job.id) is None, "the queue to forget it")
    await until(lambda: redis.command("ZSCORE", keys.active, job.id) is None, "the index to close it")


async def test_a_job_that_waits_is_cancelled_at_once_and_never_begins(stack: Stack) -> None:
    """No worker runs: the end is in the log when the cancel returns."""
    for worker in stack.workers:
        worker.stop()
    job = await submit(stack, paced())
    answer = await job.cancel(stack.urls[1])
    assert (answer.status, answer.json()["status"]) == (202, "cancelled")
    for worker in stack.workers:
        worker.cont()
    other = await submit(stack, paced(tokens=3))
    assert (await other.ended())["status"] == "done"
    await assert_cancelled(job)
    assert kinds(stack.log_of(job.id)) == ["queued", "cancelled"]
    assert stack.generations(job.question) == []


async def test_a_job_whose_model_has_not_begun_is_cancelled(stack: Stack) -> None:
    """The model is silent before its headers, and between headers and first token."""
    jobs = [await submit(stack, chat("demo-hang")), await submit(stack, chat("demo-slow-first-token"))]
    for job in jobs:
        await job.at_model()
        assert (await job.cancel()).status == 202
    for job in jobs:
        await assert_cancelled(job)
        assert kinds(stack.log_of(job.id)) == ["queued", "started", "cancelled"]
        assert [made["state"] for made in stack.generations(job.question)] == ["gone"]


async def test_a_job_is_cancelled_in_mid_stream_from_another_replica(stack: Stack) -> None:
    """Watchers of both replicas get the end."""
    job = await submit(stack, chat("demo-endless"))
    watchers = [asyncio.create_task(job.watcher(url, resumes=False).run()) for url in stack.urls]
    await job.reach(12)
    assert (await job.cancel(stack.urls[1])).status == 202
    await assert_cancelled(job)
    histories = [(await watcher).history for watcher in watchers]
    assert_whole(stack.log_of(job.id), *histories)
    assert [made["state"] for made in stack.generations(job.question)] == ["gone"]


async def test_a_job_is_cancelled_in_a_stall(stack: Stack) -> None:
    job = await submit(stack, chat("demo-stall", demo={"tokens_per_second": 0, "after": 5}))
    await until(lambda: text(stack.log_of(job.id)), "the model's first words")
    await job.cancel()
    await assert_cancelled(job)
    assert text(stack.log_of(job.id))
    assert [made["state"] for made in stack.generations(job.question)] == ["gone"]


async def test_a_flag_set_by_hand_cancels_a_running_job_a_silent_one_and_a_waiting_one(stack: Stack) -> None:
    """A command typed in redis-cli, without a nudge to the workers."""
    running, silent = await submit(stack, chat("demo-endless")), await submit(stack, chat("demo-hang"))
    await running.reach(5)
    await silent.at_model()
    for worker in stack.workers:
        worker.stop()
    waiting = await submit(stack, paced())
    for job in (running, silent, waiting):
        stack.redis.command("SET", stack.keys.cancel(job.id), "ada")
    for worker in stack.workers:
        worker.cont()
    for job in (running, silent, waiting):
        await assert_cancelled(job, by="ada")
    assert stack.generations(waiting.question) == []


async def test_cancels_at_the_same_moment_on_two_replicas_make_one_end(stack: Stack) -> None:
    job = await submit(stack, chat("demo-endless"))
    await job.reach(5)
    answers = await asyncio.gather(*(job.cancel(url) for url in stack.urls * 5))
    assert {answer.status for answer in answers} == {202}
    await assert_cancelled(job)


async def test_a_cancel_after_the_end_changes_nothing(stack: Stack) -> None:
    job = await submit(stack, paced(tokens=5, rate=0))
    await job.ended()
    before = stack.log_of(job.id), stack.hash_of(job.id)
    answer = await job.cancel()
    assert (answer.status, answer.json()["status"]) == (202, "done")
    assert (stack.log_of(job.id), stack.hash_of(job.id)) == before
    assert stack.redis.command("EXISTS", stack.keys.cancel(job.id)) == 0


async def test_a_cancel_outlives_the_worker_that_should_have_obeyed_it(stack: Stack) -> None:
    """The worker is paused when the cancel comes, and dies. The successor ends the job without a model call."""
    job = await submit(stack, chat("demo-endless"))
    await job.reach(5)
    worker = await job.worker()
    worker.stop()
    assert (await job.cancel()).json()["status"] == "running"
    worker.kill()
    await assert_cancelled(job)
    assert len(stack.generations(job.question)) == 1


async def test_a_cancel_ends_a_wait_for_a_model_that_asked_for_patience(stack: Stack) -> None:
    """A 429 with Retry-After: 50 delays the retry; the cancel takes effect at once."""
    job = await submit(stack, chat("demo-429", demo={"retry_after": 50}))
    await job.at_model()
    await job.cancel()
    await assert_cancelled(job)
    assert len(stack.generations(job.question)) == 1


async def test_an_erased_job_is_cancelled_first_and_nothing_of_it_is_left(stack: Stack) -> None:
    """Watchers get the end; afterwards only the mark that blocks a late submit names the job in Redis."""
    job = await submit(stack, chat("demo-endless"))
    watcher = asyncio.create_task(job.watcher(resumes=False).run())
    await job.reach(5)
    answer = await _erase(job)
    assert answer == 204
    assert (await watcher).history[-1].event == "cancelled"
    await job.model_let_go()

    def left() -> list[str]:
        keys: list[str] = stack.redis.command("KEYS", f"*{job.id}*")
        named = (stack.keys.jobs, stack.keys.active, stack.keys.queue)
        return keys + [name for name in named if stack.redis.command("ZSCORE", name, job.id) is not None]

    mark = stack.keys.cancel(job.id)
    await until(lambda: left() == [mark], "nothing to be left but the mark")
    assert 0 < stack.redis.command("PTTL", mark) <= 900_000
    assert await _erase(job) == 404


async def _erase(job: Job) -> int:
    return (await call("DELETE", f"{job.stack.url}/v1/jobs/{job.id}")).status
