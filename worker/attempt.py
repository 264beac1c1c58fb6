"""One attempt of one job, from its claim to its end."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson

from readalong.core.cancel_flag import cancelled_by
from readalong.core.errors import BrokenJob, Fenced, ModelError, StoreUnavailable
from readalong.core.events import NewEvent
from readalong.core.options import OPTION_FIELDS
from readalong.core.settings import Settings
from readalong.store.log import Claim, ClaimStatus, Log
from readalong.worker.attempt_end import LOST, AttemptEnd
from readalong.worker.log_writer import Cancelled, LogWriter
from readalong.worker.model.breaker import GivenBack
from readalong.worker.model.call import Access, ModelCall
from readalong.worker.model.chunk_accumulator import ChunkAccumulator
from readalong.worker.model.limits import AnswerTooLarge, Limits
from readalong.worker.model.provider import Batch, Provider
from readalong.worker.model.redaction import Redactor
from readalong.worker.timings import AttemptTimings

logger = logging.getLogger(__name__)

#: Seconds to read on after the model's last message, so that its connection can be used again.
_LAST_BYTES: Final = 0.1
#: Seconds after which a silence is looked at once more before it counts.
_SECOND_LOOK: Final = 0.1


class Stop(StrEnum):
    """Why a run was told to stop."""

    CANCELLED = "cancelled"
    FENCED = "fenced"
    DRAIN = "drain"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class _StopRequest:
    stop: Stop
    by: str = ""
    error: Exception | None = None


class Attempt:
    """Streams from the model into the log. `interrupt` stops it from outside, also while the model is silent."""

    def __init__(
        self,
        settings: Settings,
        log: Log,
        provider: Provider,
        job_id: str,
        claim: Claim,
        *,
        access: Access,
        redactor: Redactor,
    ) -> None:
        """`redactor` takes secrets out of all that is told of the provider and is not its own text."""
        self.job_id = job_id
        #: When the log was last asked for the cancel flag, by the loop's clock.
        self.looked_at = 0.0
        self._settings = settings
        self._provider = provider
        self._redactor = redactor
        self._claim = claim
        self._loop = asyncio.get_running_loop()
        self._limits = Limits.of(settings)
        self._chunks = ChunkAccumulator()
        self._meter = AttemptTimings(
            claim.times.waited, self._loop.time(), queued=claim.times.queued, first=claim.times.first_token
        )
        self._tail = LogWriter(log, job_id, claim, settings.redis_outage_timeout, self._cannot_write)
        self._ending = AttemptEnd(log, self._tail, self._meter, job_id, claim, clock=self._loop.time)
        self._asking = ModelCall(settings, access, job_id, claim, tell=self._tell, ends=self._ends)
        self._order: _StopRequest | None = None
        self._task: asyncio.Task[None] | None = None
        #: The model's last sign of life, by the loop's clock.
        self._heard_at = 0.0
        self._looked_again = False
        #: Pieces of the present call that the meter knows of.
        self._counted = 0
        #: The model has said all; only its connection is still being read to its end.
        self._complete = False
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> bool:
        """Runs to the end. Answers whether the job has ended; False: another worker is to go on.

        The job's end is written exactly once, by the newest attempt; a fenced one writes nothing.
        """
        try:
            if self._claim.status is not ClaimStatus.RUN:
                await self._ending.for_another()
                return True
            if self._order is None:
                await self._stream_to_end()
            return await self._end(self._order or _StopRequest(Stop.TIMEOUT))
        except Fenced as fenced:
            logger.warning("job %s: attempt %d is fenced out (%s)", self.job_id, self._claim.attempt, fenced.code)
            # An ended or erased job is over for the queue too; a fenced one belongs to another attempt.
            return fenced.code != "fenced"

    def give_up_waiting(self, *, stopping: bool) -> None:
        """Hands the job over if it waits for a model that is away. `stopping`: its worker ends."""
        if (error := self._asking.waits_for) is not None:
            self.interrupt(Stop.DRAIN, error=None if stopping else GivenBack(error))

    def interrupt(self, stop: Stop, *, by: str = "", error: Exception | None = None) -> None:
        """Stops the run; the first order counts. Does nothing once the model's stream is over."""
        if self._order is not None or self._complete or (self._task is not None and self._task.done()):
            return
        if self._chunks.finished and (stop is Stop.DRAIN or isinstance(error, ModelError)):
            # All was said but for the last bytes of the stream: the answer is whole.
            stop, error = Stop.TIMEOUT, None
        self._order = _StopRequest(stop, by, error)
        if self._task is not None:
            self._task.cancel()

    def _tell(self, draft: NewEvent) -> None:
        self._tail.add([draft], 0)

    def _cannot_write(self, error: Exception) -> None:
        if isinstance(error, Cancelled):
            self.interrupt(Stop.CANCELLED, by=error.args[0])
        else:
            self.interrupt(Stop.FENCED if isinstance(error, Fenced) else Stop.TIMEOUT, error=error)

    async def _stream_to_end(self) -> None:
        self._task = asyncio.create_task(self._stream(), name=f"stream {self.job_id}")
        self._watch_time()
        try:
            await self._task
        except asyncio.CancelledError:
            if self._order is None:
                raise
        except Exception as error:
            self._order = self._order or _StopRequest(Stop.TIMEOUT, error=error)
        finally:
            if self._timer is not None:
                self._timer.cancel()

    async def _stream(self) -> None:
        """Reads the model to its end, and appends what it says."""
        try:
            await self._call_until_begun(self._request())
        finally:
            await self._tail.detach()

    async def _call_until_begun(self, request: dict[str, Any]) -> None:
        """Calls the model until it has begun to answer, and reads it to its end."""
        while True:
            await self._asking.begin()
            try:
                return await self._call(request)
            except ModelError as error:
                if self._complete:
                    return None  # all was said: that its connection broke afterwards is nobody's loss
                cleaned = self._cleaned(error)
                if self._meter.begun:
                    raise cleaned from None
                await self._asking.failed(cleaned)

    def _ends(self, with_first_token: bool) -> float:
        """When the run's time is over, by the loop's clock; with the time for the first token, which does not count
        while the run waits for a model that is away."""
        settings = self._settings
        limits = [settings.job_timeout] if settings.job_timeout else []
        if with_first_token and settings.first_token_timeout:
            limits.append(settings.first_token_timeout + self._asking.waited)
        if self._claim.times.left is not None:
            limits.append(self._claim.times.left)
        return self._meter.claimed + min(limits, default=math.inf)

    async def _call(self, request: dict[str, Any]) -> None:
        asked = request.get("n", 1)
        self._chunks = ChunkAccumulator(
            asked if isinstance(asked, int) else 1, limits=self._limits, clean=self._redactor.value
        )
        self._counted = 0
        self._meter.called(self._loop.time())
        async with self._provider.stream(request, self._chunks) as batches:
            self._asking.answered()
            async for drafts, size, complete in batches:
                self._take(drafts, size, complete=complete)
                if complete:
                    while self._tail.busy:
                        await self._answered()
                    self._complete = True
                    await self._read_out(batches)
                    return
                if self._tail.full:
                    await self._answered()
        raise ModelError("model_cut", "The model's stream ended before its answer did.", retryable=True)

    async def _answered(self) -> None:
        """Waits for Redis. Nobody reads the model meanwhile, so that it cannot be said to have fallen silent."""
        self._heard_at = math.inf
        await self._tail.wait_for_ack()
        self._heard_at = self._loop.time()

    def _take(self, drafts: list[NewEvent], size: int, *, complete: bool) -> None:
        """Appends what was read. Raises ModelError for an answer that is too large."""
        now = self._loop.time()
        if self._chunks.count > self._counted:
            self._counted = self._chunks.count
            if not self._meter.begun:
                self._asking.begun()
            self._meter.token(now)
            self._heard_at = now
        elif self._settings.model_keepalives:
            self._heard_at = now
        if drafts:
            self._tail.add(drafts, size)
            self.looked_at = now
        if self._tail.size > self._limits.answer and not complete:
            raise AnswerTooLarge(f"{self._limits.answer} bytes")

    async def _read_out(self, batches: AsyncIterator[Batch]) -> None:
        """Lets the provider clean up, which keeps a connection for the next job; not at any price."""
        try:
            async with asyncio.timeout(_LAST_BYTES):
                async for _ in batches:
                    pass
        except TimeoutError:
            return

    async def _end(self, order: _StopRequest) -> bool:
        """Writes how it ended. Answers whether the job has ended."""
        if order.stop is Stop.FENCED:
            if order.error is not None:
                raise order.error
            logger.warning("job %s: attempt %d has lost its lease", self.job_id, self._claim.attempt)
            return False
        if order.stop is Stop.DRAIN or isinstance(order.error, GivenBack):
            reason = order.error.error.code if isinstance(order.error, GivenBack) else "worker_stopped"
            return await self._hand_over(reason, counts=False)
        error = None if order.error is None else self._failure(order.error)
        if (
            error is not None
            and error.code in ("model_cut", "model_stalled")
            and self._settings.on_model_disconnect == "retry"
        ):
            return await self._hand_over(error.code, counts=True)
        if order.stop is Stop.CANCELLED:
            await self._ending.finish(self._chunks, [], "cancelled", {"by": cancelled_by(order.by)})
        elif error is not None:
            await self._ending.finish(self._chunks, [], "failed", {"error": self._cleaned(error).fields()})
        else:
            drafts = self._chunks.close()
            await self._ending.finish(self._chunks, drafts, "done", {"finish_reason": self._chunks.finish_reason})
        return True

    async def _hand_over(self, reason: str, *, counts: bool) -> bool:
        await self._tail.hand_over(reason, counts=counts)
        logger.info("job %s goes to the next attempt: attempt %d, %s", self.job_id, self._claim.attempt, reason)
        return False

    def _failure(self, error: Exception) -> ModelError:
        """What the job's end says of an exception. Raises MemoryError."""
        if isinstance(error, ModelError):
            return error
        if isinstance(error, MemoryError):
            raise error  # this process has no use for the job, another may
        if isinstance(error, StoreUnavailable):
            return ModelError("redis_outage", "Redis was away for longer than the worker waits.", retryable=True)
        if isinstance(error, BrokenJob):
            logger.error("%s", error)
            return ModelError("internal_error", "The job's keys in Redis are broken.", retryable=True)
        # Without an end the job would come back and break as often as it may be tried, its watchers waiting.
        logger.error("job %s: the run broke", self.job_id, exc_info=error)
        return ModelError("internal_error", "The worker failed; it is in its log.", retryable=True)

    def _cleaned(self, error: ModelError) -> ModelError:
        """The error for watchers and logs: without secrets, and then shortened."""
        return error.saying(self._redactor.shown(error.message))

    def _request(self) -> dict[str, Any]:
        """The body for the model: the client's own, streamed, with usage asked for unless it says otherwise."""
        request: dict[str, Any] = orjson.loads(self._claim.request)
        for name in OPTION_FIELDS & request.keys():
            del request[name]
        if not request.get("store"):
            # OpenAI refuses metadata for answers that it is not asked to store.
            request.pop("metadata", None)
        request["model"] = self._claim.model
        request["stream"] = True
        if self._settings.include_usage:
            request["stream_options"] = {"include_usage": True, **(request.get("stream_options") or {})}
        return request

    def _watch_time(self) -> None:
        """One timer for the whole, the first token and the gap; it is set anew only when it fires."""
        settings = self._settings
        now = self._loop.time()
        limits = []
        if settings.job_timeout:
            limits.append((self._meter.claimed + settings.job_timeout, "job_timeout", "The job took too long."))
        if (left := self._claim.times.left) is not None:
            limits.append((self._meter.claimed + left, "deadline_exceeded", LOST["deadline_exceeded"]))
        if self._meter.begun:
            if settings.stall_timeout:
                limits.append((self._heard_at + settings.stall_timeout, "model_stalled", "The model fell silent."))
        elif settings.first_token_timeout:
            # While it waits for a model that is away, that time does not go by.
            since = now if self._asking.waits_for else self._meter.claimed + self._asking.waited
            since = max(since, min(self._heard_at, now))
            limits.append((since + settings.first_token_timeout, "model_timeout", "The model did not begin in time."))
        if not limits:
            if settings.stall_timeout:
                self._timer = self._loop.call_later(settings.stall_timeout, self._watch_time)
            return
        at, code, message = min(limits)
        silent = code in ("model_stalled", "model_timeout")
        if at <= now and silent and not self._looked_again:
            # Was it us who stood still? Then what the model has said meanwhile is heard first.
            self._looked_again = True
            self._timer = self._loop.call_later(_SECOND_LOOK, self._watch_time)
        elif at <= now:
            # Of a job whose time is over while it waits for its model, the model's own words tell more.
            away = self._asking.waits_for
            self.interrupt(Stop.TIMEOUT, error=away or ModelError(code, message, retryable=True))
        else:
            self._looked_again = False
            # A gap may begin sooner than the limit that is nearest now.
            at = min(at, now + settings.stall_timeout) if settings.stall_timeout else at
            self._timer = self._loop.call_at(at, self._watch_time)
