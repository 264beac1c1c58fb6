"""From submit to the first token, one job at a time: on an idle stack, and beside many streams."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from arq.connections import ArqRedis, RedisSettings, create_pool

from bench.contenders.stock import FUNCTION
from bench.harness.errors import BenchError
from bench.harness.quantiles import curve, summary
from bench.harness.stack import Stack
from bench.load.wire import Caller, Stream, all_of, question
from bench.plan import Plan
from bench.rows.streams import watched_jobs

_WITHIN: Final = 20.0
#: Seconds between jobs, at random, so that no poll and no warm cache is met at the same point each time.
_STOCK_PAUSE: Final = (0.0, 0.5)
_PAUSE: Final = (0.01, 0.06)
#: The most seconds of a job beside the streams, on average, and those in which the streams are opened.
_LOADED: Final = 0.12
_OPENING: Final = 2.5


@dataclass
class Times:
    """Milliseconds of jobs that ran one after the other."""

    #: From the POST's first byte sent to the first token read, less the model's time from the request to that token; by
    #: the client's clock.
    first_token: list[float] = field(default_factory=list)
    #: From the same moment to the `started` event read, and to the POST's response.
    started: list[float] = field(default_factory=list)
    post: list[float] = field(default_factory=list)
    #: `started_at` less `created_at`, by Redis' clock, in whole milliseconds.
    redis: list[float] = field(default_factory=list)

    def found(self) -> dict[str, Any]:
        return {
            "first_token_ms": summary(self.first_token),
            "first_token_curve": curve(self.first_token),
            "started_ms": summary(self.started),
            "post_ms": summary(self.post),
            "redis_ms": summary(self.redis),
        }


class Starts:
    """The time from submit to first token: on an idle stack, beside other streams, and stock arq's."""

    def __init__(self) -> None:
        self.idle = Times()
        self.loaded = Times()
        #: From the call of `enqueue_job` to the first line of the function, in milliseconds.
        self.stock: list[float] = []

    async def measure(self, stack: Stack, plan: Plan) -> None:
        """Runs one round of both contenders in turn. Stock arq runs only for this time."""
        with stack.child("stock"):
            caller = await Caller.open(stack.ports["api"])
            pool = await create_pool(RedisSettings.from_dsn(stack.redis.url))
            try:
                await _stock_start(pool)  # its reply shows that it has started
                for turn in range(plan.stock_jobs):
                    await asyncio.sleep(random.uniform(*_STOCK_PAUSE))
                    self.stock.append(await _stock_start(pool))
                    share = (turn + 1) * plan.jobs // plan.stock_jobs - turn * plan.jobs // plan.stock_jobs
                    await some(self.idle, stack, caller, share)
            finally:
                await pool.aclose()
                await caller.close()

    async def measure_loaded(self, stack: Stack, plan: Plan) -> None:
        """Runs one round beside the plan's streams, which last longer."""
        seconds = plan.loaded_jobs * _LOADED + plan.settle + _OPENING
        others = await watched_jobs(stack, plan.streams[0], int(seconds * plan.stream_rate), plan.stream_rate)
        await all_of([stream.begun for stream in others], _WITHIN, "begun")
        await asyncio.sleep(plan.settle)
        caller = await Caller.open(stack.ports["api"])
        await some(self.loaded, stack, caller, plan.loaded_jobs)
        await caller.close()
        if any(stream.closed.done() for stream in others):
            raise BenchError("the streams beside the starts ended before these did")
        await all_of([stream.closed for stream in others], _WITHIN + seconds, "ended")

    def found(self) -> dict[str, Any]:
        return {"idle": self.idle.found(), "loaded": self.loaded.found(), "stock_arq_ms": summary(self.stock)}


async def pause() -> None:
    """Waits before a job."""
    await asyncio.sleep(random.uniform(*_PAUSE))


async def some(times: Times, stack: Stack, caller: Caller, jobs: int) -> None:
    """Runs this many jobs of one token, each read to its end before the next submit."""
    for _ in range(jobs):
        await pause()
        answer = await caller.call("POST", "/v1/jobs", question(1, 1000))
        links = answer.body["links"]
        stream = await Stream.open(stack.ports["api"], "GET", links["events"])
        await all_of([stream.closed], _WITHIN, "ended")
        stream.time_of(b"event: done\n")
        token = stream.tokens()[0]
        job = (await caller.call("GET", links["self"])).body
        times.first_token.append((token.came - answer.sent - (token.sent - stream.asked())) / 1e6)
        times.started.append((stream.time_of(b"event: started\n") - answer.sent) / 1e6)
        times.post.append((answer.came - answer.sent) / 1e6)
        times.redis.append(_ms(job["started_at"]) - _ms(job["created_at"]))


async def warm_up(stack: Stack, jobs: int) -> None:
    """Runs some jobs before the first that counts: imports, connections and scripts are then loaded."""
    caller = await Caller.open(stack.ports["api"])
    await some(Times(), stack, caller, jobs)
    await caller.close()


async def _stock_start(pool: ArqRedis) -> float:
    """Runs a job of stock arq. Returns milliseconds to its function's first line."""
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
