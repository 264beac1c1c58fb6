"""The body of a new job that repeats an ended one."""

from __future__ import annotations

from typing import Any

import orjson

from readalong.core.errors import NotRetryable
from readalong.store.broken_keys import readable
from readalong.store.job_record import Record


def repeated(record: Record, request: bytes | None) -> tuple[bytes, dict[str, Any]]:
    """Returns a body with the job's request and its client's metadata, as JSON and parsed.

    Raises NotRetryable, BrokenJob.
    """
    if not record.ended:
        raise NotRetryable(f"Job {record.id} has not ended; cancel it first.", code="job_running")
    if record.thread:
        raise NotRetryable(
            f"Job {record.id} is a turn of thread {record.thread!r}; send its messages to the thread.",
            code="job_in_thread",
        )
    if request is None:
        raise NotRetryable(
            f"The request of job {record.id} is not kept; set READALONG_KEEP_REQUEST=true for later jobs.",
            code="request_gone",
        )
    policys = record.policy_keys or ()
    metadata = {name: value for name, value in record.metadata.items() if name not in policys}
    with readable(record.id):
        body = orjson.loads(request)
        # With `store` the request has its metadata, since the model gets them.
        body = {**body, "metadata": metadata} if metadata else {name: body[name] for name in body if name != "metadata"}
        body.setdefault("model", record.model)  # the default may be another by now
    return orjson.dumps(body), body
