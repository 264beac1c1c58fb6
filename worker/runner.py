"""The function that arq calls for each job, and the runs of this process."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import Any

import orjson
from arq import Retry

from readalong.errors import StoreUnavailable
from readalong.index import Index
from readalong.log import Claim, Log, Verdict
from readalong.settings import Settings
from worker.model import Model
from worker.run import Run

logger = logging.getLogger(__name__)


class Runner:
    """Claims jobs for one worker and runs them; `runs` is what runs now, by job id."""

    def __init__(
        self,
        settings: Settings,
        log: Log,
        index: Index,
        model: Model,
        worker: dict[str, Any],
        *,
        broken: Callable[[], None],
    ) -> None:
        """`worker` is what jobs say of their worker: id, host, pid. `broken` is called when the memory is used up."""
        self.runs: dict[str, Run] = {}
        self._claims: dict[str, asyncio.Task[Claim]] = {}
        self._settings = settings
        self._log = log
        self._index = index
        self._model = model
        self._broken = broken
        self._worker = orjson.dumps(worker)

    def claim(self, job_id: str) -> None:
        """Begins to claim a job that arq is about to run: arq first reads its own description, which takes as long."""
        claiming = self._log.claim(job_id, self._worker, secrets.token_hex(8))
        self._claims[job_id] = asyncio.create_task(claiming, name=f"claim {job_id}")

    async def run(self, job_id: str) -> None:
        """Runs one attempt. Raises arq's Retry when the job is to stay in the queue."""
        try:
            if job_id not in self._claims:
                self.claim(job_id)
            claim = await self._claims.pop(job_id)
            if claim.verdict is Verdict.UNKNOWN:
                # The sweep enqueues it again, for a newer worker.
                logger.error("job %s has a schema that this worker does not know", job_id)
                return
            if claim.verdict in (Verdict.GONE, Verdict.ENDED):
                ended = True
            else:
                run = self.runs[job_id] = Run(self._settings, self._log, self._model, job_id, claim)
                try:
                    ended = await run.go()
                finally:
                    del self.runs[job_id]
            if ended:
                await self._index.close(job_id)
                return
        except StoreUnavailable as error:
            # The lease stays, and runs out; whoever takes the job then finds in the log where it stands.
            logger.warning("job %s: %s; it stays in the queue", job_id, error)
        except MemoryError:
            logger.critical("job %s: out of memory; the worker ends", job_id)
            self._broken()
        raise Retry

    async def give_up(self, job_id: str) -> None:
        """arq does not run a job after all: what is claimed goes to the next attempt, which loses nothing by it.

        Raises Fenced, StoreUnavailable.
        """
        claiming = self._claims.pop(job_id, None)
        if claiming is not None and (claim := await claiming).verdict is Verdict.RUN:
            await self._log.hand_over(job_id, claim.fence, "worker_stopped", counts=False)

    def forget(self, job_id: str) -> None:
        """The job's task is over."""
        claiming = self._claims.pop(job_id, None)
        if claiming is not None and not claiming.cancel() and not claiming.cancelled():
            claiming.exception()  # nobody waited for it; what it says is known by the lease that runs out


async def generate(ctx: dict[Any, Any], job_id: str) -> None:
    """arq's entry: runs the job `job_id` with the worker's Runner."""
    runner: Runner = ctx["runner"]
    await runner.run(job_id)
