"""Problem details (RFC 9457): the body of every error, but in the faces of other APIs."""

from __future__ import annotations

from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final

import orjson
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from readalong.api.response_headers import (
    ACCEPT_ENCODING,
    AUTHENTICATE,
    FAILED_JOB,
    REQUEST_ID,
    RETRY_AFTER,
    SHOULD_RETRY,
    Headers,
)

MEDIA_TYPE: Final = "application/problem+json"
#: Of every error: its text may quote the request, and no browser takes it for a page or a script of this site.
NO_PAGE: Final = {"x-content-type-options": "nosniff"}

#: The body of an error that the connection itself sends, for a malformed head.
_PLAIN: Final = {"text/plain": {"schema": {"type": "string"}}}
#: Headers that an error of this status may have.
_HEADERS: Final[dict[int, Headers]] = {
    401: AUTHENTICATE,
    415: ACCEPT_ENCODING,
    429: RETRY_AFTER,
    503: RETRY_AFTER,
}
_OPENAI_HEADERS: Final[Headers] = {**REQUEST_ID, **SHOULD_RETRY, **FAILED_JOB}
#: Characters of a detail and of a field: the name of a field or a path may be as long as a request.
_MAX_LENGTH: Final = 500


class ProblemCode(StrEnum):
    """What went wrong. Codes may be added."""

    INVALID_JSON = "invalid_json"
    INVALID_ENCODING = "invalid_encoding"
    INVALID_POSITION = "invalid_position"
    INVALID_CURSOR = "invalid_cursor"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    FORBIDDEN_ORIGIN = "forbidden_origin"
    FORBIDDEN_HOST = "forbidden_host"
    JOB_NOT_FOUND = "job_not_found"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    THREAD_NOT_FOUND = "thread_not_found"
    THREAD_BUSY = "thread_busy"
    JOB_RUNNING = "job_running"
    REQUEST_GONE = "request_gone"
    JOB_IN_THREAD = "job_in_thread"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    JOB_EXPIRED = "job_expired"
    OFFSET_GONE = "offset_gone"
    BODY_TOO_LARGE = "body_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    UNSUPPORTED_ENCODING = "unsupported_encoding"
    INVALID_REQUEST = "invalid_request"
    INVALID_PARAMETER = "invalid_parameter"
    THREAD_FULL = "thread_full"
    DUPLICATE_ENTRY = "duplicate_entry"
    QUEUE_FULL = "queue_full"
    REDIS_UNAVAILABLE = "redis_unavailable"
    STOPPING = "stopping"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    BROKEN_JOB = "broken_job"
    INTERNAL_ERROR = "internal_error"
    UNKNOWN_SCHEMA = "unknown_schema"


class Problem(BaseModel):
    """The body of an error: problem details (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:problem:invalid_request",
                    "title": "Unprocessable Content",
                    "status": 422,
                    "code": "invalid_request",
                    "detail": "messages: Field required.",
                    "retryable": False,
                    "field": "messages",
                }
            ]
        }
    )

    type: str = Field(description="`urn:problem:` and the code.")
    title: str = Field(description="The status in words.")
    status: int
    code: ProblemCode | str = Field(description="What went wrong; stable, for programs.")
    detail: str = Field(description="What went wrong; for people.")
    retryable: bool = Field(description="Whether the same request may succeed later.")
    field: str | None = Field(None, description="The part of the request that is wrong, such as messages.0.role.")


class OpenAIErrorObject(BaseModel):
    """OpenAI's error."""

    message: str
    type: str = Field(description="OpenAI's kind of error, such as `invalid_request_error`.")
    param: str | None = Field(description="The part of the request that is wrong.")
    code: str | None = Field(description="OpenAI's code, or this API's where OpenAI has none.")


class OpenAIError(BaseModel):
    """The body of every error below a path of OpenAI's API."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "error": {
                        "message": "Chat completion with id 'chatcmpl-x' not found.",
                        "type": "invalid_request_error",
                        "param": None,
                        "code": None,
                    }
                }
            ]
        }
    )

    error: OpenAIErrorObject


class AgUiError(BaseModel):
    """The body of an error below `/agui`: the fields of AG-UI's RUN_ERROR."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"message": "This run does not exist.", "code": "job_not_found", "retryable": False}]
        }
    )

    message: str
    code: ProblemCode | str
    retryable: bool
    field: str | None = Field(None, description="The part of the request that is wrong.")


def problem_response(
    status: int,
    code: str,
    detail: str,
    *,
    retryable: bool = False,
    field: str | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """Returns a response whose body is a Problem."""
    body: dict[str, Any] = {
        "type": f"urn:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": shorten(detail),
        "retryable": retryable,
    }
    if field is not None:
        body["field"] = shorten(field)
    return Response(orjson.dumps(body), status, {**NO_PAGE, **(headers or {})}, media_type=MEDIA_TYPE)


def shorten(text: str) -> str:
    """Returns the text, without its middle if it is long."""
    half = _MAX_LENGTH // 2
    return text if len(text) <= _MAX_LENGTH else f"{text[:half]} … {text[-half:]}"


def describe_problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Returns the OpenAPI descriptions of these error statuses."""
    return {status: _describe(status) for status in statuses}


def describe_common(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Returns the OpenAPI descriptions of the errors that every call may return, and of these statuses."""
    described = describe_problems(500, 503, *statuses)
    for status in {400, 501} - {*statuses}:
        described[status] = {"description": _phrase(status), "content": _PLAIN}
    return described


def describe_openai_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Returns the OpenAPI descriptions of these statuses, and of those that each call of OpenAI's API may return."""
    return _describe_face(json_content(OpenAIError), _OPENAI_HEADERS, 401, 403, *statuses)


def describe_ai_sdk_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Returns the same for the calls of the AI SDK, which shows a text."""
    return _describe_face(_PLAIN, {}, 401, 403, *statuses)


def describe_ag_ui_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Returns the same for the calls of AG-UI."""
    return _describe_face(json_content(AgUiError), {}, 401, 403, *statuses)


def json_content(model: type[BaseModel]) -> dict[str, Any]:
    """Returns the content of a body that is this component."""
    return {"application/json": {"schema": reference(model)}}


def reference(model: type[BaseModel]) -> dict[str, str]:
    """Returns the reference to a component."""
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _describe_face(content: dict[str, Any], headers: Headers, *statuses: int) -> dict[int | str, dict[str, Any]]:
    described = describe_common(421, *statuses)
    for status in (500, 503, *statuses):
        # The connection itself refuses a malformed head, or one connection too many, before it looks at the path.
        more = described[status]["content"] if status in (400, 503) else {}
        more = {kind: each for kind, each in more.items() if status == 503 or kind in _PLAIN}
        named = {**described[status].get("headers", {}), **headers}
        described[status] = {**described[status], "content": content | more, **({"headers": named} if named else {})}
    return described


def _describe(status: int) -> dict[str, Any]:
    content: dict[str, Any] = {MEDIA_TYPE: {"schema": reference(Problem)}}
    if status == HTTPStatus.BAD_REQUEST:
        content |= _PLAIN
    described = {"description": _phrase(status), "content": content}
    return {**described, "headers": _HEADERS[status]} if status in _HEADERS else described


def _phrase(status: int) -> str:
    phrase = HTTPStatus(status).phrase
    return f"{phrase}. Only with a policy." if status == HTTPStatus.UNAUTHORIZED else phrase
