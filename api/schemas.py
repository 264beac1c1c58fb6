"""The bodies of the API's successful responses."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from readalong.core.states import Status
from readalong.core.transcript import Transcript
from readalong.store.health import State
from readalong.store.job_record import Record, rfc3339

_ID: Final = "Jd0tTVQyOzKzFsmaAPFSxw"
EXAMPLE: Final[dict[str, Any]] = {
    "id": _ID,
    "status": "done",
    "model": "demo",
    "attempt": 1,
    "worker": {"id": "host-7-a1b2c3", "host": "host", "pid": 7},
    "waiting_for": None,
    "last_seq": 5,
    "created_at": "2026-11-22T22:20:00.123Z",
    "started_at": "2026-11-22T22:20:00.125Z",
    "ended_at": "2026-11-22T22:20:00.925Z",
    "last_event_at": "2026-11-22T22:20:00.925Z",
    "content": "An ordered list of events.",
    "tool_calls": [],
    "function_call": None,
    "finish_reason": "stop",
    "usage": {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11},
    "metrics": {
        "queue_seconds": 0.002,
        "time_to_first_token": 0.3,
        "time_to_first_token_from_call": 0.29,
        "total_seconds": 0.802,
        "chunk_count": 6,
        "tokens_per_second": 10.2,
        "prompt_tokens": 5,
        "completion_tokens": 6,
        "total_tokens": 11,
    },
    "error": None,
    "metadata": {"user": "ada"},
    "thread": None,
    "on_worker_lost": "retry",
    "deadline": None,
    "cancel_on_disconnect": False,
    "disconnect_grace": None,
    "retry_of": None,
    "links": {"self": f"/v1/jobs/{_ID}", "events": f"/v1/jobs/{_ID}/events", "cancel": f"/v1/jobs/{_ID}/cancel"},
}
#: What a list leaves out of a job.
IN_A_LIST: Final = {"content": None, "tool_calls": None, "function_call": None}


class WorkerRef(BaseModel):
    """A worker: a process that runs jobs."""

    id: str
    host: str
    pid: int


class JobLinks(BaseModel):
    """The paths of a job's calls."""

    self: str
    events: str
    cancel: str


class JobErrorCode(StrEnum):
    """Why a job failed. Codes may be added."""

    MODEL_UNREACHABLE = "model_unreachable"
    MODEL_UNAUTHORIZED = "model_unauthorized"
    MODEL_NOT_FOUND = "model_not_found"
    MODEL_REDIRECTED = "model_redirected"
    MODEL_ANSWER_TOO_LARGE = "model_answer_too_large"
    MODEL_BAD_REQUEST = "model_bad_request"
    MODEL_RATE_LIMITED = "model_rate_limited"
    MODEL_ERROR = "model_error"
    MODEL_TIMEOUT = "model_timeout"
    MODEL_STALLED = "model_stalled"
    MODEL_CUT = "model_cut"
    MODEL_MALFORMED = "model_malformed"
    JOB_TIMEOUT = "job_timeout"
    INTERNAL_ERROR = "internal_error"
    WORKER_LOST = "worker_lost"
    WORKER_STOPPED = "worker_stopped"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    REDIS_OUTAGE = "redis_outage"


class JobError(BaseModel):
    """Why a job failed."""

    code: JobErrorCode | str = Field(description="For programs; stable.")
    message: str = Field(description="For people.")
    retryable: bool = Field(description="Whether the same request may succeed later.")
    param: str | None = Field(None, description="The parameter that the model's server finds wrong.")
    model_code: str | None = Field(None, description="The code of the model's server.")


class Metadata(RootModel[dict[str, Any]]):
    """Data of the client's own, by name."""


class Usage(RootModel[dict[str, Any]]):
    """The model's own counts, by name, such as `completion_tokens`."""


class Metrics(BaseModel):
    """Times of a job, in seconds, and rates."""

    queue_seconds: float = Field(description="To the first attempt.")
    time_to_first_token: float | None = Field(description="From submit.")
    time_to_first_token_from_call: float | None = Field(description="From the call to the model.")
    total_seconds: float
    chunk_count: int = Field(description="The model's chunks, not merged events.")
    tokens_per_second: float | None = Field(description="Between the first and the last token.")
    prompt_tokens: int | None = Field(None, description="The model's own count, if it sends one; so are the next two.")
    completion_tokens: int | None = None
    total_tokens: int | None = None


class FunctionCall(BaseModel):
    """A call of the older API's `functions`. The model's own further fields are unchanged."""

    model_config = ConfigDict(extra="allow")

    name: str | None
    arguments: Any = Field(description="Parsed; null if the model's text is not JSON.")
    arguments_error: str | None = Field(None, description="What is wrong with the text.")
    arguments_text: str | None = Field(None, description="The text, if it is not JSON.")
    choice: int | None = Field(None, description="The choice, if not the first.")


class ToolCall(BaseModel):
    """A call of a tool. The model's own further fields, such as `extra_content`, are unchanged."""

    model_config = ConfigDict(extra="allow")

    index: int
    id: str | None
    name: str | None
    arguments: Any = Field(description="Parsed; null if the model's text is not JSON, and of a custom tool.")
    arguments_error: str | None = Field(None, description="What is wrong with the text.")
    arguments_text: str | None = Field(None, description="The text, if it is not JSON.")
    tool_type: Literal["custom"] | str | None = Field(None, description="`custom`: of a custom tool.")
    input: str | None = Field(None, description="The text for a custom tool.")
    choice: int | None = Field(None, description="The choice, if not the first.")


class KeptRequest(RootModel[dict[str, Any]]):
    """The body of a submit, as it is kept."""


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


class Job(BaseModel):
    """A job: its options, its state, and the model's answer so far."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    id: str
    status: Status
    model: str
    attempt: int = Field(description="Attempts begun so far; 0 while the job waits.")
    worker: WorkerRef | None = Field(description="The worker of the newest attempt.")
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
    tool_calls: list[ToolCall] | None
    function_call: FunctionCall | None
    finish_reason: str | None
    usage: Usage | None
    metrics: Metrics | None = Field(description="Once the job has ended.")
    error: JobError | None
    metadata: Metadata
    thread: str | None = Field(description="The thread whose turn the job is.")
    on_worker_lost: Literal["retry", "fail"] = Field(
        description="What is done if its worker is lost: another attempt, or the end."
    )
    deadline: str | None = Field(description="When the job must have ended; null: no limit.")
    cancel_on_disconnect: bool
    disconnect_grace: float | None = Field(
        description="Seconds that the job continues without a watcher; null: the server's setting."
    )
    request: KeptRequest | None = Field(
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
    links: JobLinks


class JobList(BaseModel):
    """A page of the list of jobs."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"jobs": [{**EXAMPLE, **IN_A_LIST}], "next": None}]})

    jobs: list[Job]
    next: str | None = Field(description="The path of the next page; null at the end.")


class Alive(BaseModel):
    """The process is alive."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok"}]})

    status: Literal["ok"]


class Ready(BaseModel):
    """Whether the process can accept jobs, and the state of its surroundings."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "ready": True,
                    "reason": None,
                    "redis": "ok",
                    "hub": "ok",
                    "queued": 0,
                    "oldest_wait_seconds": None,
                    "workers": 1,
                    "workers_refused": 0,
                    "maxmemory_policy": None,
                }
            ]
        }
    )

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
    """Returns the Job of a record as plain data. Without a transcript the model's answer is null."""
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
