"""One worker process: signals, start, drain, end."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import secrets
import signal
import socket
from typing import Any

import uvloop

from readalong.connection import connect
from readalong.settings import Settings
from worker.model import Model
from worker.redaction import RedactingFilter
from worker.woken import WokenWorker

logger = logging.getLogger(__name__)


def run(settings: Settings) -> int:
    """Works until SIGTERM or SIGINT, then drains; a second signal ends it at once. Answers the exit code.

    Raises BadSettings when the environment does not say how to reach a model.
    """
    # Without memory some C libraries crash instead of raising: the process would end without a word.
    faulthandler.enable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve(settings))


async def serve(settings: Settings) -> int:
    """What `run` does, on the running loop."""
    # Its own line of each job has a ● also for those that failed.
    logging.getLogger("arq.worker").setLevel(logging.WARNING)
    model = Model(settings)
    for handler in logging.getLogger().handlers:
        handler.addFilter(RedactingFilter(model.redactor))
    redis = connect(settings, max_connections=settings.max_jobs + 16)
    worker = WokenWorker(settings, redis, model, identity())
    main = asyncio.create_task(worker.async_run(), name="worker")
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stopping.is_set():
            logger.warning("a second signal: ending at once")
            main.cancel()
        stopping.set()
        worker.stop()

    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        await main
    except asyncio.CancelledError:
        if not stopping.is_set():
            raise
        return 1
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        await worker.close()
        await model.close()
    return int(worker.broken)


def identity() -> dict[str, Any]:
    """What others see of this worker: where it is, and an id that no other worker ever has."""
    host, pid = socket.gethostname(), os.getpid()
    return {"id": f"{host}-{pid}-{secrets.token_hex(3)}", "host": host, "pid": pid}
