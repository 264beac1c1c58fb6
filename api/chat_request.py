"""What a client may send: OpenAI's chat parameters, checked as far as a model would refuse them, and anything else."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
)

from readalong.errors import InvalidRequest

Number = StrictFloat | StrictInt
Penalty = Annotated[Number, Field(ge=-2, le=2)]
Count = Annotated[StrictInt, Field(ge=1)]


class Message(BaseModel):
    """One message; fields besides these pass through."""

    model_config = ConfigDict(extra="allow")

    role: Literal["developer", "system", "user", "assistant", "tool", "function"]
    content: StrictStr | list[dict[str, JsonValue]] | None = None


class Tool(BaseModel):
    model_config = ConfigDict(extra="allow")

    type: StrictStr


class Function(BaseModel):
    model_config = ConfigDict(extra="allow")

    name: Annotated[StrictStr, Field(min_length=1)]


class ChatRequest(BaseModel):
    """The body of `POST /v1/jobs` and `POST /chat/stream`; parameters besides these pass through to the model."""

    model_config = ConfigDict(extra="allow")

    messages: Annotated[list[Message], Field(min_length=1, description="The conversation so far.")]
    model: Annotated[StrictStr, Field(min_length=1, max_length=256)] | None = Field(
        None, description="The model; the server's default if left out."
    )
    metadata: dict[str, JsonValue] | None = Field(None, description="Yours; comes back with the job.")
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    n: Annotated[StrictInt, Field(ge=1, le=128)] | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: StrictInt | None = None
    stop: StrictStr | list[StrictStr] | None = None
    logprobs: StrictBool | None = None
    top_logprobs: Annotated[StrictInt, Field(ge=0, le=20)] | None = None
    tools: list[Tool] | None = None
    functions: list[Function] | None = None
    stream_options: dict[str, JsonValue] | None = None
    on_worker_lost: Literal["retry", "fail"] | None = Field(
        None, description="If its worker is lost: start a new attempt, or end the job. The model does not get this."
    )
    deadline: Annotated[Number, Field(gt=0, le=31_536_000)] | None = Field(
        None, description="Seconds from now in which the job must have ended. The model does not get this."
    )
    cancel_on_disconnect: StrictBool | None = Field(
        None, description="Cancel the job when its last watcher is gone for a while. The model does not get this."
    )
    stream: StrictBool | None = Field(None, description="Means nothing here: a job is always streamed.")


def check(body: dict[str, Any]) -> ChatRequest:
    """The body as a request. Raises InvalidRequest, which names the first field that is wrong."""
    try:
        return ChatRequest.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"] if not _is_branch(part))
        raise InvalidRequest(f"{field}: {first['msg']}.", field=field) from None


def _is_branch(part: int | str) -> bool:
    """Whether pydantic means a member of a union, not a field."""
    return isinstance(part, str) and (part in ("str", "float", "int") or part.startswith(("list[", "constrained")))
