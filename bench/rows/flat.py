"""Figures that must not grow: the main ones once more with many finished jobs in Redis, and many running elsewhere."""

from __future__ import annotations

from typing import Any, Final

from bench.harness.jobs import Jobs, taken
from bench.harness.stack import Stack
from bench.load.wire import Caller
from bench.plan import Plan
from bench.rows.starts import Times, some
from bench.rows.streams import Flow, Load, ours
from readalong.core.keys import new_job_id

_BATCH: Final = 1000


async def finished(jobs: Jobs, count: int) -> None:
    """Writes this many finished jobs, copies of one, under their own ids and in the lists."""
    template = await jobs.finished(["word "])
    record = jobs.keys.job(template.job_id)
    lists = (jobs.keys.jobs, jobs.keys.jobs_in("done"), jobs.keys.jobs_of("clock"))
    now = await jobs.index.now()
    for at in range(0, count, _BATCH):
        async with jobs.redis.pipeline(transaction=False) as pipe:
            for number in range(at, min(at + _BATCH, count)):
                job_id = new_job_id()
                pipe.copy(record, jobs.keys.job(job_id))
                pipe.hset(jobs.keys.job(job_id), mapping={"id": job_id, "created_at": now - number})
                for name in lists:
                    pipe.zadd(name, {job_id: now - number})
            await pipe.execute()


async def fill(stack: Stack, jobs: Jobs, plan: Plan) -> None:
    """Writes finished jobs, and those of another worker."""
    await finished(jobs, plan.finished_jobs)
    with stack.stopped("worker"):
        await taken(jobs, plan.elsewhere_jobs)


async def pipeline(stack: Stack, jobs: Jobs, plan: Plan, earlier: dict[str, Any]) -> dict[str, Any]:
    """Measures streams and starts in a Redis that has just been filled, beside the same just before or `earlier` in the
    run.
    """
    found: dict[str, Any] = {"finished": plan.finished_jobs, "elsewhere": plan.elsewhere_jobs}
    found["without"] = await _both(stack, plan) if plan.flat_again else earlier
    await fill(stack, jobs, plan)
    found["with"] = await _both(stack, plan)
    return found


async def _both(stack: Stack, plan: Plan) -> dict[str, Any]:
    flow, times = Flow(), Times()
    await ours(flow, stack, Load(plan.streams[0], plan.stream_rate, plan.stream_seconds, plan.settle))
    caller = await Caller.open(stack.ports["api"])
    await some(times, stack, caller, plan.jobs)
    await caller.close()
    return {"streams": flow.found(), "starts": times.found()}
