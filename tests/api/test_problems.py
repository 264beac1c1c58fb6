"""Errors as problem details."""

from __future__ import annotations

import asyncio

import httpx2
import orjson
import pytest
from fastapi import FastAPI

from readalong.api import error_handlers, problems
from readalong.api.problems import MEDIA_TYPE, Problem
from readalong.core.errors import (
    BadSettings,
    IdempotencyConflict,
    InvalidRequest,
    JobExpired,
    JobNotFound,
    QueueFull,
    ReadalongError,
    Stopping,
    StoreUnavailable,
    UnknownSchema,
)

CASES: list[tuple[ReadalongError, int, str, str | None]] = [
    (InvalidRequest("n: too many.", field="n"), 422, "invalid_request", None),
    (InvalidRequest("too large", code="body_too_large"), 413, "body_too_large", None),
    (InvalidRequest("no JSON", code="invalid_json"), 400, "invalid_json", None),
    (InvalidRequest("no UTF-8", code="invalid_encoding"), 400, "invalid_encoding", None),
    (InvalidRequest("no number", code="invalid_position", field="after"), 400, "invalid_position", None),
    (InvalidRequest("no cursor", code="invalid_cursor", field="before"), 400, "invalid_cursor", None),
    (JobNotFound("none"), 404, "job_not_found", None),
    (JobExpired("expired"), 410, "job_expired", None),
    (IdempotencyConflict("other body"), 409, "idempotency_conflict", None),
    (QueueFull("full", retry_after=5), 429, "queue_full", "5"),
    (StoreUnavailable("away", retry_after=1), 503, "redis_unavailable", "1"),
    (StoreUnavailable("away"), 503, "redis_unavailable", "1"),
    (StoreUnavailable("away", retry_after=0.2), 503, "redis_unavailable", "1"),
    (StoreUnavailable("away", retry_after=2.4), 503, "redis_unavailable", "2"),
    (UnknownSchema("newer", retry_after=5), 503, "unknown_schema", "5"),
    (Stopping("bye", retry_after=1), 503, "stopping", "1"),
    (BadSettings("not for clients"), 500, "bad_settings", None),
]


def ask(app: FastAPI, path: str, method: str = "GET") -> httpx2.Response:
    """Returns the response, also where the app raises after it."""

    async def call() -> httpx2.Response:
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path)

    return asyncio.run(call())


@pytest.fixture
def app() -> FastAPI:
    app = FastAPI()
    error_handlers.install(app)
    return app


def check(answer: httpx2.Response, status: int, code: str) -> Problem:
    assert answer.status_code == status
    assert answer.headers["content-type"] == MEDIA_TYPE
    problem = Problem.model_validate_json(answer.content, strict=True)
    assert (problem.status, problem.code, problem.type) == (status, code, f"urn:problem:{code}")
    return problem


@pytest.mark.parametrize(
    ("error", "status", "code", "retry_after"),
    CASES,
    ids=[f"{case[2]}-{case[3]}-{number}" for number, case in enumerate(CASES)],
)
def test_each_error_has_its_status_and_code(
    app: FastAPI, error: ReadalongError, status: int, code: str, retry_after: str | None
) -> None:
    """The body also says whether a retry may help, and when."""

    @app.get("/")
    async def fail() -> None:
        raise error

    answer = ask(app, "/")
    problem = check(answer, status, code)
    assert problem.detail == error.message
    assert problem.retryable == error.retryable
    assert answer.headers.get("retry-after") == retry_after
    assert problem.field == (error.field if isinstance(error, InvalidRequest) else None)


def test_a_problem_is_these_bytes() -> None:
    answer = problems.problem_response(404, "job_not_found", "Job x does not exist.")
    assert answer.body == (
        b'{"type":"urn:problem:job_not_found","title":"Not Found","status":404,"code":"job_not_found",'
        b'"detail":"Job x does not exist.","retryable":false}'
    )


def test_a_path_that_is_none_is_a_problem(app: FastAPI) -> None:
    nowhere = check(ask(app, "/nowhere"), 404, "not_found")
    assert nowhere.retryable is False
    assert nowhere.detail == "Unknown path /nowhere; /docs lists the calls."


def test_a_wrong_method_is_a_problem_that_names_the_right_one(app: FastAPI) -> None:
    @app.get("/")
    async def nothing() -> None:
        return None

    answer = ask(app, "/", "PUT")
    assert check(answer, 405, "method_not_allowed").detail == "Method PUT not allowed; use GET."
    assert answer.headers["allow"] == "GET"


def test_an_error_cuts_a_name_of_megabytes(app: FastAPI) -> None:
    """A client chooses the length of a field's name and of a path. The error still tells the fault."""
    name = "a" + "b" * 5_000_000

    @app.get("/")
    async def fail() -> None:
        raise InvalidRequest(f"{name}: it is none of ours.", field=name)

    answer = ask(app, "/")
    problem = check(answer, 422, "invalid_request")
    assert problem.detail.startswith("ab")
    assert problem.detail.endswith("b: it is none of ours.")
    assert problem.field is not None
    assert problem.field.startswith("ab")
    assert len(answer.content) < 2000
    assert len(ask(app, "/" + "x" * 5000).content) < 1000


def test_a_wrong_parameter_is_a_problem_with_its_name(app: FastAPI) -> None:
    @app.get("/")
    async def limited(limit: int) -> int:
        return limit

    problem = check(ask(app, "/?limit=x"), 422, "invalid_parameter")
    assert problem.field == "limit"
    assert problem.detail.startswith("limit: Input should be a valid integer")
    assert problem.detail.endswith(".")


def test_an_unexpected_exception_tells_the_client_nothing_and_the_log_all(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    """No stack trace is sent."""

    @app.get("/")
    async def fail() -> None:
        raise RuntimeError("secret")

    answer = ask(app, "/")
    problem = check(answer, 500, "internal_error")
    assert problem.retryable
    assert b"secret" not in answer.content
    assert b"Traceback" not in answer.content
    assert any(record.exc_info and "GET / failed" in record.getMessage() for record in caplog.records)


def test_openapi_s_description_of_an_error_points_to_the_schema() -> None:
    described = problems.describe_problems(404, 503)
    assert list(described) == [404, 503]
    assert orjson.loads(orjson.dumps(described[404]["content"])) == {
        MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}
    }
