"""Writes an attempt's end, and the line that the worker's log has of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

import orjson

from readalong.core.cancel_flag import cancelled_by
from readalong.core.errors import BrokenJob, ModelError, StoreUnavailable
from readalong.core.events import TEXT, TOOLS, NewEvent
from readalong.core.transcript import Transcript
from readalong.redis.facade import Argument
from readalong.store.broken_keys import readable
from readalong.store.epochs import epoch_of
from readalong.store.log import Claim, ClaimStatus, Log
from readalong.worker.log_writer import LogWriter
from readalong.worker.model.chunks.accumulator import ChunkAccumulator
from readalong.worker.timings import AttemptTimings

logger = logging.getLogger(__name__)

_HISTORY_PAGE: Final = 1000
#: Characters of a cancel flag that the worker's log shows.
_SHOWN: Final = 80
_SAID: Final = TEXT | TOOLS

#: Messages of the jobs that a claim ends, by the code of their loss.
LOST: Final = {
    "worker_lost": "The job's workers were lost, as often as it may be tried.",
    "deadline_exceeded": "The job did not end before its deadline.",
    "worker_stopped": "The job's workers were stopped, as often as it may be tried.",
    "model_cut": "The model broke off, as often as the job may be tried.",
    "model_stalled": "The model fell silent, as often as the job may be tried.",
}


class AttemptEnd:
    """Writes the one end of a job, for its newest attempt. `clock`: the loop's."""

    def __init__(
        self,
        log: Log,
        writer: LogWriter,
        timings: AttemptTimings,
        job_id: str,
        claim: Claim,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._log = log
        self._writer = writer
        self._timings = timings
        self._job_id = job_id
        self._claim = claim
        self._clock = clock

    async def finish(self, chunks: ChunkAccumulator, events: list[NewEvent], end: str, fields: dict[str, Any]) -> None:
        """Ends the job with what this attempt's model said. Raises Fenced."""
        metrics = self._timings.metrics(self._clock(), chunks.count, chunks.usage, chunks.hidden_tokens)
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
        await self._write(events, end, fields, metrics)

    async def finish_lost(self) -> None:
        """Ends a job whose worker was lost and that may not run again: it is cancelled, or out of attempts. Raises
        Fenced."""
        transcript = Transcript()
        chunk_count = 0
        try:
            with readable(self._job_id):
                while page := await self._log.read(self._job_id, transcript.last_seq, _HISTORY_PAGE):
                    transcript.add_all(page)
                    for event in page:
                        # The lost worker's own count is lost with it. The log has at most one event for each chunk.
                        begins = event.type in ("started", "restarted")
                        chunk_count = 0 if begins else chunk_count + (event.type in _SAID)
        except BrokenJob as error:
            logger.error("%s; the job's end leaves its text out", error)
            transcript = Transcript()
        fields: dict[str, Any] = {"content": transcript.text(), "usage": None}
        if transcript.last_seq:
            # Written even if empty: a reader of the end alone would otherwise read the whole log for tool calls.
            fields["tool_calls"] = transcript.tool_calls
        if transcript.function_call is not None:
            fields["function_call"] = transcript.function_call
        code = self._claim.note
        if self._claim.status is ClaimStatus.CANCELLED:
            end = "cancelled"
            fields["by"] = cancelled_by(self._claim.note)
        else:
            end = "failed"
            message = LOST.get(code, "The job was tried as often as it may be.")
            fields["error"] = ModelError(code, message, retryable=True).fields()
        fields["epoch"] = epoch_of(self._claim.token)  # no event before the end tells that another claim writes
        await self._write([], end, fields, self._timings.metrics(self._clock(), chunk_count, None))

    async def _write(self, events: list[NewEvent], end: str, fields: dict[str, Any], metrics: dict[str, Any]) -> None:
        fields["metrics"] = metrics
        stored: dict[str, Argument] = {"metrics": orjson.dumps(metrics)}
        for name in ("usage", "error"):
            if fields.get(name) is not None:
                stored[name] = orjson.dumps(fields[name])
        if fields.get("finish_reason"):
            stored["finish_reason"] = fields["finish_reason"]
        await self._writer.finish([*events, NewEvent(end, fields)], stored)
        self._log_end(end, fields, metrics)
        await self._writer.compact()

    def _log_end(self, end: str, fields: dict[str, Any], metrics: dict[str, Any]) -> None:
        cause = ""
        if end == "failed":
            cause = f" ({fields['error']['code']}: {fields['error']['message']!r})"
        elif end == "cancelled":
            cause = f" (by {fields['by'][:_SHOWN]!r})"
        logger.log(
            logging.WARNING if end == "failed" else logging.INFO,
            "job %s %s%s: attempt %d, %d tokens, %.1f s",
            self._job_id,
            end,
            cause,
            self._claim.attempt,
            metrics.get("completion_tokens", metrics["chunk_count"]),
            metrics["total_seconds"],
        )


def as_model_error(job_id: str, error: Exception) -> ModelError:
    """Returns the error that a job's end states for an exception. Raises MemoryError: another process may run the
    job."""
    if isinstance(error, ModelError):
        return error
    if isinstance(error, MemoryError):
        raise error
    if isinstance(error, StoreUnavailable):
        return ModelError("redis_outage", "Redis was away for longer than the worker waits.", retryable=True)
    if isinstance(error, BrokenJob):
        logger.error("%s", error)
        return ModelError("internal_error", "The job's keys in Redis are broken.", retryable=True)
    # Without an end the job would run and break as often as it may be tried, while its watchers wait.
    logger.error("job %s: the attempt failed unexpectedly", job_id, exc_info=error)
    return ModelError("internal_error", "The worker failed; it is in its log.", retryable=True)
