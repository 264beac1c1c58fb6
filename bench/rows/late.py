"""Late and returning watchers: a finished job joined from its start, and a crowd that reconnects at once."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, Final

from bench.harness.errors import BenchError
from bench.harness.jobs import Jobs
from bench.harness.monitor import Monitor
from bench.harness.quantiles import summary
from bench.harness.stack import Stack
from bench.load.crowd import Crowd, get
from bench.load.stamps import stamped
from bench.load.wire import Caller, Stream, all_of
from bench.plan import Plan

_WITHIN: Final = 60.0
#: About the length of an English token.
_TOKEN: Final = "word "
#: Commands that read a log.
_READS: Final = ("xrange", "xrevrange", "xread", "evalsha_ro", "fcall_ro")


async def join(stack: Stack, jobs: Jobs, plan: Plan) -> dict[str, Any]:
    """Joins some finished jobs from their start, by a process that has not seen them, each twice.

    From the GET's first byte, on an open connection, to the end of the terminal event.
    """
    cold: list[float] = []
    warm: list[float] = []
    events = size = 0
    for _ in range(plan.late_jobs):
        job = await jobs.finished([_TOKEN] * plan.late_tokens)
        for times in (cold, warm):
            stream = await Stream.open(stack.ports["api"], "GET", job.path)
            await all_of([stream.closed], _WITHIN, "ended")
            times.append((stream.time_of(b"event: done\n") - stream.sent) / 1e6)
            events, size = stream.count(b"\nevent: "), stream.size()
            if stream.count(_TOKEN.encode()) != plan.late_tokens:
                raise BenchError("a late watcher did not get the whole text")
    return {
        "tokens": plan.late_tokens,
        "cold_ms": summary(cold),
        "warm_ms": summary(warm),
        "events": events,
        "bytes": size,
    }


async def come_back(stack: Stack, jobs: Jobs, crowd: Crowd, plan: Plan, *, live: bool) -> dict[str, Any]:
    """Opens many watchers at once, each with a random position, of a job that runs or has ended.

    Until the last has all events of the job. Raises BenchError if one lacks an event or has one twice.
    """
    texts = [stamped() for _ in range(plan.returning_events)]
    job = await jobs.running()
    for at in range(0, len(texts), 500):
        await job.append(texts[at : at + 500])
    if not live:
        await job.finish()
    positions = [random.randrange(job.head, job.head + len(texts)) for _ in range(plan.returning)]
    expected = [job.head + len(texts) - position + (not live) for position in positions]
    requests = [get(job.path, position) for position in positions]
    # Each on its own open connection: a new API's first GET is not part of the measurement.
    caller = await Caller.open(stack.ports["api"])
    await caller.call("GET", "/healthz")
    with Monitor(stack.redis.port) as monitor:
        arrival = await crowd.open(stack.ports["api"], requests, expected, within=_WITHIN)
    await caller.close()
    await crowd.close()
    if arrival.lost or arrival.more:
        raise BenchError(f"the watchers that came back lack {arrival.lost} events and have {arrival.more} too many")
    if live:
        await job.finish()
    return {
        "watchers": plan.returning,
        "events": plan.returning_events,
        "seconds": arrival.seconds,
        "log_reads": reads(monitor.counts),
        "redis_commands": dict(monitor.counts),
    }


def reads(counts: Counter[str]) -> int:
    """Returns the number of log reads."""
    return sum(counts[name] for name in _READS)
