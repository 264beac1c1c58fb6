"""The function that arq calls for each job, and the attempts of this process."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import orjson
from arq import Retry

from readalong.core.errors import BrokenJob, StoreUnavailable
from readalong.core.settings import Settings
from readalong.store.job_index import JobIndex
from readalong.store.log import Claim, ClaimStatus, Log
from readalong.store.turns import BY, Turns
from readalong.worker.attempt import Attempt, Stop
from readalong.worker.model.call import Access, restart_reason
from readalong.worker.model.providers import Providers

logger = logging.getLogger(__name__)

_Reply = TypeVar("_Reply")


class JobRunner:
    """Claims jobs for one worker and runs their attempts. `attempts`: those that run now, by job id."""

    def __init__(
        self,
        settings: Settings,
        log: Log,
        index: JobIndex,
        providers: Providers,
        worker: dict[str, Any],
        *,
        turns: Turns,
        on_memory_error: Callable[[], None],
    ) -> None:
        """`worker`: id, host and pid, for the job's events. `on_memory_error` is called when memory is used up."""
        self.attempts: dict[str, Attempt] = {}
        self._accesses = {provider: Access(settings) for provider in providers.all}
        #: Whether this worker gets through to its model server. All attempts that call it share this.
        self.access = self._accesses[providers.default]
        self._tasks: dict[str, asyncio.Task[bool]] = {}
        #: Jobs that arq will not run, though they have begun.
        self._given_up: set[str] = set()
        self._settings = settings
        self._log = log
        self._index = index
        self._turns = turns
        self._providers = providers
        self._on_memory_error = on_memory_error
        self._worker = orjson.dumps(worker)

    def begin(self, job_id: str, until: int = 0) -> None:
        """Claims and runs a job before arq calls `generate` for it. `until`: the end of the job's lease, or 0.

        arq first reads its own record of the job. The claim and the call of the model need not wait for that.
        """
        self._tasks[job_id] = asyncio.create_task(self._run(job_id, until), name=f"run {job_id}")

    async def run(self, job_id: str) -> None:
        """Waits for the end of the job's attempt. Raises arq's Retry if the job stays in the queue."""
        if job_id not in self._tasks:
            self.begin(job_id)
        if not await self._tasks[job_id]:
            raise Retry

    async def give_up(self, job_id: str) -> None:
        """Hands a job over that arq does not run after all."""
        self._given_up.add(job_id)
        if (attempt := self.attempts.get(job_id)) is not None:
            attempt.interrupt(Stop.DRAIN)
        if (task := self._tasks.get(job_id)) is not None:
            await task

    def give_up_waiting(self, *, stopping: bool) -> None:
        """Hands over the jobs that wait for a model that is away: another worker may get through. `stopping`: this
        worker ends, and no job may wait here."""
        for access in self._accesses.values():
            access.stopping = access.stopping or stopping
        for attempt in list(self.attempts.values()):
            attempt.give_up_waiting(stopping=stopping)

    def forget(self, job_id: str) -> None:
        """Forgets a job whose arq task has ended."""
        self._given_up.discard(job_id)
        task = self._tasks.pop(job_id, None)
        if task is not None and not task.cancel() and not task.cancelled():
            task.exception()  # arq has had it, or has failed before; asyncio would log it a second time

    async def _run(self, job_id: str, until: int) -> bool:
        """Claims the job and runs one attempt. Returns whether the queue drops the job; False: it stays."""
        try:
            claim = await self._claim(job_id, until)
            if claim.status is ClaimStatus.LATE:
                # A claim now would fence out the worker that has acquired the job meanwhile.
                logger.warning("job %s: its lease was lost before it was claimed", job_id)
                return False
            if claim.status is ClaimStatus.UNKNOWN:
                # The reconciler enqueues it again, for a newer worker.
                logger.error("job %s: unknown schema, a newer version wrote it", job_id)
                return True
            if claim.status not in (ClaimStatus.GONE, ClaimStatus.ENDED):
                _log_claim(job_id, claim)
                claim, is_turn = await self._composed(job_id, claim)
                provider = self._providers.for_model(claim.model)
                attempt = self.attempts[job_id] = Attempt(
                    self._settings,
                    self._log,
                    provider,
                    job_id,
                    claim,
                    access=self._accesses[provider],
                    redactor=self._providers.redactor,
                )
                if not is_turn:
                    attempt.interrupt(Stop.CANCELLED, by=BY)
                if job_id in self._given_up:
                    attempt.interrupt(Stop.DRAIN)
                try:
                    if not await attempt.run():
                        return False
                finally:
                    del self.attempts[job_id]
            if claim.thread_digest:
                await self._turns.settle(job_id)
            await self._index.refile(job_id)
            return True
        except BrokenJob as error:
            # The reconciler enqueues it again once its keys are mended.
            logger.error("%s; the job does not run", error)
            return True
        except StoreUnavailable as error:
            # The lease runs out. The next claim finds in the log where the job stands.
            logger.warning("job %s: %s; the job stays in the queue", job_id, error)
        except MemoryError:
            logger.critical("job %s: out of memory; the worker stops", job_id)
            self._on_memory_error()
        return False

    async def _claim(self, job_id: str, until: int) -> Claim:
        """Claims the job. Raises StoreUnavailable as `_patiently` does."""
        token = secrets.token_hex(8)
        # The claim may be done and its reply lost: a claim with another token would count a lost worker.
        return await self._patiently(job_id, lambda: self._log.claim(job_id, self._worker, token, until))

    async def _composed(self, job_id: str, claim: Claim) -> tuple[Claim, bool]:
        """Returns the claim with the messages of its thread, and whether it is the job's turn there."""
        if not claim.thread_digest or claim.status is not ClaimStatus.RUN:
            return claim, True
        items = self._settings.speaks_responses(claim.model)
        composed = await self._patiently(
            job_id,
            lambda: self._turns.compose(job_id, claim.thread_digest, claim.request, claim.leading, items=items),
        )
        return (claim, False) if composed is None else (claim._replace(request=composed), True)

    async def _patiently(self, job_id: str, call: Callable[[], Awaitable[_Reply]]) -> _Reply:
        """Calls until Redis answers. Raises StoreUnavailable once it has been away for as long as an attempt waits."""
        loop = asyncio.get_running_loop()
        limit = loop.time() + self._settings.redis_outage_timeout
        pause = 0.05
        while True:
            try:
                return await call()
            except StoreUnavailable as error:
                if loop.time() >= limit:
                    raise
                logger.info("job %s: %s; trying again", job_id, error)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, 1.0)


def _log_claim(job_id: str, claim: Claim) -> None:
    """Logs a line for each attempt that begins, as a warning if its worker was lost."""
    if claim.status is ClaimStatus.CANCELLED:
        logger.info("job %s: cancelled after its worker was lost, attempt %d", job_id, claim.attempt)
    elif claim.status is ClaimStatus.LOST:
        logger.warning("job %s: out of attempts (%s), attempt %d ends it", job_id, claim.note, claim.attempt)
    elif (reason := restart_reason(claim)) == "worker_lost":
        logger.warning("job %s: taken over from a lost worker, attempt %d", job_id, claim.attempt)
    elif reason:
        logger.info("job %s: restarted, attempt %d (%s)", job_id, claim.attempt, reason)
    else:
        logger.info("job %s: started, model %r, queued for %.2f s", job_id, claim.model[:80], claim.times.waited)


async def generate(ctx: dict[Any, Any], job_id: str) -> None:
    """arq's entry point: runs a job with the worker's JobRunner."""
    runner: JobRunner = ctx["runner"]
    await runner.run(job_id)
