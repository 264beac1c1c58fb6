"""A job as every call shows it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, JsonValue

from readalong.core.states import Status
from readalong.core.transcript import Transcript
from readalong.store.job_record import Record, rfc3339


class Links(BaseModel):
    self: str
    events: str
    cancel: str


class JobView(BaseModel):
    """A job: what it is, where it stands, and what the model has said so far."""

    id: str
    status: Status
    model: str
    attempt: int = Field(description="Runs begun so far; 0 while it waits.")
    worker: dict[str, JsonValue] | None = Field(description="Who runs it, or ran it last: id, host, pid.")
    waiting_for: Literal["worker"] | None = Field(
        description="`worker`: no worker is there, or the job's own is lost and no other has begun. Of a single job "
        "that was asked for; null in a list, and in the answers to a submit and a cancel."
    )
    last_seq: int = Field(description="The number of its newest event.")
    created_at: str = Field(description="RFC 3339, UTC.")
    started_at: str | None
    ended_at: str | None
    last_event_at: str = Field(description="When its newest event was appended; while it runs, up to a second earlier.")
    content: str | None = Field(description="Text of the first choice so far; null in a list.")
    tool_calls: list[dict[str, JsonValue]] | None
    function_call: dict[str, JsonValue] | None
    finish_reason: str | None
    usage: dict[str, JsonValue] | None = Field(description="The model's own counts.")
    metrics: dict[str, JsonValue] | None = Field(description="Seconds and rates, once it has ended.")
    error: dict[str, JsonValue] | None = Field(description="code, message, retryable.")
    metadata: dict[str, JsonValue]
    on_worker_lost: str = Field(description="retry or fail.")
    deadline: str | None = Field(description="When it must have ended; null: no limit.")
    cancel_on_disconnect: bool
    disconnect_grace: float | None = Field(
        description="Seconds that it goes on without a watcher; null: as the server's setting says."
    )
    links: Links


class JobList(BaseModel):
    jobs: list[JobView]
    next: str | None = Field(description="The path of the next page; null at the end.")


def path_of(job_id: str, root_path: str) -> str:
    """The address of a job, under the path that a proxy or a mount shows us at."""
    return f"{root_path}/v1/jobs/{job_id}"


def job_response(
    record: Record, said: Transcript | None, waiting_for: str | None = None, root_path: str = ""
) -> dict[str, Any]:
    """The JobView of a record as plain data; without what was said, for a list."""
    path = path_of(record.id, root_path)
    return {
        "id": record.id,
        "status": record.status,
        "model": record.model,
        "attempt": record.attempt,
        "worker": record.worker,
        "waiting_for": waiting_for,
        "last_seq": record.last_seq,
        "created_at": rfc3339(record.created_at),
        "started_at": None if record.started_at is None else rfc3339(record.started_at),
        "ended_at": None if record.ended_at is None else rfc3339(record.ended_at),
        "last_event_at": rfc3339(record.last_event_at),
        "content": None if said is None else said.text(),
        "tool_calls": None if said is None else said.tool_calls,
        "function_call": None if said is None else said.function_call,
        "finish_reason": record.finish_reason,
        "usage": record.usage,
        "metrics": record.metrics,
        "error": record.error,
        "metadata": record.metadata,
        "on_worker_lost": record.on_worker_lost,
        "deadline": None if record.deadline is None else rfc3339(record.deadline),
        "cancel_on_disconnect": record.cancel_on_disconnect,
        "disconnect_grace": None if record.disconnect_grace is None else record.disconnect_grace / 1000,
        "links": {"self": path, "events": f"{path}/events", "cancel": f"{path}/cancel"},
    }
