"""Problem details (RFC 9457): the body of every error."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import orjson
from pydantic import BaseModel, Field
from starlette.responses import Response

MEDIA_TYPE: Final = "application/problem+json"

#: The body of an error that the connection itself sends, for a malformed head.
_PLAIN: Final = {"text/plain": {"schema": {"type": "string"}}}
_RETRY_AFTER: Final = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
#: Headers that an error of this status may have.
_HEADERS: Final[dict[int, dict[str, Any]]] = {
    415: {"Accept-Encoding": {"description": "The codings that a body may have.", "schema": {"type": "string"}}},
    429: _RETRY_AFTER,
    503: _RETRY_AFTER,
}
_OPENAI_HEADERS: Final[dict[str, Any]] = {
    "X-Request-Id": {"description": "The request's name; the log has it beside a bug.", "schema": {"type": "string"}},
    "X-Should-Retry": {"description": "For the SDKs: `true` or `false`.", "schema": {"type": "string"}},
    "X-Job-Id": {"description": "The job that failed.", "schema": {"type": "string"}},
}
#: Characters of a detail and of a field: the name of a field or a path may be as long as a request.
_MAX_LENGTH: Final = 500


class OpenAIErrorObject(BaseModel):
    """OpenAI's error."""

    message: str
    type: str
    param: str | None = Field(description="The part of the request that is wrong.")
    code: str | None


class OpenAIErrorBody(BaseModel):
    """The body of every error below a path of OpenAI's API."""

    error: OpenAIErrorObject


class Problem(BaseModel):
    """The body of every error."""

    type: str = Field(examples=["urn:problem:job_not_found"])
    title: str = Field(description="The status in words.")
    status: int
    code: str = Field(description="What went wrong; stable, for programs.")
    detail: str = Field(description="What went wrong; for people.")
    retryable: bool = Field(description="Whether the same request may succeed later.")
    field: str | None = Field(None, description="The part of the request that is wrong, such as messages.0.role.")


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
    return Response(orjson.dumps(body), status, headers, media_type=MEDIA_TYPE)


def shorten(text: str) -> str:
    """Returns the text, without its middle if it is long."""
    half = _MAX_LENGTH // 2
    return text if len(text) <= _MAX_LENGTH else f"{text[:half]} … {text[-half:]}"


def describe_problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Returns the OpenAPI descriptions of these error statuses."""
    return {status: _describe(status) for status in statuses}


def describe_openai_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Returns the OpenAPI descriptions of these statuses, and of those that each call of OpenAI's API may return."""
    schema = {"application/json": {"schema": {"$ref": f"#/components/schemas/{OpenAIErrorBody.__name__}"}}}
    described = describe_common(421, *statuses)
    for status in (500, 503, *statuses):
        # The connection itself refuses a malformed head, or one connection too many, before it looks at the path.
        more = described[status]["content"] if status in (400, 503) else {}
        more = {kind: content for kind, content in more.items() if status == 503 or kind in _PLAIN}
        headers = {**described[status].get("headers", {}), **_OPENAI_HEADERS}
        described[status] = {"description": HTTPStatus(status).phrase, "content": schema | more, "headers": headers}
    return described


def describe_common(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Returns the OpenAPI descriptions of the errors that every call may return, and of these statuses."""
    described = describe_problems(500, 503, *statuses)
    for status in {400, 501} - {*statuses}:
        described[status] = {"description": HTTPStatus(status).phrase, "content": _PLAIN}
    return described


def _describe(status: int) -> dict[str, Any]:
    content: dict[str, Any] = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}}
    if status == HTTPStatus.BAD_REQUEST:
        content |= _PLAIN
    described = {"description": HTTPStatus(status).phrase, "content": content}
    return {**described, "headers": _HEADERS[status]} if status in _HEADERS else described
