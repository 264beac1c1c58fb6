"""What a client may send: what this server itself needs is checked; the model judges all the rest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import (
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
)

from readalong.api.submission.gateway_fields import refuse_gateway_fields
from readalong.core.errors import InvalidRequest
from readalong.core.options import LONGEST_GRACE

Number = StrictFloat | StrictInt

#: Messages, and parts of one message: far more than any model reads in one request.
MOST_MESSAGES: Final = 10_000
#: Items of other lists that a request has one of. OpenAI takes 128 tools and 4 stops, other servers more.
MOST_ITEMS: Final = 1_000
_LISTS: Final = ("tools", "functions", "stop", "modalities", "include")
#: As OpenAI's: pairs, characters of a key, and of a value; of one that is no string, as JSON.
MOST_PAIRS: Final = 16
LONGEST_KEY: Final = 64
LONGEST_VALUE: Final = 512


class ChatRequest(BaseModel):
    """The body of `POST /v1/jobs` and `POST /chat/stream`: OpenAI's chat parameters. Those that are not listed here,
    and what is in a message, pass through to the model, which knows better what it takes."""

    model_config = ConfigDict(extra="allow")

    # What a parser of JSON has read needs no look into its depth; of a million wrong items one error is enough.
    messages: Annotated[
        list[dict[str, Any]],
        Field(min_length=1, max_length=MOST_MESSAGES, description="The conversation so far, as the model wants it."),
        FailFast(),
    ]
    model: Annotated[StrictStr, Field(min_length=1, max_length=256)] | None = Field(
        None, description="The model; the server's default if left out."
    )
    metadata: Annotated[dict[str, Any], Field(max_length=MOST_PAIRS)] | None = Field(
        None,
        description=f"Yours; comes back with the job. Keys of {LONGEST_KEY} characters, values of {LONGEST_VALUE}.",
    )
    n: Annotated[StrictInt, Field(ge=1)] | None = Field(None, description="Choices that the model makes.")
    stream_options: dict[str, Any] | None = None
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
        request = ChatRequest.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"] if not _is_branch(part))
        raise InvalidRequest(f"{field}: {first['msg']}.", field=field) from None
    for name in _LISTS:
        _check_length(name, body.get(name), MOST_ITEMS)
    for number, message in enumerate(request.messages):
        _check_length(f"messages.{number}.content", message.get("content"), MOST_MESSAGES)
        _check_length(f"messages.{number}.tool_calls", message.get("tool_calls"), MOST_ITEMS)
    for number, (key, value) in enumerate((request.metadata or {}).items()):
        if len(key) > LONGEST_KEY:  # not named: it may be megabytes
            raise _wrong("metadata", f"Key {number + 1} has more than {LONGEST_KEY} characters")
        if _length(value) > LONGEST_VALUE:
            raise _wrong(f"metadata.{key}", f"The value has more than {LONGEST_VALUE} characters")
    return request


def _check_length(field: str, value: Any, most: int) -> None:
    """Raises InvalidRequest. What is no list is for the model to judge."""
    if isinstance(value, list) and len(value) > most:
        raise _wrong(field, f"The list has {len(value)} items; {most} may be sent")


def _length(value: Any) -> int:
    """Characters of a string, bytes of the JSON of anything else."""
    if isinstance(value, str):
        return len(value)
    try:
        return len(orjson.dumps(value))
    except orjson.JSONEncodeError:  # refused with a better word when the whole body is written
        return 0


def _wrong(field: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {why}.", field=field)


def _is_branch(part: int | str) -> bool:
    """Whether pydantic means a member of a union, not a field."""
    return isinstance(part, str) and (part in ("bool", "float", "int") or part.startswith(("list[", "constrained")))
