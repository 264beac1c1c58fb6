"""Reads a job for a response."""

from __future__ import annotations

from functools import partial

import orjson
from starlette.requests import Request

from readalong.api.auth.policy import job_not_found
from readalong.api.dependencies import Dependencies
from readalong.api.fanout.lost_jobs import is_lost
from readalong.api.http.client_presence import check_presence
from readalong.api.schemas import job_response
from readalong.core.errors import JobExpired, JobNotFound
from readalong.store.broken_keys import readable
from readalong.store.job_record import Record


async def missing(deps: Dependencies, job_id: str) -> JobNotFound:
    """Returns the error of a job without a record: JobExpired if the index still lists the job."""
    if await deps.index.contains(job_id):
        return JobExpired(f"Job {job_id} has expired.")
    return job_not_found(job_id)


def root_path_of(request: Request) -> str:
    """Returns the prefix of the API's paths, of a proxy or a mount."""
    root: str = request.scope.get("root_path", "")
    return root


async def job_json(request: Request, deps: Dependencies, record: Record, waiting_for: str | None = None) -> bytes:
    """Returns the Job as JSON, with the model's answer so far.

    Raises JobNotFound if Redis has lost the job's log, BrokenJob, StoreUnavailable, and ClientDisconnect when the
    client leaves meanwhile.
    """
    with readable(record.id):
        transcript = await deps.log.transcript(record, check=partial(check_presence, request))
        if record.attempt and transcript.last_seq < record.last_seq and await is_lost(deps.log, record.id):
            # Without its log the job would seem to have no answer.
            if await deps.log.record(record.id) is None:
                raise job_not_found(record.id)  # lost since it was read: a list that names it does not make it expired
            raise await missing(deps, record.id)
        return orjson.dumps(job_response(record, transcript, waiting_for, root_path_of(request)))
