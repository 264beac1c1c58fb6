"""From a worker's SIGKILL to the next attempt's event at a watcher."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from contextlib import ExitStack
from typing import Any, Final

from bench.harness.errors import BenchError
from bench.harness.quantiles import summary
from bench.harness.stack import Stack
from bench.load.wire import Caller, Stream, question
from bench.plan import Plan
from tests.support.servers import free_port

_WITHIN: Final = 30.0
#: The stream that is cut: more seconds than any measurement takes, tokens a second.
_SECONDS: Final = 120
_RATE: Final = 20.0
#: Seconds of a stream before the kill, so that the kill comes at any point of the workers' intervals.
_PAUSE: Final = 0.37


async def kill(stack: Stack, plan: Plan) -> dict[str, Any]:
    """Two workers at default settings: the streaming one is killed, and replaced after the measurement.

    The first of them is the pipeline's own: no measurement that needs it may follow.
    """
    times = []
    caller = await Caller.open(stack.ports["api"])
    with ExitStack() as workers:
        for number in range(plan.kills):
            _add(workers, stack, f"worker {number}")
            await _two(caller)
            times.append(await _one(stack, caller, _PAUSE * (number + 1)))
    await caller.close()
    return {"restarted_s": summary(times)}


def _add(workers: ExitStack, stack: Stack, name: str) -> None:
    port = free_port()  # a worker listens on no port, but the harness names its children by one
    words = [sys.executable, "-m", "bench.harness.child", "worker", str(port)]
    workers.enter_context(stack.process(name, words, port))


async def _two(caller: Caller) -> None:
    """Returns when two workers run and know of each other."""
    deadline = time.monotonic() + _WITHIN
    while (await caller.call("GET", "/readyz")).body["workers"] < 2:
        if time.monotonic() > deadline:
            raise BenchError("no second worker came")
        await asyncio.sleep(0.05)
    await asyncio.sleep(2.5)


async def _one(stack: Stack, caller: Caller, pause: float) -> float:
    """Returns the seconds of one kill."""
    job = (await caller.call("POST", "/v1/jobs", question(int(_SECONDS * _RATE), _RATE))).body
    stream = await Stream.open(stack.ports["api"], "GET", job["links"]["events"])
    await stream.begun
    await asyncio.sleep(pause)
    pid = (await caller.call("GET", job["links"]["self"])).body["worker"]["pid"]
    killed = time.monotonic_ns()
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + _WITHIN
    while not stream.count(b"event: restarted\n"):
        if time.monotonic() > deadline or stream.closed.done():
            raise BenchError("the killed worker's job was not taken by another")
        await asyncio.sleep(0.01)
    await caller.call("POST", job["links"]["cancel"])
    await stream.closed
    return (stream.time_of(b"event: restarted\n") - killed) / 1e9
