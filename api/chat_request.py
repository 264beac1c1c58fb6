"""What a client may send: what this server itself needs is checked; the model judges all the rest."""

from __future__ import annotations

from collections.abc import Iterable
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

from api.gateway_fields import refuse_gateway_fields
from readalong.errors import InvalidRequest
from readalong.terms import LONGEST_GRACE

Number = StrictFloat | StrictInt


class ChatRequest(BaseModel):
    """The body of `POST /v1/jobs` and `POST /chat/stream`: OpenAI's chat parameters. Those that are not listed here,
    and what is in a message, pass through to the model, which knows better what it takes."""

    model_config = ConfigDict(extra="allow")

    messages: Annotated[
        list[dict[str, JsonValue]], Field(min_length=1, description="The conversation so far, as the model wants it.")
    ]
    model: Annotated[StrictStr, Field(min_length=1, max_length=256)] | None = Field(
        None, description="The model; the server's default if left out."
    )
    metadata: dict[str, JsonValue] | None = Field(None, description="Yours; comes back with the job.")
    n: Annotated[StrictInt, Field(ge=1)] | None = Field(None, description="Choices that the model makes.")
    stream_options: dict[str, JsonValue] | None = None
    on_worker_lost: Literal["retry", "fail"] | None = Field(
        None, description="If its worker is lost: start a new attempt, or end the job. The model does not get this."
    )
    deadline: Annotated[Number, Field(gt=0, le=31_536_000)] | None = Field(
        None, description="Seconds from now in which the job must have ended. The model does not get this."
    )
    cancel_on_disconnect: StrictBool | Annotated[Number, Field(ge=0, le=LONGEST_GRACE)] | None = Field(
        None,
        description="Cancel the job when its last watcher has been gone for so many seconds; 0: at once; true: for the "
        "server's own grace. The model does not get this.",
    )
    stream: StrictBool | None = Field(None, description="Means nothing here: a job is always streamed.")


def check(body: dict[str, Any], allowed: Iterable[str] = ()) -> ChatRequest:
    """The body as a request. Raises InvalidRequest, which names the first field that is wrong.

    `allowed`: fields that a gateway may obey all the same.
    """
    refuse_gateway_fields(body, allowed)
    try:
        return ChatRequest.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"] if not _is_branch(part))
        raise InvalidRequest(f"{field}: {first['msg']}.", field=field) from None


def _is_branch(part: int | str) -> bool:
    """Whether pydantic means a member of a union, not a field."""
    return isinstance(part, str) and (part in ("bool", "float", "int") or part.startswith(("list[", "constrained")))
