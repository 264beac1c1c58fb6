"""Errors as problem details (RFC 9457): a stable `code`, a sentence, and for a bad body the field."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Mount

from readalong.api.auth.policy import Forbidden, Unauthorized
from readalong.core.errors import (
    BrokenJob,
    IdempotencyConflict,
    InvalidRequest,
    JobExpired,
    JobNotFound,
    QueueFull,
    ReadalongError,
    Stopping,
    StoreRefused,
    StoreUnavailable,
    UnknownSchema,
)

logger = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"

_STATUS: Final[dict[type[ReadalongError], int]] = {
    InvalidRequest: 422,
    Unauthorized: 401,
    Forbidden: 403,
    JobExpired: 410,
    JobNotFound: 404,
    IdempotencyConflict: 409,
    QueueFull: 429,
    StoreUnavailable: 503,
    UnknownSchema: 503,
    BrokenJob: 500,
    Stopping: 503,
}
#: Codes of InvalidRequest with a status of their own.
_STATUS_OF_CODE: Final = {
    "body_too_large": 413,
    "invalid_json": 400,
    "invalid_encoding": 400,
    "invalid_position": 400,
    "invalid_cursor": 400,
    "forbidden_origin": 403,
    "unsupported_media_type": 415,
    "unsupported_encoding": 415,
}
_METHODS: Final = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
#: What the router says is the status in words, which is the title already.
_UNROUTED: Final = {
    404: "There is nothing at {0.url.path}; /docs describes what there is.",
    405: "{0.url.path} takes no {0.method}; /docs describes what it takes.",
}
#: What the connection answers by itself, to a head that is wrong.
_PLAIN: Final = {"text/plain": {"schema": {"type": "string"}}}
_RETRY_AFTER: Final = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
#: Headers that an error of this status may have.
_HEADERS: Final[dict[int, dict[str, Any]]] = {
    415: {"Accept-Encoding": {"description": "The codings that a body may have.", "schema": {"type": "string"}}},
    429: _RETRY_AFTER,
    503: _RETRY_AFTER,
}
#: Letters of a detail and of a field: the name of a field or a path may be as long as a request.
_LONGEST: Final = 500


class Problem(BaseModel):
    """The body of every error."""

    type: str = Field(examples=["urn:problem:job_not_found"])
    title: str = Field(description="The status in words.")
    status: int
    code: str = Field(description="What went wrong; stable, for programs.")
    detail: str = Field(description="What went wrong; for people.")
    retryable: bool = Field(description="Whether the same request may succeed later.")
    field: str | None = Field(None, description="The part of the request that is wrong, such as messages.0.role.")


def respond(
    status: int,
    code: str,
    detail: str,
    *,
    retryable: bool = False,
    field: str | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    body: dict[str, Any] = {
        "type": f"urn:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": _shortened(detail),
        "retryable": retryable,
    }
    if field is not None:
        body["field"] = _shortened(field)
    return Response(orjson.dumps(body), status, headers, media_type=MEDIA_TYPE)


def _shortened(text: str) -> str:
    """It without its middle, if it is long."""
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]} … {text[-half:]}"


def install(app: FastAPI) -> None:
    """Makes every error of the app a problem: ours, the router's, and those that should not be."""
    app.add_exception_handler(ReadalongError, _ours)
    app.add_exception_handler(StoreRefused, _unexpected)
    app.add_exception_handler(HTTPException, _of_router)
    app.add_exception_handler(RequestValidationError, _of_parameters)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _unexpected)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These error statuses, for OpenAPI."""
    return {status: _described(status) for status in statuses}


def anywhere(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What every call may be answered, and these statuses besides, for OpenAPI."""
    answers = responses(500, 503, *statuses)
    for status in (400, 501):
        answers[status] = {"description": HTTPStatus(status).phrase, "content": _PLAIN}
    return answers


def _described(status: int) -> dict[str, Any]:
    content: dict[str, Any] = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}}
    if status == HTTPStatus.BAD_REQUEST:
        content |= _PLAIN
    described = {"description": HTTPStatus(status).phrase, "content": content}
    return {**described, "headers": _HEADERS[status]} if status in _HEADERS else described


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, ReadalongError)
    if isinstance(error, StoreUnavailable) and (services := getattr(request.app.state, "services", None)) is not None:
        services.outage.seen(error)
    elif isinstance(error, UnknownSchema):
        logger.warning("%s %s: %s", request.method, request.url.path, error.message)
    status = next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)
    status = _STATUS_OF_CODE.get(error.code, status)
    headers = {}
    if error.retryable:
        headers["Retry-After"] = str(max(1, round(error.retry_after or 1)))
    if error.code == "unsupported_encoding":
        headers["Accept-Encoding"] = "gzip"
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = error.challenge
    field = error.field if isinstance(error, InvalidRequest) else None
    return respond(status, error.code, error.message, retryable=error.retryable, field=field, headers=headers)


async def _of_router(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = HTTPStatus(error.status_code).name.lower()
    detail = _UNROUTED.get(error.status_code, str(error.detail)).format(request)
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_methods(request))
    return respond(error.status_code, code, detail, headers=headers)


def _methods(request: Request) -> list[str]:
    """What the path takes, by all its routes; the router's own answer names what the first one takes, if any."""
    routes = [route for route in request.app.router.routes if not isinstance(route, Mount)]
    found = [
        method
        for method in _METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]
    return found or ["GET", "HEAD"]  # files


async def _of_parameters(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"] if part not in ("query", "path", "header"))
    return respond(422, "invalid_parameter", f"{field}: {first['msg']}.", field=field)


async def _gone(_: Request, error: Exception) -> Response:
    """No client reads it; without it one that leaves early would be an error in our log."""
    return respond(400, "client_gone", "The client left before it had its answer.")


async def _unexpected(request: Request, error: Exception) -> Response:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return respond(500, "internal_error", "Something went wrong here; it is in our log.", retryable=True)
