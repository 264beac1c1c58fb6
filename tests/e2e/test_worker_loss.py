"""Workers are killed, paused and stopped: another worker ends each job, once."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from tests.e2e.jobs import Job, chat, paced, submit
from tests.support.history import assert_whole, kinds, text
from tests.support.processes import Process
from tests.support.stack import Stack
from tests.support.waiting import until


def reasons(job: Job) -> list[tuple[int, str]]:
    """Returns attempt and reason of each `restarted` in a job's log."""
    log = job.stack.log_of(job.id)
    return [(entry.fields["attempt"], entry.fields["reason"]) for entry in log if entry.event == "restarted"]


async def alone(stack: Stack) -> tuple[Process, Process]:
    """Returns the worker that gets the next jobs, and the other one, which is paused: `cont` it."""
    first, second = stack.workers
    second.stop()
    return first, second


async def assert_done(job: Job, *restarts: tuple[int, str]) -> None:
    """Asserts one end, `done`, with the whole text after the last restart, and these reasons of restarts."""
    shown = await job.ended()
    log = job.stack.log_of(job.id)
    assert_whole(log)
    assert (shown["status"], reasons(job)) == ("done", list(restarts))
    assert text(log) == shown["content"] == job.text


async def test_a_job_whose_worker_is_killed_is_finished_by_another(stack: Stack) -> None:
    """In mid-stream, and between its claim and the first token; watchers of both replicas are told to start over."""
    victim, successor = await alone(stack)
    speaking = await submit(stack, paced(tokens=50, rate=40))
    silent = await submit(stack, paced(tokens=10, first_token_seconds=1))
    watchers = [asyncio.create_task(speaking.watcher(url, resumes=False).run()) for url in stack.urls]
    await silent.at_model()
    await speaking.says(0.2)
    victim.kill()
    successor.cont()
    for job in (speaking, silent):
        await assert_done(job, (2, "worker_lost"))
        shown = await job.show()
        assert (shown["attempt"], shown["worker"]["pid"]) == (2, successor.pid)
        # On a busy machine the model may have said all to the victim, which did not get to read it.
        assert [made["state"] for made in stack.generations(job.question)][1:] == ["finished"]
    log = stack.log_of(speaking.id)
    assert_whole(log, *[(await watcher).history for watcher in watchers])
    assert kinds(log) == ["queued", "started", "content", "restarted", "content", "done"]
    assert kinds(stack.log_of(silent.id)) == ["queued", "started", "restarted", "content", "done"]


async def test_a_job_whose_attempts_are_used_up_fails_and_keeps_what_was_said(stack: Stack) -> None:
    """The stack allows two attempts; the third worker writes the end without a model call."""
    first, second = await alone(stack)
    job = await submit(stack, chat("demo-endless"))
    await job.reach(6)
    first.kill()
    second.cont()
    await until(lambda: reasons(job), "the second attempt")
    await job.reach(len(stack.log_of(job.id)) + 4)
    second.kill()
    first.restart()
    shown = await job.ended()
    log = stack.log_of(job.id)
    assert_whole(log)
    assert (shown["status"], shown["error"]["code"], shown["error"]["retryable"]) == ("failed", "worker_lost", True)
    assert shown["error"] == log[-1].fields["error"]
    assert shown["content"] == text(log) != ""
    assert reasons(job) == [(2, "worker_lost")]
    assert len(stack.generations(job.question)) == 2


async def test_a_job_that_waits_when_all_workers_are_killed_is_run_by_the_next(stack: Stack) -> None:
    """In its first attempt: a job that never started has lost nothing."""
    for worker in stack.workers:
        worker.kill()
    job = await submit(stack, paced(tokens=5, rate=0))
    stack.workers[0].restart()
    await assert_done(job)
    assert (await job.show())["attempt"] == 1


async def test_a_job_that_a_dead_worker_took_and_did_not_claim_is_run_by_another(stack: Stack) -> None:
    """The worker died between the two calls: leased in the queue, queued in its record, until the lease ends."""
    for worker in stack.workers:
        worker.stop()
    job = await submit(stack, paced(tokens=5, rate=0))
    seconds, _ = stack.redis.command("TIME")
    stack.redis.command("ZINCRBY", stack.keys.queue, 10**14, job.id)
    stack.redis.command("ZADD", stack.keys.leases, (int(seconds) + 1) * 1000, job.id)
    stack.redis.command("SET", stack.keys.arq_in_progress(job.id), "dead-worker", "PX", 60_000)
    for worker in stack.workers:
        worker.cont()
    await assert_done(job)


