"""From submit to start, one job at a time on an idle stack."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from datetime import datetime
from typing import Any, Final

from arq.connections import ArqRedis, RedisSettings, create_pool

from bench.plan import Plan
from bench.stack import BenchError, Stack
from bench.stock import FUNCTION
from bench.wire import Caller, Stream, all_of, question

_WITHIN: Final = 20.0
#: Seconds between jobs, at random, so that neither a poll nor a warm cache is met at the same point each time.
_STOCK_PAUSE: Final = (0.0, 0.5)
_PAUSE: Final = (0.01, 0.06)


class Starts:
    """Milliseconds from submit to start."""

    def __init__(self) -> None:
        #: From the POST's first byte sent to the `started` event read, by the client's clock.
        self.client: list[float] = []
        #: From the same moment to the POST's answer, which is a part of it.
        self.post: list[float] = []
        #: `started_at` less `created_at`, by Redis' clock, in whole milliseconds.
        self.redis: list[float] = []
        #: From the call of `enqueue_job` to the first line of the function.
        self.stock: list[float] = []

    async def measure(self, stack: Stack, plan: Plan) -> None:
        """One round of both contenders in turn. Stock arq runs only as long as this."""
        with stack.child("stock"):
            caller = await Caller.open(stack.ports["api"])
            pool = await create_pool(RedisSettings.from_dsn(stack.redis.url))
            try:
                await _stock_start(pool)  # when it has answered, it has started
                for turn in range(plan.stock_jobs):
                    await asyncio.sleep(random.uniform(*_STOCK_PAUSE))
                    self.stock.append(await _stock_start(pool))
                    share = (turn + 1) * plan.jobs // plan.stock_jobs - turn * plan.jobs // plan.stock_jobs
                    for _ in range(share):
                        await asyncio.sleep(random.uniform(*_PAUSE))
                        await self._start(stack, caller)
            finally:
                await pool.aclose()
                await caller.close()

    async def warm_up(self, stack: Stack, jobs: int) -> None:
        """Some jobs before the first that counts: imports, connections and scripts are there when it comes."""
        caller = await Caller.open(stack.ports["api"])
        for _ in range(jobs):
            await self._start(stack, caller)
        await caller.close()
        self.client, self.post, self.redis = [], [], []

    async def _start(self, stack: Stack, caller: Caller) -> None:
        """Runs a job of one token to its end."""
        answer = await caller.call("POST", "/v1/jobs", question(1, 1000))
        links = answer.body["links"]
        stream = await Stream.open(stack.ports["api"], "GET", links["events"])
        await all_of([stream.closed], _WITHIN, "ended")
        stream.time_of(b"event: done\n")
        job = (await caller.call("GET", links["self"])).body
        self.client.append((stream.time_of(b"event: started\n") - answer.sent) / 1e6)
        self.post.append((answer.came - answer.sent) / 1e6)
        self.redis.append(_ms(job["started_at"]) - _ms(job["created_at"]))


async def _stock_start(pool: ArqRedis) -> float:
    """Runs a job of stock arq. Answers milliseconds to its function's first line."""
    answer = f"bench:{secrets.token_hex(8)}"
    sent = time.monotonic_ns()
    await pool.enqueue_job(FUNCTION, answer)
    blpop: Any = pool.blpop  # redis-py's types know neither fractions of a second nor that this client is asynchronous
    popped = await blpop([answer], timeout=_WITHIN)
    if popped is None:
        raise BenchError("stock arq did not run its job")
    return (int(popped[1]) - sent) / 1e6


def _ms(rfc3339: str) -> float:
    return round(datetime.fromisoformat(rfc3339).timestamp() * 1000)
