"""Creates a job in each of its states."""

from __future__ import annotations

from typing import Any

from readalong.core.events import NewEvent
from readalong.core.keys import new_job_id
from readalong.store.log import Claim, ClaimStatus, Log, encode
from readalong.store.submission import Submission

WORKER = b'{"host":"h","pid":1,"id":"w1"}'
OTHER_WORKER = b'{"host":"h","pid":2,"id":"w2"}'
METRICS = (
    b'{"queue_seconds":0.5,"time_to_first_token":null,"time_to_first_token_from_call":null,"total_seconds":1.5,'
    b'"chunk_count":0,"tokens_per_second":null}'
)
CREATED_AT = 1_763_850_000_123


def submission(job_id: str | None = None, **changes: Any) -> Submission:
    new = Submission(job_id or new_job_id(), "m", b'{"messages":[]}', b'{"user":"u"}', "digest", CREATED_AT)
    return new._replace(**changes)


def content(*texts: str) -> list[tuple[str, bytes]]:
    return encode([NewEvent("content", {"content": text}) for text in texts])


def end(kind: str = "done", **fields: Any) -> list[tuple[str, bytes]]:
    return encode([NewEvent(kind, {"content": "", **fields})])


async def queued(log: Log) -> str:
    """Creates a queued job."""
    new = submission()
    created, _ = await log.submit(new)
    assert created
    return new.job_id


async def running(log: Log) -> str:
    """Creates a job in its first attempt; its log holds `queued` and `started`."""
    job_id = await queued(log)
    claim = await log.claim(job_id, WORKER, "first")
    assert claim.status == ClaimStatus.RUN
    return job_id


async def ended(log: Log, kind: str = "done") -> str:
    """Creates a job that ended with that event, number 3."""
    job_id = await running(log)
    await log.finish(job_id, 1, 3, end(kind), {})
    return job_id


async def reclaim(log: Log, job_id: str, token: str = "second") -> Claim:
    """Claims the job for another worker."""
    return await log.claim(job_id, OTHER_WORKER, token)
