"""One worker process: start, signals, drain, exit."""

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

from readalong.core.settings import Settings
from readalong.process.signals import ending_signals, ignore_reports
from readalong.redis.facade import RedisFacade
from readalong.worker.model.providers import Providers
from readalong.worker.model.redaction import RedactingFilter
from readalong.worker.worker import QueueWorker

logger = logging.getLogger(__name__)


def run(settings: Settings) -> int:
    """Works until SIGTERM, SIGINT or SIGHUP, then drains. A second SIGTERM or SIGINT ends it at once. Returns the exit
    code.

    Raises BadSettings when the environment does not say how to reach a model.
    """
    # Without memory some C libraries crash instead of raising: the process would end without a word.
    faulthandler.enable()
    ignore_reports()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve(settings))


async def serve(settings: Settings) -> int:
    """Does the work of `run`, on the running loop."""
    # arq's line of each job has a ● also for jobs that failed.
    logging.getLogger("arq.worker").setLevel(logging.WARNING)
    providers = Providers.from_settings(settings)
    for handler in logging.getLogger().handlers:
        handler.addFilter(RedactingFilter(providers.redactor))
    redis = RedisFacade.connect(settings, max_connections=settings.max_jobs + 16)
    worker = QueueWorker(settings, redis, providers, identity())
    main = asyncio.create_task(worker.async_run(), name="worker")
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        if stopping.is_set():
            if number == signal.SIGHUP:
                return  # a closed terminal and its shell may both send it
            logger.warning("second signal: exiting at once")
            main.cancel()
        stopping.set()
        worker.stop()

    stopping = asyncio.Event()
    signals = ending_signals()
    for number in signals:
        loop.add_signal_handler(number, on_signal, number)
    at_once = False
    try:
        await main
    except asyncio.CancelledError:
        if not stopping.is_set():
            raise
        at_once = True
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        await worker.close()
        ended = await providers.close()
    code = int(at_once or worker.out_of_memory)
    if not ended:
        # The loop would wait for the provider for ever.
        logger.error("a provider does not end; exiting without it")
        logging.shutdown()
        os._exit(code)
    return code


def identity() -> dict[str, Any]:
    """Returns the worker as others see it: host, pid, and an id that no other worker ever has."""
    host, pid = socket.gethostname(), os.getpid()
    return {"id": f"{host}-{pid}-{secrets.token_hex(3)}", "host": host, "pid": pid}
