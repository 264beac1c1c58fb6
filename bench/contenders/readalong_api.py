"""readalong's API with its defaults. Events are appended straight to the log: no worker, no model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench.contenders.contender import Running
from bench.harness.jobs import Jobs
from bench.harness.stack import Stack, answers
from bench.load.crowd import get

#: Events of one append at full speed: those that a fast model sends during the previous append.
_BATCH = 20


@asynccontextmanager
async def start(stack: Stack) -> AsyncIterator[Running]:
    """The API and a running job."""
    with stack.child("api") as port:
        stack.wait("api", lambda at: answers(at, "/healthz"))
        async with Jobs.on(stack.redis.url) as jobs:
            job = await jobs.running()
            yield Running(port, lambda: get(job.path, job.last_seq), {"server": stack.pids["api"]}, job.append, _BATCH)
            await job.finish()
