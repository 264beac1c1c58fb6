"""Whether Redis has dropped a job."""

from __future__ import annotations

from readalong.store.log import Log


async def is_lost(log: Log, job_id: str) -> bool:
    """Returns whether Redis has dropped the job, or events that its record counts: an eviction, or a person."""
    # Twice: of the record of a primary that is gone, and the log of the one that took its place, neither is dropped.
    return await _seems_lost(log, job_id) and await _seems_lost(log, job_id)


async def _seems_lost(log: Log, job_id: str) -> bool:
    record = await log.record(job_id)
    # In this order: what is appended between the two is in the log.
    newest = await log.newest(job_id, 1)
    return record is None or not newest or newest[-1].seq < record.last_seq
