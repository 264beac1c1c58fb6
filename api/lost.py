"""Whether Redis has dropped a job."""

from __future__ import annotations

from readalong.log import Log


async def is_lost(log: Log, job_id: str) -> bool:
    """Whether Redis has dropped the job, or events that its record counts: an eviction, or a person."""
    record = await log.record(job_id)
    # In this order: what is appended between the two is in the log.
    newest = await log.newest(job_id, 1)
    return record is None or not newest or newest[-1].seq < record.last_seq