@pytest.mark.slow
async def test_a_worker_that_was_paused_longer_than_its_lease_writes_nothing_more(stack: Stack) -> None:
    """The zombie is fenced out, of a stream and of a silence. It closes both connections and works on."""
    zombie, successor = await alone(stack)
    speaking = await submit(stack, chat("demo-endless"))
    stalled = await submit(stack, chat("demo-stall", demo={"tokens_per_second": 0}))
    jobs = (speaking, stalled)
    await speaking.reach(6)
    await until(lambda: text(stack.log_of(stalled.id)), "the stall")
    zombie.stop()
    successor.cont()
    await until(lambda: all(reasons(job) for job in jobs), "the second attempts")
    zombie.cont()
    await until(
        lambda: all(stack.generations(job.question)[0]["state"] == "gone" for job in jobs), "the zombie to let go"
    )
    for job in jobs:
        await job.at_model(2)
        await job.cancel()
        assert (await job.ended())["status"] == "cancelled"
        log = stack.log_of(job.id)
        assert_whole(log)
        assert reasons(job) == [(2, "worker_lost")]
        assert job.text.startswith(text(log))
        assert len(stack.generations(job.question)) == 2
    successor.stop()
    await assert_done(await submit(stack, paced(tokens=5, rate=0)))
    successor.cont()


async def test_a_stopped_worker_hands_its_jobs_over_at_once_and_no_attempt_is_used_up(stack: Stack) -> None:
    """Its lease is a minute, and no test waits for its end.

    Two stops, with two attempts allowed, and the job is done.
    """
    first, second = await alone(stack)
    hasty = {"READALONG_DRAIN_TIMEOUT": "0", "READALONG_LEASE": "60"}
    first.restart(**hasty)
    second.restart(**hasty)
    second.stop()
    job = await submit(stack, paced(tokens=60, rate=30))
    silent = await submit(stack, chat("demo-hang"))
    await until(lambda: len(_begun(job)) == len(_begun(silent)) == 1, "the first attempts")
    await job.reach(6)
    second.cont()
    first.term()
    assert await asyncio.to_thread(first.wait) == 0
    await until(lambda: len(_begun(job)) == len(_begun(silent)) == 2, "the second attempts")
    await job.at_model(2)
    first.restart()
    second.term()
    assert await asyncio.to_thread(second.wait) == 0
    await assert_done(job, (2, "worker_stopped"), (3, "worker_stopped"))
    await silent.cancel()
    assert (await silent.ended())["status"] == "cancelled"
    assert [made["state"] for made in stack.generations(job.question)] == ["gone", "gone", "finished"]


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)])
async def test_a_stopped_worker_lets_its_streams_end_within_the_drain_time_and_takes_nothing_new(
    stack: Stack, number: signal.Signals
) -> None:
    """A closed terminal sends SIGHUP, and its shell may send another: the second one cuts nothing short.

    A worker ignores SIGUSR1, which asks an API for a report.
    """
    drained, other = await alone(stack)
    job = await submit(stack, paced(tokens=40, rate=40))
    await job.says(0.1)
    os.kill(drained.pid, signal.SIGUSR1)
    os.kill(drained.pid, number)
    await until(lambda: "stopping" in drained.output, "the worker to notice")
    if number == signal.SIGHUP:
        os.kill(drained.pid, number)
    later = await submit(stack, paced(tokens=5, rate=0))
    await assert_done(job)
    assert await asyncio.to_thread(drained.wait) == 0
    assert (await later.show())["status"] == "queued"
    other.cont()
    await assert_done(later)


@pytest.mark.slow
async def test_a_second_signal_ends_a_draining_worker_at_once(stack: Stack) -> None:
    """Its drain time was half a minute; another worker has the job as soon as the lease ends."""
    drained, other = await alone(stack)
    job = await submit(stack, paced(tokens=60, rate=20))
    await job.says(0.1)
    drained.term()
    await until(lambda: "stopping" in drained.output, "the worker to notice")
    drained.term()
    assert await asyncio.to_thread(drained.wait) == 1
    other.cont()
    await assert_done(job, (2, "worker_lost"))


def _begun(job: Job) -> list[str]:
    log = job.stack.log_of(job.id)
    return [str(entry.event) for entry in log if entry.event in ("started", "restarted")]
