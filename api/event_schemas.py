"""The events of a job, as openapi.json describes them: the JSON of one `data:` line, by its `type`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from readalong.api.schemas import FunctionCall, JobError, JobErrorCode, Metrics, ToolCall, Usage, WorkerRef

_METRICS: Final[dict[str, Any]] = {
    "queue_seconds": 0.002,
    "time_to_first_token": 0.3,
    "time_to_first_token_from_call": 0.29,
    "total_seconds": 0.802,
    "chunk_count": 6,
    "tokens_per_second": 10.2,
}
_WORKER: Final[dict[str, Any]] = {"id": "host-7-a1b2c3", "host": "host", "pid": 7}
_CALL: Final[dict[str, Any]] = {"index": 0, "id": "call_1", "name": "weather"}
#: The same in a Durable Stream.
_MESSAGE: Final[dict[str, Any]] = {"id": 4, "index": 0, "call_id": "call_1", "name": "weather"}
_NUMBER: Final = "The event's number."
_CHOICE: Final = "The choice, if not the first."


def _example(kind: str, **fields: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [{"type": kind, **fields}]})


class Extra(RootModel[dict[str, Any]]):
    """Fields of the model's chunks that no event names, by their path, such as `choices.0.content_filter_results`."""


class AnyEvent(BaseModel):
    """Fields may be added to each event: ignore unknown ones."""

    extra: Extra | None = None


class NumberedEvent(AnyEvent):
    """An event of the log, which has a number."""

    id: int | None = Field(None, description="The event's number. Only in a message of `/v1/jobs/{job_id}/stream`.")


class QueuedEvent(NumberedEvent):
    """The job is submitted."""

    model_config = _example(
        "queued", job_id="Jd0tTVQyOzKzFsmaAPFSxw", model="demo", created_at="2026-11-22T22:20:00.123Z"
    )

    type: Literal["queued"]
    job_id: str
    model: str
    created_at: str = Field(description="RFC 3339, UTC.")


class StartedEvent(NumberedEvent):
    """A worker has begun."""

    model_config = _example("started", attempt=1, epoch="9f3c21", worker=_WORKER)

    type: Literal["started"]
    attempt: int
    epoch: str = Field(description="The epoch of the following ids.")
    worker: WorkerRef


class ContentEvent(NumberedEvent):
    """A piece of text."""

    model_config = _example("content", content="An ordered")

    type: Literal["content"]
    content: str
    choice: int | None = Field(None, description=_CHOICE)
    logprobs: Any = Field(None, description="The model's log probabilities, if requested.")


class ReasoningEvent(NumberedEvent):
    """A piece of reasoning."""

    model_config = _example("reasoning", content="The user asks")

    type: Literal["reasoning"]
    content: str
    field: str | None = Field(
        None, description="The model's name for it, when that is not `reasoning_content` or changes."
    )
    choice: int | None = Field(None, description=_CHOICE)
    logprobs: Any = Field(None, description="The model's log probabilities, if requested.")


class RefusalEvent(NumberedEvent):
    """A piece of a refusal."""

    model_config = _example("refusal", content="I cannot")

    type: Literal["refusal"]
    content: str
    choice: int | None = Field(None, description=_CHOICE)
    logprobs: Any = Field(None, description="The model's log probabilities, if requested.")


class _ToolEvent(AnyEvent):
    """What both events of a call say of it."""

    index: int
    name: str | None
    tool_type: Literal["custom"] | str | None = Field(None, description="`custom`: of a custom tool.")
    choice: int | None = Field(None, description=_CHOICE)


class _ToolCallDelta(_ToolEvent):
    type: Literal["tool_call_delta"]
    arguments: str = Field(description="The fragment; of a custom tool, of its input.")


class _ToolCall(_ToolEvent):
    type: Literal["tool_call"]
    arguments: Any = Field(description="Parsed; null if the model's text is not JSON, and of a custom tool.")
    arguments_error: str | None = Field(None, description="What is wrong with the text.")
    arguments_text: str | None = Field(None, description="The text, if it is not JSON.")
    input: str | None = Field(None, description="The text for a custom tool.")


class ToolCallDeltaEvent(_ToolCallDelta):
    """A piece of a call of a tool. The model's own further fields are unchanged."""

    model_config = ConfigDict(extra="allow", **_example("tool_call_delta", **_CALL, arguments='{"city"'))

    id: str | None


class ToolCallEvent(_ToolCall):
    """A call of a tool is complete. The model's own further fields are unchanged."""

    model_config = ConfigDict(extra="allow", **_example("tool_call", **_CALL, arguments={"city": "Oslo"}))

    id: str | None


class ToolCallDeltaMessage(_ToolCallDelta):
    """A piece of a call of a tool, in a message of `/v1/jobs/{job_id}/stream`."""

    model_config = ConfigDict(extra="allow", **_example("tool_call_delta", **_MESSAGE, arguments='{"city"'))

    id: int = Field(description=_NUMBER)
    call_id: str | None


