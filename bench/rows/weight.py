"""The memory of a finished job in Redis, relative to the bytes of its text."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from bench.harness.errors import BenchError
from bench.harness.stack import Stack
from bench.load.wire import Caller, Stream, all_of, question
from bench.plan import Plan

_WITHIN: Final = 60.0


async def weigh(stack: Stack, plan: Plan) -> dict[str, Any]:
    """Runs a job of English words through the whole pipeline and adds up MEMORY USAGE of all its keys."""
    caller = await Caller.open(stack.ports["api"])
    wanted = question(plan.weighed_tokens, plan.weighed_rate, words=True)
    job = (await caller.call("POST", "/v1/jobs", wanted)).body
    stream = await Stream.open(stack.ports["api"], "GET", job["links"]["events"])
    await all_of([stream.closed], _WITHIN, "ended")
    job = (await caller.call("GET", job["links"]["self"])).body
    await caller.close()
    if job["status"] != "done":
        raise BenchError(f"the job to be weighed is {job['status']}")
    await _let_go(stack, job["id"])
    keys = {}
    for key in stack.redis.command("KEYS", f"*{job['id']}*"):
        name = str(key).replace(job["id"], "id")
        # The queue's keys of a job that has just ended may expire after their listing.
        keys[name] = int(stack.redis.command("MEMORY", "USAGE", key, "SAMPLES", 0) or 0)
    text = len(job["content"].encode())
    return {
        "tokens": plan.weighed_tokens,
        "text_bytes": text,
        "redis_bytes": sum(keys.values()),
        "by_key": keys,
        "ratio": sum(keys.values()) / text,
    }


async def _let_go(stack: Stack, job_id: str) -> None:
    """Waits until the worker has given the job back: it compacts the log between the end and that."""
    async with asyncio.timeout(_WITHIN):
        while stack.redis.command("EXISTS", f"arq:in-progress:{job_id}"):  # noqa: ASYNC110 - Redis tells no one
            await asyncio.sleep(0.01)
