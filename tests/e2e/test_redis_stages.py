"""Redis is killed, full, a replica, slow, silent or without its scripts, with a job at every stage."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.e2e.staged import STAGES, staged
from tests.support.history import assert_whole, text
from tests.support.proxy import is_multiplexed
from tests.support.servers import free_port
from tests.support.stack import Stack


def silence(two_workers: Stack) -> None:
    assert two_workers.worker_route.do(lambda proxy: proxy.freeze(is_multiplexed)) >= 1


#: Faults of Redis or of the way to it, each with its repair, unless it ends by itself.
FAULTS: dict[str, tuple[Callable[[Stack], object], Callable[[Stack], object] | None]] = {
    "killed": (lambda two_workers: two_workers.redis.kill(), lambda two_workers: two_workers.redis.restart()),
    "full": (
        lambda two_workers: two_workers.redis.command("CONFIG", "SET", "maxmemory", "1"),
        lambda two_workers: two_workers.redis.command("CONFIG", "SET", "maxmemory", "0"),
    ),
    "replica": (
        lambda two_workers: two_workers.redis.command("REPLICAOF", "127.0.0.1", free_port()),
        lambda two_workers: two_workers.redis.command("REPLICAOF", "NO", "ONE"),
    ),
    "slow": (
        lambda two_workers: two_workers.worker_route.do(lambda proxy: setattr(proxy, "delay", 0.2)),
        lambda two_workers: two_workers.worker_route.do(lambda proxy: setattr(proxy, "delay", 0.0)),
    ),
    "silent": (silence, None),
    "CLIENT KILL": (
        lambda two_workers: [
            two_workers.redis.command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes") for kind in ("normal", "pubsub")
        ],
        None,
    ),
    "SCRIPT FLUSH": (lambda two_workers: two_workers.redis.command("SCRIPT", "FLUSH"), None),
}


@pytest.mark.parametrize(
    ("how", "seconds"),
    [
        ("killed", 0),
        pytest.param("killed", 4, marks=pytest.mark.slow),  # longer than the lease
        pytest.param("full", 2, marks=pytest.mark.slow),
        pytest.param("replica", 2, marks=pytest.mark.slow),
        pytest.param("slow", 2, marks=pytest.mark.slow),
        pytest.param("silent", 0, marks=pytest.mark.slow),
        pytest.param("CLIENT KILL", 0, marks=pytest.mark.slow),
        pytest.param("SCRIPT FLUSH", 0, marks=pytest.mark.slow),
    ],
)
async def test_a_redis_that_fails_with_a_job_at_every_stage_costs_none_an_attempt(
    two_workers: Stack, how: str, seconds: int
) -> None:
    """Redis returns with all its data; each job is done, in its first attempt, after one call to the model."""
    breaks, mends = FAULTS[how]
    with staged(two_workers) as one:
        await one.hold(on_worker_lost="fail")
        await asyncio.to_thread(breaks, two_workers)
        try:
            one.go(*STAGES)
            await asyncio.sleep(seconds)  # the outage itself: there is nothing to wait for
        finally:
            if mends is not None:
                await asyncio.to_thread(mends, two_workers)
        for stage in STAGES:
            job = one.jobs[stage]
            shown = await job.ended()
            log = two_workers.log_of(job.id)
            assert_whole(log)
            assert (shown["status"], shown["attempt"], text(log)) == ("done", 1, job.text), stage
            assert len(two_workers.generations(job.question)) == 1, stage
        await one.is_idle()