class ToolCallMessage(_ToolCall):
    """A call of a tool is complete, in a message of `/v1/jobs/{job_id}/stream`."""

    model_config = ConfigDict(extra="allow", **_example("tool_call", **_MESSAGE, arguments={"city": "Oslo"}))

    id: int = Field(description=_NUMBER)
    call_id: str | None


class FunctionCallEvent(NumberedEvent):
    """A call of the older API's `functions` is complete. The model's own further fields are unchanged."""

    model_config = ConfigDict(extra="allow", **_example("function_call", name="weather", arguments={"city": "Oslo"}))

    type: Literal["function_call"]
    name: str | None
    arguments: Any = Field(description="Parsed; null if the model's text is not JSON.")
    arguments_error: str | None = Field(None, description="What is wrong with the text.")
    arguments_text: str | None = Field(None, description="The text, if it is not JSON.")
    choice: int | None = Field(None, description=_CHOICE)


class WaitingEvent(NumberedEvent):
    """The job waits: its model is away, or no worker runs it. The next event ends the wait. One that is `for` a worker
    is not in the log: it has no number."""

    model_config = _example("waiting", **{"for": "model"}, reason="model_unreachable", seconds=2.5)

    type: Literal["waiting"]
    for_: Literal["model", "worker"] = Field(alias="for")
    reason: JobErrorCode | str | None = Field(None, description="Why the model is away.")
    seconds: float | None = Field(None, description="Until the next try of the model.")
    since: str | None = Field(None, description="When it became known that no worker is there; RFC 3339, UTC.")


class RestartReason(StrEnum):
    """Why an attempt is another one. Reasons may be added."""

    WORKER_LOST = "worker_lost"
    WORKER_STOPPED = "worker_stopped"
    MODEL_CUT = "model_cut"
    MODEL_STALLED = "model_stalled"
    MODEL_UNAUTHORIZED = "model_unauthorized"
    LOG_LOST = "log_lost"


class RestartedEvent(NumberedEvent):
    """Another worker starts over: discard the text so far. With the reason `log_lost`, Redis has lost what was seen,
    and the current attempt follows."""

    model_config = _example("restarted", attempt=2, reason="worker_lost", epoch="b5d004", worker=_WORKER)

    type: Literal["restarted"]
    attempt: int = Field(description="0: none is left.")
    reason: RestartReason | str
    epoch: str | None = Field(None, description="The epoch of the following ids.")
    worker: WorkerRef | None = None


class OtherChoice(BaseModel):
    """A choice besides the first."""

    choice: int
    content: str
    finish_reason: str | None


class EndEvent(NumberedEvent):
    """The end."""

    content: str = Field(description="The whole text of the first choice.")
    tool_calls: list[ToolCall] | None = None
    function_call: FunctionCall | None = None
    choices: list[OtherChoice] | None = Field(None, description="The others, if there are any.")
    usage: Usage | None = None
    metrics: Metrics
    epoch: str | None = Field(None, description="Where no earlier event names it.")


class DoneEvent(EndEvent):
    """The end: the answer is whole."""

    model_config = _example(
        "done", finish_reason="stop", content="An ordered list of events.", usage=None, metrics=_METRICS
    )

    type: Literal["done"]
    finish_reason: str | None


class CancelledEvent(EndEvent):
    """The end: the job was cancelled. The fields tell what it had said."""

    model_config = _example("cancelled", by="client", content="An ordered", usage=None, metrics=_METRICS)

    type: Literal["cancelled"]
    by: Literal["client", "disconnect", "thread"] | str = Field(description="Or what a person typed.")


class FailedEvent(EndEvent):
    """The end: the job failed. The fields tell what it had said."""

    model_config = _example(
        "failed",
        error={"code": "model_unreachable", "message": "The model cannot be reached.", "retryable": True},
        content="",
        usage=None,
        metrics=_METRICS,
    )

    type: Literal["failed"]
    error: JobError


class ReadersEvent(BaseModel):
    """How many streams of the job ask for this event, at all replicas. Only with `readers=true`; not in the log."""

    model_config = _example("readers", count=2)

    type: Literal["readers"]
    count: int


_OtherEvent = (
    QueuedEvent
    | StartedEvent
    | ContentEvent
    | ReasoningEvent
    | RefusalEvent
    | FunctionCallEvent
    | WaitingEvent
    | RestartedEvent
    | DoneEvent
    | CancelledEvent
    | FailedEvent
)


class JobEvent(
    RootModel[Annotated[_OtherEvent | ToolCallDeltaEvent | ToolCallEvent | ReadersEvent, Field(discriminator="type")]]
):
    """An event of a job, by its `type`. Types may be added: ignore unknown ones."""


class StreamMessage(
    RootModel[Annotated[_OtherEvent | ToolCallDeltaMessage | ToolCallMessage, Field(discriminator="type")]]
):
    """An event of a job as a message of a Durable Stream, by its `type`. Types may be added: ignore unknown ones."""
