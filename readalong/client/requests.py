"""The API's calls as data, and what their responses mean."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs, quote, urlsplit

import orjson

from readalong.client.errors import ApiError, ClientError, MisuseError, ProtocolError
from readalong.client.job import Job

#: OpenAI's messages, or one question.
Messages: TypeAlias = str | Sequence[Mapping[str, Any]]

#: Seconds after which the server cancels a generation whose client has gone without a word, such as a killed one.
DISCONNECT_GRACE: Final = 30

#: A 404 and a 410 say that there is no job.
GONE: Final = (404, 410)


@dataclass(frozen=True, slots=True)
class Request:
    """One call. Every one may be repeated: a submit has a key. `body`: JSON."""

    method: str
    path: str
    body: bytes | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def submit(
    messages: Messages,
    parameters: Mapping[str, Any],
    *,
    model: str | None = None,
    idempotency_key: str | None = None,
    cancel_on_disconnect: bool | float | None = None,
) -> Request:
    """Returns the submit of a job. A parameter that is None is left out. Raises MisuseError for what is no JSON."""
    body = {"messages": chat_messages(messages), "model": model, "cancel_on_disconnect": cancel_on_disconnect}
    body |= parameters
    key = idempotency_key or secrets.token_urlsafe(16)
    given = {name: value for name, value in body.items() if value is not None}
    headers = {"idempotency-key": key, "content-type": "application/json"}
    return Request("POST", "/v1/jobs", encoded(given), headers=headers)


def chat_messages(messages: Messages) -> list[Any]:
    """Returns the messages of a chat; a question is the user's. Raises MisuseError for what is neither."""
    given: Any = messages  # callers without types give anything
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if isinstance(given, Mapping | bytes | bytearray) or not isinstance(given, Iterable):
        raise MisuseError(f"messages: must be one question or a list of messages, not {type(given).__name__}.")
    found = list(given)
    for at, message in enumerate(found):
        # A direct stream takes the objects of the openai package, too.
        if not isinstance(message, Mapping) and not hasattr(message, "model_dump"):
            raise MisuseError(f"messages.{at}: must be a message with role and content, not {type(message).__name__}.")
    return found


def encoded(body: Mapping[str, Any]) -> bytes:
    """Returns JSON. Raises MisuseError for a value that has none, such as a set, NaN or half a surrogate pair."""
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise MisuseError(f"The request cannot be sent as JSON: {error}.") from None


def cancel(job: Job | str) -> Request:
    return Request("POST", f"{job_path(job)}/cancel")


def inspect(job: Job | str) -> Request:
    return Request("GET", job_path(job))


def erase(job: Job | str) -> Request:
    return Request("DELETE", job_path(job))


def list_jobs(
    *,
    status: str | None,
    model: str | None,
    thread: str | None,
    metadata: Mapping[str, str] | None,
    created_after: datetime | str | None,
    created_before: datetime | str | None,
    limit: int,
) -> Request:
    """Returns the request for the first page of a list. Raises MisuseError for a time without a time zone."""
    query = {
        "status": status,
        "model": model,
        "thread": thread,
        "created_after": _time(created_after),
        "created_before": _time(created_before),
        "limit": str(limit),
        **{f"metadata.{key}": value for key, value in (metadata or {}).items()},
    }
    return Request("GET", "/v1/jobs", query={name: value for name, value in query.items() if value is not None})


def next_page(request: Request, page: Mapping[str, Any]) -> Request | None:
    """Returns the request for the page after `page`, if there is one."""
    before = parse_qs(urlsplit(str(page.get("next") or "")).query).get("before")
    if not before or before[0] == request.query.get("before"):
        return None
    return Request("GET", request.path, query={**request.query, "before": before[0]})


def jobs_of(page: Mapping[str, Any]) -> list[Job]:
    """Returns the jobs of a page."""
    found = page.get("jobs")
    return [Job.parse(each) for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def job_path(job: Job | str) -> str:
    """Returns the path of a job. Raises MisuseError for an id that would lead to another path."""
    job_id: Any = job.id if isinstance(job, Job) else job
    if not isinstance(job_id, str) or not job_id.strip("."):
        raise MisuseError(f"{job_id!r} is not the id of a job.")
    return f"/v1/jobs/{quote(job_id, safe='')}"


def error_of(url: str, status: int, headers: Mapping[str, str], body: bytes) -> ClientError | None:
    """Returns the error that a response means; None for a success."""
    if 200 <= status < 300:
        return None
    problem = _object(body) or {}
    passing = status in (408, 425, 429) or status >= 500
    detail, code, field_ = problem.get("detail"), problem.get("code"), problem.get("field")
    if isinstance(detail, str):
        message = detail
    elif location := headers.get("location"):
        message = f"{url} redirects to {location[:200]}: use that URL."
    else:
        message = f"{url} answered {status}."
    return ApiError(
        message,
        status=status,
        code=code if isinstance(code, str) else f"http_{status}",
        retryable=passing and problem.get("retryable") is not False,
        field=field_ if isinstance(field_, str) else None,
        retry_after=_seconds(headers.get("retry-after", "")),
    )


def json_of(url: str, request: Request, body: bytes) -> Mapping[str, Any]:
    """Returns the JSON object of a success. Raises ProtocolError for anything else."""
    found = _object(body)
    if found is None:
        raise ProtocolError(
            f"{url} does not answer like a readalong API: {request.method} {request.path} gave no JSON object."
        )
    return found


def job_of(url: str, request: Request, body: bytes) -> Job:
    """Returns the job of a success. Raises ProtocolError for anything else."""
    found = json_of(url, request, body)
    if not isinstance(found.get("id"), str):
        raise ProtocolError(f"{url} does not answer like a readalong API: {request.method} {request.path} gave no job.")
    return Job.parse(found)


def erased(error: ClientError, tries: int) -> bool:
    """Returns whether an erase has succeeded in spite of the error: an earlier try, whose response was lost, may
    have."""
    return tries > 1 and isinstance(error, ApiError) and error.status in GONE


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        found = orjson.loads(body)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _seconds(text: str) -> float | None:
    return float(text) if text.isdigit() and len(text) < 6 else None


def _time(value: datetime | str | None) -> str | None:
    if not isinstance(value, datetime):
        return value
    if value.tzinfo is None:
        raise MisuseError("A time needs a time zone: datetime.now(UTC).")
    return value.isoformat()
