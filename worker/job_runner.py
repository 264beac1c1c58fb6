"""The function that arq calls for each job, and the runs of this process."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Callable
from typing import Any

import orjson
from arq import Retry

from readalong.core.errors import BrokenJob, StoreUnavailable
from readalong.core.settings import Settings
from readalong.store.job_index import JobIndex
from readalong.store.log import Claim, ClaimStatus, Log
from readalong.worker.attempt import Attempt, Stop
from readalong.worker.model.call import Access, restart_reason
from readalong.worker.model.providers import Providers

logger = logging.getLogger(__name__)


class JobRunner:
    """Claims jobs for one worker and runs them; `runs` is what runs now, by job id."""

    def __init__(
        self,
        settings: Settings,
        log: Log,
        index: JobIndex,
        providers: Providers,
        worker: dict[str, Any],
        *,
        broken: Callable[[], None],
    ) -> None:
        """`worker` is what jobs say of their worker: id, host, pid. `broken` is called when the memory is used up."""
        self.runs: dict[str, Attempt] = {}
        self._accesses = {provider: Access(settings) for provider in providers.all}
        #: Whether this worker gets through to its model server, which all runs share that call it.
        self.access = self._accesses[providers.default]
        self._begun: dict[str, asyncio.Task[bool]] = {}
        #: Jobs that arq does not run after all.
        self._unwanted: set[str] = set()
        self._settings = settings
        self._log = log
        self._index = index
        self._providers = providers
        self._broken = broken
        self._worker = orjson.dumps(worker)

    def begin(self, job_id: str, until: int = 0) -> None:
        """Claims and runs a job that arq is about to call `generate` for: arq first reads its own description, which
        takes as long as to claim the job and to call the model. `until`: the end of the job's lease, or 0."""
        self._begun[job_id] = asyncio.create_task(self._run(job_id, until), name=f"run {job_id}")

    async def run(self, job_id: str) -> None:
        """Waits for the end of one attempt. Raises arq's Retry when the job is to stay in the queue."""
        if job_id not in self._begun:
            self.begin(job_id)
        if not await self._begun[job_id]:
            raise Retry

    async def give_up(self, job_id: str) -> None:
        """arq does not run a job after all: it goes to the next attempt, which loses nothing by it."""
        self._unwanted.add(job_id)
        if (run := self.runs.get(job_id)) is not None:
            run.interrupt(Stop.DRAIN)
        if (begun := self._begun.get(job_id)) is not None:
            await begun

    def give_up_waiting(self, *, stopping: bool) -> None:
        """Hands over the jobs that wait for a model that is away: another worker may get through. `stopping`: this
        worker ends, and no job waits any more."""
        for access in self._accesses.values():
            access.stopping = access.stopping or stopping
        for run in list(self.runs.values()):
            run.give_up_waiting(stopping=stopping)

    def forget(self, job_id: str) -> None:
        """The job's task is over."""
        self._unwanted.discard(job_id)
        begun = self._begun.pop(job_id, None)
        if begun is not None and not begun.cancel() and not begun.cancelled():
            begun.exception()  # arq was told, or has failed itself before it would have been

    async def _run(self, job_id: str, until: int) -> bool:
        """Runs one attempt. Answers False when the job is to stay in the queue."""
        try:
            claim = await self._claim(job_id, until)
            if claim.status is ClaimStatus.LATE:
                # A claim now would fence out whoever took the job meanwhile.
                logger.warning("job %s: its lease was lost before it was claimed", job_id)
                return False
            if claim.status is ClaimStatus.UNKNOWN:
                # The sweep enqueues it again, for a newer worker.
                logger.error("job %s has a schema that this worker does not know", job_id)
                return True
            if claim.status not in (ClaimStatus.GONE, ClaimStatus.ENDED):
                _tell(job_id, claim)
                provider = self._providers.of(claim.model)
                run = self.runs[job_id] = Attempt(
                    self._settings,
                    self._log,
                    provider,
                    job_id,
                    claim,
                    access=self._accesses[provider],
                    redactor=self._providers.redactor,
                )
                if job_id in self._unwanted:
                    run.interrupt(Stop.DRAIN)
                try:
                    if not await run.run():
                        return False
                finally:
                    del self.runs[job_id]
            await self._index.refile(job_id)
            return True
        except BrokenJob as error:
            # It does not come back before the sweep finds that its keys are mended.
            logger.error("%s; it does not run", error)
            return True
        except StoreUnavailable as error:
            # The lease stays, and runs out; whoever takes the job then finds in the log where it stands.
            logger.warning("job %s: %s; it stays in the queue", job_id, error)
        except MemoryError:
            logger.critical("job %s: out of memory; the worker ends", job_id)
            self._broken()
        return False

    async def _claim(self, job_id: str, until: int) -> Claim:
        """Claims the job, and waits for a Redis that is away as a run does. Raises StoreUnavailable at the limit."""
        token = secrets.token_hex(8)
        loop = asyncio.get_running_loop()
        limit = loop.time() + self._settings.redis_outage_timeout
        pause = 0.05
        while True:
            try:
                return await self._log.claim(job_id, self._worker, token, until)
            except StoreUnavailable as error:
                # It may be done, and its reply lost: another claim than this one would count it as a lost worker.
                if loop.time() >= limit:
                    raise
                logger.info("job %s: %s; claiming it again", job_id, error)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, 1.0)


def _tell(job_id: str, claim: Claim) -> None:
    """A line for each attempt that begins; one that takes a job over from a lost worker is a warning."""
    if claim.status is ClaimStatus.CANCELLED:
        logger.info("job %s: its worker is gone; attempt %d cancels it", job_id, claim.attempt)
    elif claim.status is ClaimStatus.LOST:
        logger.warning("job %s is lost (%s); attempt %d ends it", job_id, claim.note, claim.attempt)
    elif (reason := restart_reason(claim)) == "worker_lost":
        logger.warning("job %s is taken over from a lost worker: attempt %d", job_id, claim.attempt)
    elif reason:
        logger.info("job %s goes on: attempt %d (%s)", job_id, claim.attempt, reason)
    else:
        logger.info("job %s begins: model %r, queued for %.2f s", job_id, claim.model[:80], claim.times.waited)


async def generate(ctx: dict[Any, Any], job_id: str) -> None:
    """arq's entry: runs the job `job_id` with the worker's Runner."""
    runner: JobRunner = ctx["runner"]
    await runner.run(job_id)
