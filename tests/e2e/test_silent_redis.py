"""A worker is told to end while Redis is silent: its connections stay open without replies."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest

from tests.e2e.jobs import chat, submit
from tests.support.history import assert_whole
from tests.support.proxy import Proxy
from tests.support.stack import Stack
from tests.support.waiting import until

#: The end may take half of a second time-out besides.
DRAIN, TIMEOUT = 1.0, 20.0


@pytest.mark.slow
async def test_a_worker_that_is_stopped_while_redis_is_silent_ends_after_one_redis_time_out(routed: Stack) -> None:
    """Its waits run at the same time: two time-outs in a row would break the bound. Its jobs continue elsewhere."""
    worker, route = routed.workers[0], routed.worker_route
    worker.restart(READALONG_DRAIN_TIMEOUT=f"{DRAIN}", READALONG_REDIS_TIMEOUT=f"{TIMEOUT}", READALONG_LEASE="2")
    await until(lambda: " ready: " in worker.output, "the worker to work")
    silent, speaking = [await submit(routed, chat(model)) for model in ("demo-hang", "demo-endless")]
    await speaking.reach(5)
    await silent.at_model()
    route.do(Proxy.stall)
    began = monotonic()
    worker.term()
    assert await asyncio.to_thread(worker.wait) == 0
    assert monotonic() - began < DRAIN + 1.5 * TIMEOUT
    route.do(Proxy.mend)
    worker.restart(READALONG_LEASE="2")
    for job in (silent, speaking):
        await job.at_model(2)
        await job.cancel()
        assert (await job.ended())["status"] == "cancelled"
        assert_whole(routed.log_of(job.id))
