"""The bodies of the API's successful responses."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, JsonValue

from readalong.core.states import Status
from readalong.core.transcript import Transcript
from readalong.store.health import State
from readalong.store.job_record import Record, rfc3339


class Links(BaseModel):
    """The paths of a job's calls."""

    self: str
    events: str
    cancel: str


class WorkerRef(BaseModel):
    """A worker, as events name it."""

    id: str
    host: str
    pid: int


class TimelineEntry(BaseModel):
    """Something that happened to a job."""

    at: str = Field(description="RFC 3339, UTC.")
    what: Literal["submitted", "started", "restarted", "first_token", "cancel_requested", "ended"]
    attempt: int | None
    worker: WorkerRef | None
    reason: str | None = Field(
        description="Why an attempt began again, or the job failed: a code. Of `cancel_requested`, who asked for it."
    )


class JobCost(BaseModel):
    """What a job has cost, by `READALONG_PRICES`."""

    amount: float
    currency: str
    prompt: float = Field(description="The prompt's part.")
    completion: float = Field(description="The completion's part.")


class JobView(BaseModel):
    """A job: its options, its state, and the model's answer so far."""

    id: str
    status: Status
    model: str
    attempt: int = Field(description="Attempts begun so far; 0 while the job waits.")
    worker: dict[str, JsonValue] | None = Field(description="The worker of the newest attempt: id, host, pid.")
    waiting_for: Literal["worker", "thread"] | None = Field(
        description="`thread`: another turn of its thread runs. `worker`: no worker is alive, or the job's worker is "
        "lost and no other has begun. Null in a list, and in the responses to a submit and a cancel."
    )
    last_seq: int = Field(description="The number of the newest event.")
    created_at: str = Field(description="RFC 3339, UTC.")
    started_at: str | None
    ended_at: str | None
    last_event_at: str = Field(
        description="When the newest event was appended; while the job runs, up to a second earlier."
    )
    content: str | None = Field(description="Text of the first choice so far; null in a list.")
    tool_calls: list[dict[str, JsonValue]] | None
    function_call: dict[str, JsonValue] | None
    finish_reason: str | None
    usage: dict[str, JsonValue] | None = Field(description="The model's own counts.")
    metrics: dict[str, JsonValue] | None = Field(description="Seconds and rates, once the job has ended.")
    error: dict[str, JsonValue] | None = Field(description="code, message, retryable.")
    metadata: dict[str, JsonValue]
    thread: str | None = Field(description="The thread whose turn the job is.")
    on_worker_lost: str = Field(description="retry or fail.")
    deadline: str | None = Field(description="When the job must have ended; null: no limit.")
    cancel_on_disconnect: bool
    disconnect_grace: float | None = Field(
        description="Seconds that the job continues without a watcher; null: the server's setting."
    )
    request: dict[str, JsonValue] | None = Field(
        None, description="The request, with `?include=request` alone; null where it is not kept."
    )
    retry_of: str | None = Field(description="The job whose request it repeats.")
    timeline: list[TimelineEntry] | None = Field(
        None, description="With `?include=timeline` alone: what happened to the job, in order."
    )
    progress: list[list[float]] | None = Field(
        None,
        description="With `?include=timeline` alone: pairs of seconds since the submit and pieces of the newest "
        "attempt's answer by then, 120 at most; null if that is not known.",
    )
    cost: JobCost | None = Field(
        None, description="With `?include=timeline` alone; null without `READALONG_PRICES` for its model, or usage."
    )
    links: Links


class JobList(BaseModel):
    """A page of the list of jobs."""

    jobs: list[JobView]
    next: str | None = Field(description="The path of the next page; null at the end.")


class EntryView(BaseModel):
    """One entry of a thread."""

    id: str
    message: dict[str, JsonValue] | None = Field(
        description="The chat-completions message; null for an entry that the model does not get."
    )
    item: dict[str, JsonValue] = Field(description="The same as an item of OpenAI's Responses API.")


class ThreadLinks(BaseModel):
    """The paths of a thread's calls."""

    self: str
    running: str
    jobs: str


class ThreadView(BaseModel):
    """A thread and a page of its entries."""

    id: str
    created_at: str = Field(description="RFC 3339, UTC.")
    metadata: dict[str, JsonValue]
    running: str | None = Field(description="The job whose turn runs.")
    entries: list[EntryView]
    next: str | None = Field(description="The path of the next page; null at the end.")
    links: ThreadLinks


class Ready(BaseModel):
    """Whether the process can accept jobs, and the state of its surroundings."""

    ready: bool
    reason: str | None = Field(description="Why the process is not ready, for people.")
    redis: State = Field(description="`ok`: Redis answers and takes writes.")
    hub: Literal["ok", "deaf"] = Field(description="`deaf`: this process receives no messages from Redis.")
    queued: int | None = Field(description="Jobs that wait; null while Redis is away.")
    oldest_wait_seconds: float | None = Field(description="How long the oldest of them has waited; null if none waits.")
    workers: int | None = Field(description="Workers that are alive.")
    workers_refused: int | None = Field(description="Live workers whose model refuses them.")
    maxmemory_policy: str | None = Field(
        description="Redis' policy if a full Redis evicts jobs by that policy, else null."
    )


def path_of(job_id: str, root_path: str) -> str:
    """Returns the path of a job, below the prefix of a proxy or a mount."""
    return f"{root_path}/v1/jobs/{job_id}"


def job_response(
    record: Record, transcript: Transcript | None, waiting_for: str | None = None, root_path: str = ""
) -> dict[str, Any]:
    """Returns the JobView of a record as plain data. Without a transcript the model's answer is null."""
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
        "content": None if transcript is None else transcript.text(),
        "tool_calls": None if transcript is None else transcript.tool_calls,
        "function_call": None if transcript is None else transcript.function_call,
        "finish_reason": record.finish_reason,
        "usage": record.usage,
        "metrics": record.metrics,
        "error": record.error,
        "metadata": record.metadata,
        "thread": record.thread or None,
        "on_worker_lost": record.on_worker_lost,
        "deadline": None if record.deadline is None else rfc3339(record.deadline),
        "cancel_on_disconnect": record.cancel_on_disconnect,
        "disconnect_grace": None if record.disconnect_grace is None else record.disconnect_grace / 1000,
        "retry_of": record.retry_of or None,
        "links": {"self": path, "events": f"{path}/events", "cancel": f"{path}/cancel"},
    }
