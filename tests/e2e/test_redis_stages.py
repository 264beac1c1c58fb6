"""Redis is killed, full, a replica, slow, silent or without its scripts, with a job at every stage."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.e2e.staged import STAGES, staged
from tests.support.history import assert_whole, text
from tests.support.proxy import is_pipe
from tests.support.servers import free_port
from tests.support.stack import Stack


def silence(pair: Stack) -> None:
    assert pair.worker_route.do(lambda proxy: proxy.freeze(is_pipe)) >= 1


#: Faults of Redis or of the way to it, each with its repair, unless it ends by itself.
FAULTS: dict[str, tuple[Callable[[Stack], object], Callable[[Stack], object] | None]] = {
    "killed": (lambda pair: pair.redis.kill(), lambda pair: pair.redis.restart()),
    "full": (
        lambda pair: pair.redis.command("CONFIG", "SET", "maxmemory", "1"),
        lambda pair: pair.redis.command("CONFIG", "SET", "maxmemory", "0"),
    ),
    "replica": (
        lambda pair: pair.redis.command("REPLICAOF", "127.0.0.1", free_port()),
        lambda pair: pair.redis.command("REPLICAOF", "NO", "ONE"),
    ),
    "slow": (
        lambda pair: pair.worker_route.do(lambda proxy: setattr(proxy, "delay", 0.2)),
        lambda pair: pair.worker_route.do(lambda proxy: setattr(proxy, "delay", 0.0)),
    ),
    "silent": (silence, None),
    "CLIENT KILL": (
        lambda pair: [
            pair.redis.command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes") for kind in ("normal", "pubsub")
        ],
        None,
    ),
    "SCRIPT FLUSH": (lambda pair: pair.redis.command("SCRIPT", "FLUSH"), None),
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
    pair: Stack, how: str, seconds: int
) -> None:
    """Redis returns with all its data; each job is done, in its first attempt, after one call to the model."""
    breaks, mends = FAULTS[how]
    with staged(pair) as one:
        await one.hold(on_worker_lost="fail")
        await asyncio.to_thread(breaks, pair)
        try:
            one.go(*STAGES)
            await asyncio.sleep(seconds)  # the outage itself: there is nothing to wait for
        finally:
            if mends is not None:
                await asyncio.to_thread(mends, pair)
        for stage in STAGES:
            job = one.jobs[stage]
            shown = await job.ended()
            log = pair.log_of(job.id)
            assert_whole(log)
            assert (shown["status"], shown["attempt"], text(log)) == ("done", 1, job.text), stage
            assert len(pair.generations(job.question)) == 1, stage
        await one.is_idle()
