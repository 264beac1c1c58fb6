"""Exceptions to errors in the form of the path's clients: a stable `code`, a sentence, and the field that is wrong."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Mount

from readalong.api.auth.policy import Forbidden, Unauthorized
from readalong.api.faces import Face, face_of
from readalong.api.problems import NO_PAGE, problem_response, shorten
from readalong.api.wire.openai_errors import openai_error
from readalong.core.errors import (
    BrokenJob,
    IdempotencyConflict,
    InvalidRequest,
    JobExpired,
    JobFailed,
    JobNotFound,
    ModelNotListed,
    NotRetryable,
    QueueFull,
    ReadalongError,
    Stopping,
    StoreRefused,
    StoreUnavailable,
    ThreadBusy,
    ThreadFull,
    ThreadNotFound,
    UnknownSchema,
)

logger = logging.getLogger(__name__)

_STATUS: Final[dict[type[ReadalongError], int]] = {
    InvalidRequest: 422,
    Unauthorized: 401,
    Forbidden: 403,
    JobExpired: 410,
    JobNotFound: 404,
    ThreadNotFound: 404,
    ThreadBusy: 409,
    ThreadFull: 422,
    ModelNotListed: 404,
    IdempotencyConflict: 409,
    NotRetryable: 409,
    QueueFull: 429,
    StoreUnavailable: 503,
    UnknownSchema: 503,
    BrokenJob: 500,
    JobFailed: 500,
    Stopping: 503,
}
#: Codes of InvalidRequest with a status of their own.
_STATUS_OF_CODE: Final = {
    "body_too_large": 413,
    "invalid_json": 400,
    "invalid_encoding": 400,
    "invalid_position": 400,
    "invalid_cursor": 400,
    "offset_gone": 410,
    "forbidden_origin": 403,
    "unsupported_media_type": 415,
    "unsupported_encoding": 415,
}
_METHODS: Final = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")


def install(app: FastAPI) -> None:
    """Gives every error of the application its response: expected errors, the router's errors and bugs."""
    app.add_exception_handler(ReadalongError, _on_readalong_error)
    app.add_exception_handler(StoreRefused, _on_bug)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(Exception, _on_bug)


async def _on_readalong_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ReadalongError)
    if isinstance(error, StoreUnavailable) and (deps := getattr(request.app.state, "dependencies", None)) is not None:
        deps.outage.seen(error)
    elif isinstance(error, UnknownSchema):
        logger.warning("%s %s: %s", request.method, request.url.path, error.message)
    status = next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)
    status = _STATUS_OF_CODE.get(error.code, status)
    headers = {}
    if error.retryable:
        headers["Retry-After"] = str(max(1, round(error.retry_after or 1)))
    if error.code == "unsupported_encoding":
        headers["Accept-Encoding"] = "gzip"
    if isinstance(error, JobFailed):
        headers["x-job-id"] = error.job_id
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = error.challenge
    field, mistake = (error.field, error.mistake) if isinstance(error, InvalidRequest) else (None, "value")
    param, model_code = (error.param, error.model_code) if isinstance(error, JobFailed) else (None, None)
    return error_response(
        request,
        status,
        error.code,
        error.message,
        retryable=error.retryable,
        field=field,
        mistake=mistake,
        headers=headers,
        param=param,
        model_code=model_code,
    )


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status, detail, headers = error.status_code, str(error.detail), dict(error.headers or {})
    # The router's detail is the status in words, which is the title already.
    if status == HTTPStatus.NOT_FOUND:
        detail = f"Unknown path {request.url.path}; /docs lists the calls."
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        methods = _allowed_methods(request)
        headers["Allow"] = ", ".join(methods)
        detail = f"Method {request.method} not allowed; use {' or '.join(methods)}."
    return error_response(request, status, HTTPStatus(status).name.lower(), detail, headers=headers)


def error_response(
    request: Request,
    status: int,
    code: str,
    message: str,
    *,
    retryable: bool = False,
    field: str | None = None,
    mistake: str = "value",
    headers: Mapping[str, str] | None = None,
    param: str | None = None,
    model_code: str | None = None,
) -> Response:
    """Returns an error in the form of the path's clients. `mistake`: as of InvalidRequest. `param`, `model_code`: what
    the model of a failed job has said, for clients of OpenAI's API."""
    face, more = face_of(request.scope), {**NO_PAGE, **(headers or {})}
    if face is Face.NATIVE:
        return problem_response(status, code, message, retryable=retryable, field=field, headers=more)
    if face is Face.AI_SDK:
        return Response(shorten(message), status, more, media_type="text/plain")
    field = field if field is None else shorten(field)
    if face is Face.AG_UI:
        # HttpAgent makes it the `payload` of its error.
        told = {
            "message": shorten(message),
            "code": code,
            "retryable": retryable,
            **({"field": field} if field else {}),
        }
        return Response(orjson.dumps(told), status, more, media_type="application/json")
    error = openai_error(
        code, shorten(message), status=status, field=field, mistake=mistake, param=param, model_code=model_code
    )
    # Without it the SDKs would repeat a 409, a 429 and each 5xx.
    more["x-should-retry"] = "true" if retryable else "false"
    more["x-request-id"] = request_id(request)
    return Response(orjson.dumps(error.body()), error.status, more, media_type="application/json")


def request_id(request: Request) -> str:
    """Returns the name of a request, which the SDKs' exceptions tell and the log has beside a bug."""
    found: str | None = getattr(request.state, "request_id", None)
    if found is None:
        found = request.state.request_id = f"req_{secrets.token_hex(16)}"
    return found


def _allowed_methods(request: Request) -> list[str]:
    """Returns the methods of the path, by all its routes; the router itself looks at the first route alone."""
    routes = [route for route in request.app.router.routes if not isinstance(route, Mount)]
    found = [
        method
        for method in _METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]
    return found or ["GET", "HEAD"]  # files


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"] if part not in ("query", "path", "header"))
    return error_response(request, 422, "invalid_parameter", f"{field}: {first['msg']}.", field=field)


async def _on_disconnect(_: Request, error: Exception) -> Response:
    """Returns a response that no client reads; without it, a client that leaves early would be a logged bug."""
    return problem_response(400, "client_gone", "The client closed the connection.")


async def _on_bug(request: Request, error: Exception) -> Response:
    named = "" if face_of(request.scope) is not Face.OPENAI else f" ({request_id(request)})"
    logger.error("%s %s failed%s", request.method, request.url.path, named, exc_info=error)
    return error_response(
        request, 500, "internal_error", "Internal error; the server's log has the details.", retryable=True
    )
