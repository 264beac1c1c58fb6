"""When what happened to a job: drawn from its record, its cancel flag and the events that began its attempts."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime
from typing import Any, Final, NamedTuple

import orjson

from readalong.core.cancel_flag import cancelled_by
from readalong.core.events import Event
from readalong.core.states import Status
from readalong.store.broken_keys import readable
from readalong.store.epochs import BEGINS, Epochs
from readalong.store.job_record import Record, rfc3339
from readalong.store.log import Log

#: An attempt in the field `began`: its number, when it began and when it said something first, in ms.
_BEGAN: Final = re.compile(r"([0-9]{1,9}):([0-9]{1,15})(?:/([0-9]{1,15}))?", re.ASCII)
#: Attempts that are shown, the newest.
_MOST: Final = 100
#: Points of a progress.
_MOST_POINTS: Final = 120


class Story(NamedTuple):
    """`entries`: what happened, in order: `at`, `what`, `attempt`, `worker`, `reason`. `progress`: seconds since the
    submit and pieces of the newest attempt's answer by then; None if that is not known."""

    entries: list[dict[str, Any]]
    progress: list[list[float]] | None


async def story_of(log: Log, record: Record) -> Story:
    """Returns what happened to a job. What a person has written into its keys is left out. Raises StoreUnavailable,
    BrokenJob, UnknownSchema."""
    firsts = Epochs(record.epochs).firsts[-_MOST:]
    _, (began, first_token_at, progress) = await log.record_with(record.id, "began", "first_token_at", "progress")
    flags = await log.flags([record.id])
    pages = await asyncio.gather(*(log.read(record.id, first - 1, 1) for first in firsts))
    times = {int(found[1]): found for found in _BEGAN.finditer((began or b"").decode(errors="replace"))}
    entries = [_entry(record.created_at, "submitted")]
    with readable(record.id):
        for event in (event for page in pages for event in page if event.type in BEGINS):
            entries += _attempt(record, event, times, first_token_at)
    entries += _cancelled(flags.get(record.id))
    if record.ended_at is not None:
        code = (record.error or {}).get("code") if record.status is Status.FAILED else None
        entries.append(_entry(record.ended_at, "ended", record.attempt or None, reason=code))
    # Stable: what happened in the same millisecond stays in this order.
    return Story(sorted(entries, key=lambda entry: entry["at"]), _points(progress))


def _attempt(
    record: Record, event: Event, times: dict[int, re.Match[str]], first_token_at: bytes | None
) -> list[dict[str, Any]]:
    fields = event.fields()
    attempt, worker = fields.get("attempt"), fields.get("worker")
    if not isinstance(attempt, int):
        return []
    known = times.get(attempt)
    began = known[2] if known else (record.started_at if attempt == 1 else None)
    first = first_token_at if attempt == record.attempt else (known[3] if known else None)
    worker = worker if isinstance(worker, dict) else None
    entries = []
    if (at := _ms(began)) is not None:
        reason = fields.get("reason")
        entries.append(_entry(at, event.type, attempt, worker, reason if isinstance(reason, str) else None))
    if (at := _ms(first)) is not None:
        entries.append(_entry(at, "first_token", attempt))
    return entries


def _cancelled(flag: str | None) -> list[dict[str, Any]]:
    """Returns the entry of a cancel flag; none for a flag that a person set, which has no time."""
    try:
        said = orjson.loads(flag or "")
        at = datetime.fromisoformat(said["at"])
        return [_entry(int(at.timestamp() * 1000), "cancel_requested", reason=cancelled_by(flag or ""))]
    except (LookupError, TypeError, ValueError, OverflowError):
        return []


def _points(progress: bytes | None) -> list[list[float]] | None:
    try:
        points = orjson.loads(progress or b"")
        found = [[float(seconds), int(count)] for seconds, count in points[:_MOST_POINTS]]
    except (TypeError, ValueError, OverflowError):
        return None
    return found or None


def _entry(
    at: int, what: str, attempt: int | None = None, worker: dict[str, Any] | None = None, reason: Any = None
) -> dict[str, Any]:
    return {"at": rfc3339(at), "what": what, "attempt": attempt, "worker": worker, "reason": reason}


def _ms(value: bytes | str | int | None) -> int | None:
    """Returns a time in milliseconds; None for what is none."""
    try:
        found = int(value or b"x")
        rfc3339(found)
    except (ValueError, OverflowError, OSError):
        return None
    return found
