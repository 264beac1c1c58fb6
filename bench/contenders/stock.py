"""Stock arq: its own Worker with its own defaults, which polls every half second."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import uvloop
from arq.connections import RedisSettings
from arq.worker import Worker

from readalong.core.settings import load

#: arq's own queue name; readalong's queue has another.
FUNCTION: Final = "stamp"


async def stamp(ctx: dict[str, Any], answer: str) -> None:
    """Pushes its start time, in nanoseconds of the machine's clock, to the list `answer`."""
    now = time.monotonic_ns()
    await ctx["redis"].rpush(answer, now)


async def work() -> None:
    """Runs until SIGTERM."""
    worker = Worker(functions=[stamp], redis_settings=RedisSettings.from_dsn(str(load().redis_url)))
    try:
        await worker.async_run()
    except asyncio.CancelledError:
        # arq ends this way on SIGTERM.
        return
    finally:
        await worker.close()


def run(_port: int) -> int:
    """Runs until SIGTERM; returns the exit code. It listens on no port."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())
    return 0
