"""One attempt of one job, from its claim to its end."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson

from readalong.epochs import epoch_of
from readalong.errors import Fenced, ModelError, StoreUnavailable
from readalong.events import Draft
from readalong.fold import Transcript
from readalong.log import Claim, Log, Verdict
from readalong.scripts import Argument
from readalong.settings import Settings
from readalong.sse import Decoder, Message
from readalong.terms import FIELDS
from worker.chunks import Chunks
from worker.meter import Meter
from worker.model import Model
from worker.tail import Cancelled, Tail
from worker.values import malformed

logger = logging.getLogger(__name__)

#: Longest that a model's Retry-After may make a job wait, in seconds; beyond it the job fails.
_LONGEST_RETRY_AFTER: Final = 60.0
#: Seconds to read on after the model's last message, so that its connection can be used again.
_LAST_BYTES: Final = 0.1
_HISTORY_PAGE: Final = 1000


class Stop(StrEnum):
    """Why a run was told to stop."""

    CANCELLED = "cancelled"
    FENCED = "fenced"
    DRAIN = "drain"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class _Order:
    stop: Stop
    by: str = ""
    error: Exception | None = None


class Run:
    """Streams from the model into the log. `interrupt` stops it from outside, also while the model is silent."""

    def __init__(self, settings: Settings, log: Log, model: Model, job_id: str, claim: Claim) -> None:
        self.job_id = job_id
        #: When the log was last asked for the cancel flag, by the loop's clock.
        self.looked_at = 0.0
        self._settings = settings
        self._log = log
        self._model = model
        self._claim = claim
        self._loop = asyncio.get_running_loop()
        self._chunks = Chunks()
        self._meter = Meter(claim.waited, self._loop.time())
        self._tail = Tail(log, job_id, claim, settings.redis_outage, self._cannot_write)
        self._order: _Order | None = None
        self._task: asyncio.Task[None] | None = None
        self._heard_at = 0.0
        #: The model has said all; only its connection is still being read to its end.
        self._complete = False
        self._timer: asyncio.TimerHandle | None = None

    async def go(self) -> bool:
        """Runs to the end. Answers whether the job has ended; False: another worker is to go on.

        The job's end is written exactly once, by the newest attempt; a fenced one writes nothing.
        """
        try:
            if self._claim.verdict is not Verdict.RUN:
                await self._end_for_another()
                return True
            if self._order is None:
                await self._stream_to_end()
            return await self._end(self._order or _Order(Stop.TIMEOUT))
        except Fenced as fenced:
            logger.info("job %s: attempt %d stops: %s", self.job_id, self._claim.attempt, fenced.code)
            # An ended or erased job is over for the queue too; a fenced one belongs to another attempt.
            return fenced.code != "fenced"

    def interrupt(self, stop: Stop, *, by: str = "", error: Exception | None = None) -> None:
        """Stops the run; the first order counts. Does nothing once the model's stream is over."""
        if self._order is not None or self._complete or (self._task is not None and self._task.done()):
            return
        self._order = _Order(stop, by, error)
        if self._task is not None:
            self._task.cancel()

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
            self._order = self._order or _Order(Stop.TIMEOUT, error=error)
        finally:
            if self._timer is not None:
                self._timer.cancel()

    async def _stream(self) -> None:
        """Reads the model to its end, and appends what it says."""
        try:
            await self._call_until_begun(self._request())
        finally:
            await self._tail.leave()

    async def _call_until_begun(self, request: dict[str, Any]) -> None:
        """Calls the model until it has begun to answer, and reads it to its end."""
        retries = 0
        while True:
            try:
                return await self._call(request)
            except ModelError as error:
                if self._complete:
                    return None  # all was said: that its connection broke afterwards is nobody's loss
                asked = error.retry_after if error.retry_after is not None else 0.5 * 2**retries
                # Never sooner than was asked, and not all of those that were refused together at once.
                wait = asked * random.uniform(1.0, 1.25)
                if (
                    self._meter.begun
                    or not error.retryable
                    or retries >= self._settings.model_retries
                    or asked > _LONGEST_RETRY_AFTER
                    # The job's time would be over, and its error would tell of that and not of the model.
                    or self._loop.time() + wait >= self._begin_by()
                ):
                    raise
                retries += 1
                logger.info("job %s: %s; retry %d in %.1f s", self.job_id, error.code, retries, wait)
                await asyncio.sleep(wait)

    def _begin_by(self) -> float:
        """When the model must have begun, by the loop's clock."""
        settings = self._settings
        limits = [limit for limit in (settings.first_token_timeout, settings.job_timeout) if limit]
        if self._claim.left is not None:
            limits.append(self._claim.left)
        return self._meter.claimed + min(limits, default=math.inf)

    async def _call(self, request: dict[str, Any]) -> None:
        decoder = Decoder()
        self._chunks = Chunks()
        self._heard_at = self._loop.time()
        self._meter.called(self._heard_at)
        async with self._model.stream(request) as pieces:
            async for piece in pieces:
                try:
                    messages = decoder.feed(piece)
                except ValueError as error:
                    raise malformed(f"that is none: {error}") from None
                if self._take(messages, len(piece)):
                    while self._tail.busy:
                        await self._answered()
                    self._complete = True
                    await self._read_out(pieces)
                    return
                if self._tail.full:
                    await self._answered()
        if not self._chunks.finished:
            raise ModelError("model_cut", "The model's stream ended before its answer did.", retryable=True)
        while self._tail.busy:
            await self._answered()

    async def _answered(self) -> None:
        """Waits for Redis. Nobody reads the model meanwhile, so that it cannot be said to have fallen silent."""
        self._heard_at = math.inf
        await self._tail.answered()
        self._heard_at = self._loop.time()

    def _take(self, messages: Iterable[Message], size: int) -> bool:
        """Appends what a piece of the body held, `size` bytes. Answers whether the model is done. Raises ModelError."""
        drafts: list[Draft] = []
        done = False
        failure: ModelError | None = None
        heard = self._chunks.count
        now = self._loop.time()
        for message in messages:
            if message.data == b"[DONE]":
                done = True
                break
            try:
                drafts += self._chunks.add(message.data)
            except ModelError as error:
                # What came before it in the same piece was said, and watchers shall see it.
                failure = error
                break
            self._heard_at = now
        if self._chunks.count > heard:
            self._meter.token(now)
        if drafts:
            self._tail.add(drafts, size)
            self.looked_at = now
        if failure is not None:
            raise failure
        return done

    async def _read_out(self, pieces: Any) -> None:
        """Reads to the end of the body, which keeps the connection for the next job; not at any price."""
        try:
            async with asyncio.timeout(_LAST_BYTES):
                async for _ in pieces:
                    pass
        except TimeoutError:
            return

    async def _end(self, order: _Order) -> bool:
        """Writes how it ended. Answers whether the job has ended."""
        if order.stop is Stop.FENCED:
            if order.error is not None:
                raise order.error
            return False
        error = None if order.error is None else self._failure(order.error)
        if order.stop is Stop.DRAIN:
            await self._tail.hand_over("worker_stopped", counts=False)
            return False
        if error is not None and error.code in ("model_cut", "model_stalled") and self._settings.on_cut == "retry":
            await self._tail.hand_over(error.code, counts=True)
            return False
        if order.stop is Stop.CANCELLED:
            await self._finish([], "cancelled", {"by": who(order.by)})
        elif error is not None:
            public = _public(error)
            public["message"] = self._model.clean(public["message"])
            await self._finish([], "failed", {"error": public})
        else:
            await self._finish(self._chunks.close(), "done", {"finish_reason": self._chunks.finish_reason})
        return True

    def _failure(self, error: Exception) -> ModelError:
        """What the job's end says of an exception. Raises MemoryError."""
        if isinstance(error, ModelError):
            return error
        if isinstance(error, MemoryError):
            raise error  # this process has no use for the job, another may
        if isinstance(error, StoreUnavailable):
            return ModelError("redis_outage", "Redis was away for longer than the worker waits.", retryable=True)
        # Without an end the job would come back and break as often as it may be tried, its watchers waiting.
        logger.error("job %s: the run broke", self.job_id, exc_info=error)
        return ModelError("internal_error", "The worker failed; it is in its log.", retryable=True)

    async def _finish(self, drafts: list[Draft], end: str, fields: dict[str, Any]) -> None:
        chunks = self._chunks
        metrics = self._meter.metrics(self._loop.time(), chunks.count, chunks.usage, chunks.hidden_tokens)
        fields["content"] = chunks.text()
        for name, value in (
            ("tool_calls", chunks.tool_calls),
            ("function_call", chunks.function_call),
            ("choices", chunks.other_choices()),
            ("extra", chunks.take_extra()),
        ):
            if value:
                fields[name] = value
        fields["usage"] = chunks.usage
        await self._write_end(drafts, end, fields, metrics)

    async def _end_for_another(self) -> None:
        """Ends a job whose worker was lost and that may not run again: cancelled, or out of attempts."""
        transcript = Transcript()
        while page := await self._log.read(self.job_id, transcript.last_seq, _HISTORY_PAGE):
            transcript.add_all(page)
        fields: dict[str, Any] = {"content": transcript.text(), "usage": None}
        if self._claim.verdict is Verdict.CANCELLED:
            end = "cancelled"
            fields["by"] = who(self._claim.note)
        else:
            end = "failed"
            fields["error"] = _public(
                ModelError(
                    self._claim.note,
                    _LOST.get(self._claim.note, "The job was tried as often as it may be."),
                    retryable=True,
                )
            )
        metrics = self._meter.metrics(self._loop.time(), 0, None)
        metrics["chunk_count"] = None
        fields["epoch"] = epoch_of(self._claim.token)  # no event before it says that another claim writes
        await self._write_end([], end, fields, metrics)

    async def _write_end(self, drafts: list[Draft], end: str, fields: dict[str, Any], metrics: dict[str, Any]) -> None:
        fields["metrics"] = metrics
        stored: dict[str, Argument] = {"metrics": orjson.dumps(metrics)}
        for name in ("usage", "error"):
            if fields.get(name) is not None:
                stored[name] = orjson.dumps(fields[name])
        if fields.get("finish_reason"):
            stored["finish_reason"] = fields["finish_reason"]
        await self._tail.finish([*drafts, Draft(end, fields)], stored)
        await self._tail.compact()

    def _request(self) -> dict[str, Any]:
        """The body for the model: the client's own, streamed, with usage asked for unless it says otherwise."""
        request: dict[str, Any] = orjson.loads(self._claim.request)
        for name in FIELDS & request.keys():
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
        if self._claim.left is not None:
            limits.append((self._meter.claimed + self._claim.left, "deadline_exceeded", _LOST["deadline_exceeded"]))
        if self._meter.begun:
            if settings.gap_timeout:
                limits.append((self._heard_at + settings.gap_timeout, "model_stalled", "The model fell silent."))
        elif settings.first_token_timeout:
            limits.append(
                (
                    self._meter.claimed + settings.first_token_timeout,
                    "model_timeout",
                    "The model did not begin in time.",
                )
            )
        if not limits:
            if settings.gap_timeout:
                self._timer = self._loop.call_later(settings.gap_timeout, self._watch_time)
            return
        at, code, message = min(limits)
        if at <= now:
            self.interrupt(Stop.TIMEOUT, error=ModelError(code, message, retryable=True))
        else:
            # A gap may begin sooner than the limit that is nearest now.
            at = min(at, now + settings.gap_timeout) if settings.gap_timeout else at
            self._timer = self._loop.call_at(at, self._watch_time)


_LOST: Final = {
    "worker_lost": "The job's workers were lost, as often as it may be tried.",
    "deadline_exceeded": "The job did not end before its deadline.",
    "worker_stopped": "The job's workers were stopped, as often as it may be tried.",
    "model_cut": "The model broke off, as often as the job may be tried.",
    "model_stalled": "The model fell silent, as often as the job may be tried.",
}


def who(flag: str) -> str:
    """Who set a cancel flag: the `by` of the API's JSON, or whatever a person typed in redis-cli."""
    try:
        value = orjson.loads(flag)
    except orjson.JSONDecodeError:
        return flag
    by = value.get("by") if isinstance(value, dict) else None
    return by if isinstance(by, str) else flag


def _public(error: ModelError) -> dict[str, Any]:
    return {"code": error.code, "message": error.message, "retryable": error.retryable}
