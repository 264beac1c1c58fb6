"""The body of a submit. The API checks what it needs itself; the model checks the rest."""

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
from readalong.store.threads import MAX_NAME_LENGTH, ThreadPolicy

Number = StrictFloat | StrictInt

#: Messages, and parts of one message: far more than any model reads in one request.
MAX_MESSAGES: Final = 10_000
#: Items of each other list. OpenAI takes 128 tools and 4 stops, other servers more.
MAX_ITEMS: Final = 1_000
_LISTS: Final = ("tools", "functions", "stop", "modalities", "include")
#: OpenAI's limits of metadata: pairs, characters of a key, and of a value or of its JSON.
MAX_PAIRS: Final = 16
MAX_KEY_LENGTH: Final = 64
MAX_VALUE_LENGTH: Final = 512


class ChatRequest(BaseModel):
    """The body of `POST /v1/jobs` and `POST /chat/stream`: OpenAI's chat parameters. Parameters that are not listed
    here, and the content of messages, pass through to the model unchanged."""

    model_config = ConfigDict(extra="allow")

    # The JSON parser has bounded the depth. Without FailFast, a million wrong items would make a million errors.
    messages: Annotated[
        list[dict[str, Any]],
        Field(min_length=1, max_length=MAX_MESSAGES, description="The conversation so far, in the model's format."),
        FailFast(),
    ]
    model: Annotated[StrictStr, Field(min_length=1, max_length=256)] | None = Field(
        None, description="The model; by default the server's."
    )
    metadata: Annotated[dict[str, Any], Field(max_length=MAX_PAIRS)] | None = Field(
        None,
        description="Your own data, returned with the job. "
        f"Keys of {MAX_KEY_LENGTH} characters, values of {MAX_VALUE_LENGTH}.",
    )
    n: Annotated[StrictInt, Field(ge=1)] | None = Field(None, description="The number of choices.")
    stream_options: dict[str, Any] | None = None
    on_worker_lost: Literal["retry", "fail"] | None = Field(
        None,
        description="If the job's worker is lost: start a new attempt, or end the job. The model does not get this.",
    )
    deadline: Annotated[Number, Field(gt=0, le=31_536_000)] | None = Field(
        None, description="Seconds from now within which the job must end. The model does not get this."
    )
    cancel_on_disconnect: StrictBool | Annotated[Number, Field(ge=0, le=LONGEST_GRACE)] | None = Field(
        None,
        description="Seconds after its last watcher left at which the job is cancelled; 0: at once; true: the server's "
        "grace. The model does not get this.",
    )
    thread: Annotated[StrictStr, Field(min_length=1, max_length=MAX_NAME_LENGTH)] | None = Field(
        None,
        description="The thread whose next turn this is. The model gets the thread's messages before these. "
        "The model does not get this.",
    )
    thread_policy: ThreadPolicy | None = Field(
        None,
        description="If a turn of the thread runs: refuse this one (409), let it wait, or cancel that one and keep "
        "(interrupt) or forget (rollback) what was said. The model does not get this.",
    )
    stream: StrictBool | None = Field(None, description="Ignored: a job is always streamed.")


def check(body: dict[str, Any], allowed: Iterable[str] = ()) -> ChatRequest:
    """Returns the body as a request. Raises InvalidRequest, which names the first wrong field.

    `allowed`: gateway fields that the operator allows.
    """
    refuse_gateway_fields(body, allowed)
    try:
        request = ChatRequest.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"] if not _is_union_member(part))
        raise InvalidRequest(f"{field}: {first['msg']}.", field=field, mistake=_mistake(first["type"])) from None
    for name in _LISTS:
        _check_length(name, body.get(name), MAX_ITEMS)
    for number, message in enumerate(request.messages):
        _check_length(f"messages.{number}.content", message.get("content"), MAX_MESSAGES)
        _check_length(f"messages.{number}.tool_calls", message.get("tool_calls"), MAX_ITEMS)
    check_metadata(request.metadata or {})
    if request.thread_policy is not None and request.thread is None:
        raise _wrong("thread_policy", "There is no thread")
    return request


def check_metadata(metadata: dict[str, Any]) -> None:
    """Raises InvalidRequest."""
    if len(metadata) > MAX_PAIRS:
        raise _wrong("metadata", f"There are {len(metadata):,} pairs; the limit is {MAX_PAIRS}")
    for number, (key, value) in enumerate(metadata.items()):
        if len(key) > MAX_KEY_LENGTH:  # the key itself may have megabytes
            raise _wrong("metadata", f"Key {number + 1} has more than {MAX_KEY_LENGTH} characters")
        if _length(value) > MAX_VALUE_LENGTH:
            raise _wrong(f"metadata.{key}", f"The value has more than {MAX_VALUE_LENGTH} characters")


def _check_length(field: str, value: Any, limit: int) -> None:
    """Raises InvalidRequest for a list that is too long. The model judges other types."""
    if isinstance(value, list) and len(value) > limit:
        raise _wrong(field, f"The list has {len(value):,} items; the limit is {limit:,}")


def _length(value: Any) -> int:
    """Returns the characters of a string, or the bytes of another value's JSON."""
    if isinstance(value, str):
        return len(value)
    try:
        return len(orjson.dumps(value))
    except orjson.JSONEncodeError:  # encoding the whole body raises a better error
        return 0


def _wrong(field: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {why}.", field=field)


def _mistake(kind: str) -> str:
    """Returns what is wrong, by the type of pydantic's error."""
    known = {"missing": "missing", "too_short": "empty"}
    return known.get(kind, "type" if kind.endswith("_type") else "value")


def _is_union_member(part: int | str) -> bool:
    """Returns whether this part of pydantic's path names a member of a union, not a field."""
    return isinstance(part, str) and (part in ("bool", "float", "int") or part.startswith(("list[", "constrained")))
