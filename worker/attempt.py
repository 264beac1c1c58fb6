"""One attempt of one job, from its claim to its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Any, Final, NamedTuple

import orjson

from readalong.core.cancel_flag import cancelled_by
from readalong.core.errors import Fenced, ModelError
from readalong.core.events import NewEvent
from readalong.core.options import OPTION_FIELDS, TURN_FIELDS
from readalong.core.settings import Settings
from readalong.store.log import Claim, ClaimStatus, Log
from readalong.worker.attempt_end import AttemptEnd, as_model_error
from readalong.worker.attempt_timer import AttemptTimer
from readalong.worker.log_writer import Cancelled, LogWriter
from readalong.worker.model.breaker import RequeueJob
from readalong.worker.model.call import Access, ModelCall
from readalong.worker.model.chunks.accumulator import ChunkAccumulator
from readalong.worker.model.limits import AnswerTooLarge, Limits
from readalong.worker.model.provider import Batch, Provider
from readalong.worker.model.redaction import Redactor
from readalong.worker.timings import AttemptTimings

logger = logging.getLogger(__name__)

#: Seconds to read on after the model's last message, so that its connection can be used again.
_LAST_BYTES: Final = 0.1
#: Codes of a stream that broke off; the setting `on_model_disconnect` says whether another attempt follows.
_DISCONNECTS: Final = frozenset({"model_cut", "model_stalled"})


class Stop(StrEnum):
    """Why an attempt stops reading its model."""

    CANCELLED = "cancelled"
    FENCED = "fenced"
    DRAIN = "drain"
    FAILED = "failed"
    #: The answer is whole. Only the end of its stream may be missing.
    COMPLETE = "complete"


class StopRequest(NamedTuple):
    """`by` is the cancel flag of CANCELLED. `error` is the cause of FAILED, of FENCED if an append found it, and of
    DRAIN if it is RequeueJob."""

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
        """`redactor` removes secrets from the provider's messages and fields."""
        self.job_id = job_id
        #: When the cancel flag was last read, by the loop's clock.
        self.looked_at = 0.0
        self._settings = settings
        self._provider = provider
        self._redactor = redactor
        self._claim = claim
        self._loop = asyncio.get_running_loop()
        self._limits = Limits.from_settings(settings)
        self._chunks = ChunkAccumulator()
        self._timings = AttemptTimings(
            claim.times.waited, self._loop.time(), queued=claim.times.queued, first=claim.times.first_token
        )
        self._writer = LogWriter(log, job_id, claim, settings.redis_outage_timeout, self._cannot_write)
        self._end = AttemptEnd(log, self._writer, self._timings, job_id, claim, clock=self._loop.time)
        self._timer = AttemptTimer(settings, claim, self._timings, expire=self._fail)
        self._call = ModelCall(settings, access, job_id, claim, tell=self._append_one, ends=self._timer.end)
        self._request: StopRequest | None = None
        self._task: asyncio.Task[None] | None = None
        #: Chunks of the present call that the timings know of.
        self._counted = 0
        #: The model has said all; only its connection is still being read to its end.
        self._complete = False

    @property
    def claimed_at(self) -> float:
        """When it began, by the loop's clock."""
        return self._timings.claimed

    async def run(self) -> bool:
        """Runs to the end. Returns whether the job has ended; False means that another attempt goes on.

        The job's end is written exactly once, by the newest attempt. A fenced attempt writes nothing.
        """
        try:
            if self._claim.status is not ClaimStatus.RUN:
                await self._end.finish_lost()
                return True
            if self._request is None:
                await self._stream_to_end()
            return await self._finish(self._request or StopRequest(Stop.COMPLETE))
        except Fenced as fenced:
            logger.warning("job %s: attempt %d is fenced out (%s)", self.job_id, self._claim.attempt, fenced.code)
            # The queue drops an ended or deleted job. A fenced one belongs to another attempt.
            return fenced.code != "fenced"

    def interrupt(self, stop: Stop, *, by: str = "", error: Exception | None = None) -> None:
        """Stops the attempt. The first request counts. Does nothing once the model's stream is over."""
        if self._request is not None or self._complete or (self._task is not None and self._task.done()):
            return
        request = StopRequest(stop, by, error)
        if self._chunks.finished and (stop is Stop.DRAIN or isinstance(error, ModelError)):
            # Another attempt, or a failure, would throw a whole answer away for the last bytes of its stream.
            request = StopRequest(Stop.COMPLETE)
        self._request = request
        if self._task is not None:
            self._task.cancel()

    def give_up_waiting(self, *, stopping: bool) -> None:
        """Requeues the job if it waits for a model that is away. `stopping`: the worker stops."""
        if (error := self._call.waits_for) is not None:
            self.interrupt(Stop.DRAIN, error=None if stopping else RequeueJob(error))

    def _fail(self, error: Exception) -> None:
        self.interrupt(Stop.FAILED, error=error)

    def _cannot_write(self, error: Exception) -> None:
        if isinstance(error, Cancelled):
            self.interrupt(Stop.CANCELLED, by=error.flag)
        elif isinstance(error, Fenced):
            self.interrupt(Stop.FENCED, error=error)
        else:
            self._fail(error)

    async def _stream_to_end(self) -> None:
        """Runs the stream in a task of its own, which `interrupt` cancels."""
        self._task = asyncio.create_task(self._stream(), name=f"stream {self.job_id}")
        self._timer.start(self._call)
        try:
            await self._task
        except asyncio.CancelledError:
            if self._request is None:
                raise
        except RequeueJob as error:
            self._request = self._request or StopRequest(Stop.DRAIN, error=error)
        except Exception as error:
            self._request = self._request or StopRequest(Stop.FAILED, error=error)
        finally:
            self._timer.cancel()

    async def _stream(self) -> None:
        """Calls the model until it begins to answer, reads it to its end, and appends what it says."""
        try:
            body = _request_body(self._claim, include_usage=self._settings.include_usage)
            while True:
                await self._call.begin()
                try:
                    return await self._read_call(body)
                except ModelError as error:
                    if self._complete:
                        return None  # a connection that breaks after a whole answer fails no job
                    cleaned = self._cleaned(error)
                    if self._timings.begun:
                        raise cleaned from None
                    await self._call.failed(cleaned)
        finally:
            self._call.close()
            await self._writer.detach()

    async def _read_call(self, body: dict[str, Any]) -> None:
        """Calls the model once, and reads its stream to the end."""
        choices = body.get("n", 1)
        self._chunks = ChunkAccumulator(
            choices if isinstance(choices, int) else 1, limits=self._limits, clean=self._redactor.redact_value
        )
        self._counted = 0
        self._timings.called(self._loop.time())
        async with self._provider.stream(body, self._chunks) as batches:
            self._call.answered()
            async for events, size, complete in batches:
                self._append_batch(events, size, complete=complete)
                if complete:
                    while self._writer.busy:
                        await self._wait_for_ack()
                    self._complete = True
                    await self._read_out(batches)
                    return
                if self._writer.full:
                    await self._wait_for_ack()
        raise ModelError("model_cut", "The model's stream ended before its answer did.", retryable=True)

    def _append_batch(self, events: list[NewEvent], size: int, *, complete: bool) -> None:
        """Appends the events of `size` bytes. Raises ModelError for an answer that is too large."""
        now = self._loop.time()
        if self._chunks.count > self._counted:
            self._counted = self._chunks.count
            if not self._timings.begun:
                self._call.begun()
            self._timings.token(now)
            self._timer.heard_at = now
        elif self._settings.model_keepalives:
            self._timer.heard_at = now
        if events:
            self._writer.add(events, size)
            self.looked_at = now
        if self._writer.size > self._limits.answer and not complete:
            raise AnswerTooLarge(f"{self._limits.answer} bytes")

    def _append_one(self, event: NewEvent) -> None:
        self._writer.add([event], 0)

    async def _wait_for_ack(self) -> None:
        """Waits for Redis. The model is not read meanwhile, so its silence does not count."""
        with self._timer.paused():
            await self._writer.wait_for_ack()

    async def _read_out(self, batches: AsyncIterator[Batch]) -> None:
        """Reads the last bytes, so that the next job can use the connection, unless that takes too long."""
        try:
            async with asyncio.timeout(_LAST_BYTES):
                async for _ in batches:
                    pass
        except TimeoutError:
            return

    async def _finish(self, request: StopRequest) -> bool:
        """Writes how the attempt ended. Returns whether the job has ended."""
        error = request.error
        match request.stop:
            case Stop.FENCED:
                if error is not None:
                    raise error
                logger.warning("job %s: attempt %d has lost its lease", self.job_id, self._claim.attempt)
                return False
            case Stop.DRAIN:
                reason = error.error.code if isinstance(error, RequeueJob) else "worker_stopped"
                return await self._requeue(reason, counts=False)
            case Stop.CANCELLED:
                await self._end.finish(self._chunks, [], "cancelled", {"by": cancelled_by(request.by)})
            case Stop.FAILED:
                assert error is not None
                failure = as_model_error(self.job_id, error)
                if failure.code in _DISCONNECTS and self._settings.on_model_disconnect == "retry":
                    return await self._requeue(failure.code, counts=True)
                await self._end.finish(self._chunks, [], "failed", {"error": self._cleaned(failure).fields()})
            case Stop.COMPLETE:
                last = self._chunks.close()
                await self._end.finish(self._chunks, last, "done", {"finish_reason": self._chunks.finish_reason})
        return True

    async def _requeue(self, reason: str, *, counts: bool) -> bool:
        await self._writer.requeue(reason, counts=counts)
        logger.info("job %s: attempt %d handed over to the next (%s)", self.job_id, self._claim.attempt, reason)
        return False

    def _cleaned(self, error: ModelError) -> ModelError:
        """Returns the error for watchers and logs: secrets are removed before a text is shortened."""
        return error.cleaned(self._redactor.redact_excerpt)


def _request_body(claim: Claim, *, include_usage: bool) -> dict[str, Any]:
    """Returns the body for the model: the client's own, streamed, with usage asked for unless the client says
    otherwise."""
    body: dict[str, Any] = orjson.loads(claim.request)
    for name in (OPTION_FIELDS | TURN_FIELDS) & body.keys():
        del body[name]
    if not body.get("store"):
        # OpenAI refuses metadata for answers that it is not asked to store.
        body.pop("metadata", None)
    body["model"] = claim.model
    body["stream"] = True
    if include_usage:
        body["stream_options"] = {"include_usage": True, **(body.get("stream_options") or {})}
    return body
