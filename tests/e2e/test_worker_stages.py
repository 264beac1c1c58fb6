"""A worker is killed, paused, blocked and stopped with a job at each stage: each job continues or has ended."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.staged import STAGES, Staged, staged
from tests.support.history import assert_whole, kinds, text
from tests.support.stack import Stack
from tests.support.waiting import until

#: Stages at which a job that changes workers has lost an attempt: claimed, and not ended.
BEGUN = ("claimed", "asked", "streaming", "finishing")


def waits(one: Staged, stage: str) -> bool:
    """Whether the job of this stage is in the queue without a lease."""
    return float(one.stack.redis.command("ZSCORE", one.stack.keys.queue, one.jobs[stage].id)) < 1e14


async def assert_done_elsewhere(one: Staged, reason: str, *, begun: tuple[str, ...] = BEGUN) -> None:
    """Asserts that every job is done with its whole text; those of `begun` elsewhere, after one restart for this
    reason.
    """
    for stage in STAGES:
        job = one.jobs[stage]
        shown = await job.ended()
        log = one.stack.log_of(job.id)
        assert_whole(log)
        assert (shown["status"], text(log)) == ("done", job.text), stage
        restarts = [entry.fields for entry in log if entry.event == "restarted"]
        assert [restart["reason"] for restart in restarts] == [reason] * (stage in begun), stage
        assert (shown["worker"]["pid"] == one.successor.pid) is (stage in begun or stage == "taken"), stage


async def test_a_killed_workers_jobs_go_on_elsewhere_from_every_stage(stack: Stack) -> None:
    with staged(stack) as one:
        await one.hold()
        one.worker.kill()
        one.successor.cont()
        await assert_done_elsewhere(one, "worker_lost")


@pytest.mark.slow
async def test_a_killed_workers_jobs_fail_if_they_are_to_unless_they_never_began_or_had_ended(stack: Stack) -> None:
    with staged(stack) as one:
        await one.hold(on_worker_lost="fail")
        one.worker.kill()
        one.successor.cont()
        for stage in STAGES:
            shown = await one.jobs[stage].ended()
            log = stack.log_of(shown["id"])
            assert_whole(log)
            lost = stage in BEGUN
            assert shown["status"] == ("failed" if lost else "done"), stage
            assert (shown["error"] or {}).get("code") == ("worker_lost" if lost else None), stage
            assert "restarted" not in kinds(log)
            asked = len(stack.generations(one.jobs[stage].question))
            assert asked == (0 if stage == "claimed" else 1), stage


@pytest.mark.slow
@pytest.mark.parametrize("how", ["stopped", "blocked"])
async def test_a_worker_that_stood_still_for_longer_than_its_lease_writes_nothing_more(stack: Stack, how: str) -> None:
    """At each stage the worker is fenced out, closes its model connection, and works on."""
    with staged(stack) as one:
        await one.hold()
        if how == "stopped":
            one.worker.stop()
        else:
            one.block()
        one.successor.cont()
        await assert_done_elsewhere(one, "worker_lost")
        logs = {stage: stack.log_of(job.id) for stage, job in one.jobs.items()}
        one.go(*STAGES)
        one.worker.cont()
        await one.is_idle()
        for stage, job in one.jobs.items():
            await job.model_let_go()
            assert stack.log_of(job.id) == logs[stage], stage
            assert len(stack.generations(job.question)) <= (2 if stage in BEGUN else 1), stage
        assert one.worker.running


@pytest.mark.slow
async def test_a_worker_that_is_stopped_hands_over_at_every_stage_and_uses_no_attempt_up(stack: Stack) -> None:
    """Its lease is a minute, and no test waits for its end. The worker itself finishes a job whose text is complete."""
    with staged(stack, READALONG_DRAIN_TIMEOUT="0", READALONG_LEASE="60", READALONG_REDIS_TIMEOUT="8") as one:
        await one.hold(on_worker_lost="fail")
        one.worker.term()
        await until(lambda: "stopping" in one.worker.output, "the worker to notice")
        one.go("taken")
        await until(lambda: waits(one, "taken"), "the take to be given back")
        one.go("claimed", "finishing", "ended")
        assert await asyncio.to_thread(one.worker.wait) == 0
        one.successor.cont()
        await assert_done_elsewhere(one, "worker_stopped", begun=("claimed", "asked", "streaming"))
        for job in one.jobs.values():
            assert stack.hash_of(job.id)["lost"] == "0"
