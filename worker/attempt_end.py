"""How an attempt's end is written, and the line that the worker's log has of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

import orjson

from readalong.core.cancel_flag import cancelled_by
from readalong.core.errors import BrokenJob, ModelError
from readalong.core.events import TEXT, TOOLS, NewEvent
from readalong.core.transcript import Transcript
from readalong.redis.scripts import Argument
from readalong.store.epochs import epoch_of
from readalong.store.log import Claim, ClaimStatus, Log
from readalong.store.log_reader import readable
from readalong.worker.log_writer import LogWriter
from readalong.worker.model.chunk_accumulator import ChunkAccumulator
from readalong.worker.timings import AttemptTimings

logger = logging.getLogger(__name__)

_HISTORY_PAGE: Final = 1000
#: Characters that the worker's log shows of what came from outside.
_SHOWN: Final = 80

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
        self, log: Log, tail: LogWriter, meter: AttemptTimings, job_id: str, claim: Claim, *, clock: Callable[[], float]
    ) -> None:
        self._log = log
        self._tail = tail
        self._meter = meter
        self._job_id = job_id
        self._claim = claim
        self._clock = clock

    async def finish(self, chunks: ChunkAccumulator, drafts: list[NewEvent], end: str, fields: dict[str, Any]) -> None:
        """Ends the job with what its own attempt said. Raises Fenced."""
        metrics = self._meter.metrics(self._clock(), chunks.count, chunks.usage, chunks.hidden_tokens)
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
        await self._write(drafts, end, fields, metrics)

    async def for_another(self) -> None:
        """Ends a job whose worker was lost and that may not run again: cancelled, or out of attempts. Raises Fenced."""
        transcript = Transcript()
        pieces = 0
        try:
            with readable(self._job_id):
                while page := await self._log.read(self._job_id, transcript.last_seq, _HISTORY_PAGE):
                    transcript.add_all(page)
                    for event in page:
                        # What the lost worker counted went with it: the log has at most one event for each piece.
                        pieces = 0 if event.type in ("started", "restarted") else pieces + (event.type in _SAID)
        except BrokenJob as error:
            logger.error("%s; its end says nothing of that", error)
            transcript = Transcript()
        fields: dict[str, Any] = {"content": transcript.text(), "usage": None}
        if transcript.last_seq:
            # Also that there was none: with it the end says all that a job shows, and need alone be read.
            fields["tool_calls"] = transcript.tool_calls
        if transcript.function_call is not None:
            fields["function_call"] = transcript.function_call
        if self._claim.status is ClaimStatus.CANCELLED:
            end = "cancelled"
            fields["by"] = cancelled_by(self._claim.note)
        else:
            end = "failed"
            message = LOST.get(self._claim.note, "The job was tried as often as it may be.")
            fields["error"] = ModelError(self._claim.note, message, retryable=True).fields()
        fields["epoch"] = epoch_of(self._claim.token)  # no event before it says that another claim writes
        await self._write([], end, fields, self._meter.metrics(self._clock(), pieces, None))

    async def _write(self, drafts: list[NewEvent], end: str, fields: dict[str, Any], metrics: dict[str, Any]) -> None:
        fields["metrics"] = metrics
        stored: dict[str, Argument] = {"metrics": orjson.dumps(metrics)}
        for name in ("usage", "error"):
            if fields.get(name) is not None:
                stored[name] = orjson.dumps(fields[name])
        if fields.get("finish_reason"):
            stored["finish_reason"] = fields["finish_reason"]
        await self._tail.finish([*drafts, NewEvent(end, fields)], stored)
        self._tell(end, fields, metrics)
        await self._tail.compact()

    def _tell(self, end: str, fields: dict[str, Any], metrics: dict[str, Any]) -> None:
        """One line for each end."""
        why = ""
        if end == "failed":
            why = f" ({fields['error']['code']}: {fields['error']['message']!r})"
        elif end == "cancelled":
            why = f" (by {fields['by'][:_SHOWN]!r})"
        logger.log(
            logging.WARNING if end == "failed" else logging.INFO,
            "job %s %s%s: attempt %d, %d tokens, %.1f s",
            self._job_id,
            end,
            why,
            self._claim.attempt,
            metrics.get("completion_tokens", metrics["chunk_count"]),
            metrics["total_seconds"],
        )


_SAID: Final = TEXT | TOOLS
