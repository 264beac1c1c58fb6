"""Errors in the form that the clients of a path know: OpenAI's, seen through its SDK, and the AI SDK's."""

from __future__ import annotations

import asyncio

import httpx2
import openai
import pytest
from fastapi import FastAPI
from starlette.requests import Request

from readalong.api import error_handlers
from readalong.api.auth.policy import Forbidden, Unauthorized
from readalong.api.submission.retries import is_retry
from readalong.core.errors import (
    BrokenJob,
    IdempotencyConflict,
    InvalidRequest,
    JobExpired,
    JobFailed,
    JobNotFound,
    QueueFull,
    Stopping,
    StoreUnavailable,
)

BAD = "invalid_request_error"
FIELD = "messages.0.content.12.type"
Case = tuple[Exception, type[openai.APIStatusError], int, str, str | None, str | None]
CASES: list[Case] = [
    (
        InvalidRequest("m", field=FIELD),
        openai.BadRequestError,
        400,
        BAD,
        "invalid_value",
        "messages[0].content[12].type",
    ),
    (InvalidRequest("m", field="n", mistake="type"), openai.BadRequestError, 400, BAD, "invalid_type", "n"),
    (
        InvalidRequest("m", field="messages", mistake="missing"),
        openai.BadRequestError,
        400,
        BAD,
        "missing_required_parameter",
        "messages",
    ),
    (InvalidRequest("m", code="invalid_json"), openai.BadRequestError, 400, BAD, None, None),
    (InvalidRequest("m", code="body_too_large"), openai.APIStatusError, 413, BAD, "body_too_large", None),
    (Unauthorized(), openai.AuthenticationError, 401, BAD, "invalid_api_key", None),
    (Forbidden(), openai.PermissionDeniedError, 403, BAD, "forbidden", None),
    (JobNotFound("m"), openai.NotFoundError, 404, BAD, None, None),
    (JobExpired("m"), openai.NotFoundError, 404, BAD, None, None),
    (IdempotencyConflict("m"), openai.ConflictError, 409, BAD, "idempotency_conflict", None),
    (JobFailed("m", code="model_not_found"), openai.NotFoundError, 404, BAD, "model_not_found", "model"),
    (
        JobFailed("m", code="deadline_exceeded"),
        openai.InternalServerError,
        504,
        "server_error",
        "deadline_exceeded",
        None,
    ),
    (BrokenJob("m"), openai.InternalServerError, 500, "server_error", "broken_job", None),
]
RETRYABLE: list[tuple[Exception, type[openai.APIStatusError], int, str, str]] = [
    (QueueFull("m", retry_after=5), openai.RateLimitError, 429, "requests", "rate_limit_exceeded"),
    (StoreUnavailable("m", retry_after=1), openai.InternalServerError, 503, "server_error", "redis_unavailable"),
    (Stopping("m", retry_after=1), openai.InternalServerError, 503, "server_error", "stopping"),
]


class Calls:
    """An application whose `/v1/models` raises, behind a prefix, and how often it was called."""

    def __init__(self, error: Exception) -> None:
        self.count = 0
        self.app = FastAPI(openapi_url=None)
        self.app.root_path = "/behind"
        error_handlers.install(self.app)

        @self.app.get("/v1/models")
        @self.app.get("/v1/modelsome")
        @self.app.get("/api/chat/x/stream")
        async def fail() -> None:
            self.count += 1
            raise error

    def transport(self) -> httpx2.ASGITransport:
        return httpx2.ASGITransport(app=self.app, raise_app_exceptions=False)

    async def list_models(self, retries: int) -> None:
        async with httpx2.AsyncClient(transport=self.transport()) as http:
            client = openai.AsyncOpenAI(
                base_url="http://test/behind/v1", api_key="k", http_client=http, max_retries=retries
            )
            await client.models.list()

    def get(self, path: str) -> httpx2.Response:
        async def call() -> httpx2.Response:
            async with httpx2.AsyncClient(transport=self.transport(), base_url="http://test") as http:
                return await http.get(path)

        return asyncio.run(call())


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{type(case[0]).__name__}-{case[4]}")
def test_the_sdk_raises_openais_error_and_does_not_try_again(case: Case) -> None:
    error, kind, *wanted = case
    calls = Calls(error)
    with pytest.raises(kind) as raised:
        asyncio.run(calls.list_models(retries=1))
    seen = raised.value
    assert [seen.status_code, seen.type, seen.code, seen.param] == wanted
    assert isinstance(seen.body, dict)
    assert seen.body["message"] == str(error)
    assert seen.request_id
    assert seen.request_id.startswith("req_")
    assert calls.count == 1


@pytest.mark.parametrize(("error", "kind", "status", "type_", "code"), RETRYABLE)
def test_what_may_succeed_later_says_when(
    error: Exception, kind: type[openai.APIStatusError], status: int, type_: str, code: str
) -> None:
    with pytest.raises(kind) as raised:
        asyncio.run(Calls(error).list_models(retries=0))
    seen = raised.value
    assert (seen.status_code, seen.type, seen.code) == (status, type_, code)
    assert seen.response.headers["x-should-retry"] == "true"
    assert int(seen.response.headers["retry-after"]) > 0


def test_a_bug_is_found_in_the_log_by_the_request_id(caplog: pytest.LogCaptureFixture) -> None:
    answer = Calls(RuntimeError("secret")).get("/behind/v1/models")
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "server_error")
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] in caplog.text


def test_a_field_and_a_message_of_megabytes_are_shortened() -> None:
    answer = Calls(InvalidRequest("m" * 5_000_000, field="f" * 5_000_000)).get("/behind/v1/models")
    assert len(answer.content) < 2000


def test_a_path_of_no_face_keeps_problem_details_and_one_of_the_ai_sdk_gets_a_sentence() -> None:
    calls = Calls(JobNotFound("There is none."))
    assert calls.get("/behind/v1/modelsome").headers["content-type"] == "application/problem+json"
    plain = calls.get("/behind/api/chat/x/stream")
    assert (plain.status_code, plain.text) == (404, "There is none.")
    assert plain.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("path", ["/v1/models", "/v1/modelsome", "/api/chat/x/stream", "/agui/runs/x", "/nowhere"])
def test_no_error_is_taken_for_a_page(path: str) -> None:
    """Its text may quote the request."""
    answer = Calls(JobNotFound("<script>")).get(f"/behind{path}")
    assert (answer.status_code, answer.headers["x-content-type-options"]) == (404, "nosniff")


def test_a_method_of_openais_that_is_not_here_is_refused_in_its_form() -> None:
    async def call() -> None:
        async with httpx2.AsyncClient(transport=Calls(RuntimeError()).transport()) as http:
            client = openai.AsyncOpenAI(base_url="http://test/behind/v1", api_key="k", http_client=http)
            await client.post("/models", cast_to=object)

    with pytest.raises(openai.APIStatusError) as raised:
        asyncio.run(call())
    assert (raised.value.status_code, raised.value.code) == (405, "method_not_allowed")
    assert raised.value.response.headers["allow"] == "GET"


def test_a_repeat_is_known_by_its_count() -> None:
    def counted(value: str) -> bool:
        return is_retry(Request({"type": "http", "headers": [(b"x-stainless-retry-count", value.encode("latin-1"))]}))

    assert [value for value in ("0", "1", "2", "", "x", "²", "9" * 5000) if counted(value)] == ["1", "2", "9" * 5000]
