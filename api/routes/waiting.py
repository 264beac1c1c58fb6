"""Waits for a job's end, for a client that prefers one response."""

from __future__ import annotations

from starlette.requests import Request

from readalong.api.dependencies import Dependencies
from readalong.api.fanout.end_watcher import wait_until
from readalong.api.routes.job_reading import missing
from readalong.core.errors import JobNotFound, Stopping
from readalong.core.position import LARGEST
from readalong.store.job_record import Record


async def wait_for(deps: Dependencies, request: Request, record: Record, seconds: int | None) -> Record:
    """Returns the job when it has ended, or as it stands after so many seconds; None: at once.

    Meanwhile the client counts as a watcher of the job. Raises ClientDisconnect when it leaves, JobNotFound if the job
    is erased.
    """
    if record.ended or not seconds:
        return record
    try:
        feed = await deps.hub.feed(record.id, LARGEST)
        await wait_until(deps, request, feed, lambda: feed.ended, seconds)
    except Stopping:
        return record  # another process tells how it goes on
    except JobNotFound:
        raise await missing(deps, record.id) from None
    found = await deps.log.record(record.id)
    if found is None:
        raise await missing(deps, record.id)
    return found
