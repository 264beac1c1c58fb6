"""`/v1/jobs`: submit, inspect, list, watch, cancel, erase."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import orjson
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from readalong.api.auth.policy import no_job
from readalong.api.dependencies import Dependencies, dependencies, dependencies_of
from readalong.api.fanout.lost_jobs import is_lost
from readalong.api.fanout.sse_response import SseResponse, come_back
from readalong.api.http.client_presence import check_presence
from readalong.api.http.position import PARAMETERS, position_of
from readalong.api.http.request_body import read_json
from readalong.api.problems import responses
from readalong.api.routes.jobs_page import listing, parse_cursor, parse_time
from readalong.api.routes.route import Route, answer_heads
from readalong.api.schemas import JobList, JobView, job_response, path_of
from readalong.api.submission.chat_request import ChatRequest
from readalong.api.submission.submit import submit
from readalong.api.wire.native import native
from readalong.core.errors import (
    BrokenJob,
    JobExpired,
    JobNotFound,
    Stopping,
    StoreUnavailable,
    UnknownSchema,
)
from readalong.core.keys import is_job_id
from readalong.core.states import Status
from readalong.core.transcript import Transcript
from readalong.store.job_record import Record
from readalong.store.log_reader import readable

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=Route)

Used = Annotated[Dependencies, Depends(dependencies)]

_PAGE: Final = 1000
_LONGEST_LIST: Final = 200
_TIME: Final = "RFC 3339, or milliseconds since the epoch."
#: Seconds that an erase waits for a running job to stop before it deletes what it writes to.
_ERASE_PATIENCE: Final = 2.0

#: Of functions that take their request as it is, for OpenAPI.
KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "The same key and body: the same job.",
}
_ID: Final = {"name": "job_id", "in": "path", "required": True, "schema": {"type": "string", "title": "Job Id"}}

BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": ChatRequest.model_json_schema(ref_template="#/components/schemas/{model}")}
        },
    }
}

#: The address of the job, on the answer to its submit.
LOCATION: Final = {
    "Location": {"description": "The path of the job.", "required": True, "schema": {"type": "string"}},
}


@router.post(
    "",
    status_code=202,
    response_model=JobView,
    responses={202: {"headers": LOCATION}, **responses(400, 403, 409, 410, 413, 415, 422, 429)},
    openapi_extra={"parameters": [KEY], **BODY},
)
async def submit_job(request: Request) -> Response:
    """Queues a chat job."""
    used = dependencies_of(request)
    pairs = await used.policy.submit(request.headers)
    raw, body = await read_json(request, used.settings.max_body_bytes)
    record = await submit(used, raw, body, request.headers.get("idempotency-key"), pairs, chat=False)
    location = path_of(record.id, request.scope.get("root_path", ""))
    return await _shown(request, used, record, 202, {"location": location})


@router.get("", response_model=JobList, responses=responses(400, 422))
async def list_jobs(
    request: Request,
    used: Used,
    *,
    status: Annotated[Status | None, Query(description="Only jobs in this state.")] = None,
    model: Annotated[str | None, Query(min_length=1, description="Only jobs for this model.")] = None,
    created_after: Annotated[str | None, Query(description=f"Only jobs created then or later. {_TIME}")] = None,
    created_before: Annotated[str | None, Query(description=f"Only jobs created before. {_TIME}")] = None,
    limit: Annotated[int, Query(ge=1, le=_LONGEST_LIST)] = 50,
    before: Annotated[str | None, Query(description="From the `next` of the page before.")] = None,
) -> Response:
    """Lists jobs, newest first. A page may hold fewer than `limit`, or none, and have a `next`, which says how far it
    came."""
    shows = await used.policy.list(request.headers)
    query = {
        name: value
        for name, value in (
            ("status", status),
            ("model", model),
            ("created_after", created_after),
            ("created_before", created_before),
            ("limit", limit),
        )
        if value is not None
    }
    page = await listing(
        used,
        None if before is None else parse_cursor(before),
        limit,
        shows=shows,
        state=status,
        model=model,
        since=None if created_after is None else parse_time(created_after, "created_after"),
        until=None if created_before is None else parse_time(created_before, "created_before"),
        check=partial(check_presence, request),
    )
    root = request.scope.get("root_path", "")
    link = None if page.next is None else f"{root}/v1/jobs?{urlencode({'before': page.next, **query}, safe=':')}"
    return _json({"jobs": [job_response(record, None, root_path=root) for record in page.records], "next": link})


@router.get("/{job_id}", response_model=JobView, responses=responses(404, 410), openapi_extra={"parameters": [_ID]})
async def inspect_job(request: Request) -> Response:
    """Shows a job as it stands."""
    used, job_id = dependencies_of(request), _id_in(request)
    await used.may_watch(request, job_id)
    record = await used.log.record(job_id)
    if record is None:
        raise await _missing(used, job_id)
    return await _shown(request, used, record, 200, waiting_for=await used.waits.of(record))


@router.get(
    "/{job_id}/events",
    response_class=Response,
    responses={
        200: {
            "description": "The job's events from the position on, up to its end, as server-sent events: `id` is the "
            "position after it, `event` the type, `data` one line of JSON with the type in it. Comments keep the line "
            "open. With `Accept: text/event-stream` also while Redis is away.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        204: {"description": "The job has ended and nothing follows the position."},
        **responses(400, 404, 410),
    },
    openapi_extra={"parameters": [_ID, *PARAMETERS]},
)
async def watch_job(request: Request) -> Response:
    """Watches a job. A position beyond the newest event of a live job waits until the log has caught up."""
    used, position, job_id = dependencies_of(request), position_of(request), _id_in(request)

    async def opened() -> SseResponse | None:
        await used.may_watch(request, job_id)
        try:
            return await SseResponse.open(used.hub, job_id, native, position, send_timeout=used.settings.send_timeout)
        except JobNotFound:
            raise await _missing(used, job_id) from None

    # EventSource takes an error for the last word, whatever Retry-After says.
    patient = request.method == "GET" and "text/event-stream" in request.headers.get("accept", "").lower()
    try:
        stream = await opened()
    except StoreUnavailable:
        if not patient:
            raise
        return used.hub.pending.stream(opened)
    except (Stopping, UnknownSchema) as error:
        if not patient:
            raise
        return come_back(error.retry_after or 1)
    if stream is None:
        return Response(status_code=204)
    return stream.head() if request.method == "HEAD" else stream


@router.post("/{job_id}/cancel", status_code=202, response_model=JobView, responses=responses(403, 404, 410))
async def cancel_job(request: Request, job_id: str, used: Used) -> Response:
    """Cancels a job, whatever it does; an ended one keeps its end. As in a list, what was said is left out."""
    await used.may_change(request, _checked(job_id))
    found = await used.log.cancelled(job_id, "client")
    if found is None:
        raise await _missing(used, job_id)
    status, record = found
    if status is Status.CANCELLED:
        await _leave_queue(used, job_id)
    return _json(job_response(record, None, root_path=request.scope.get("root_path", "")), 202)


@router.delete("/{job_id}", status_code=204, response_class=Response, responses=responses(403, 404))
async def erase_job(request: Request, job_id: str, used: Used) -> Response:
    """Cancels a job if need be, and erases all that Redis holds of it."""
    await used.may_change(request, _checked(job_id))
    try:
        status = await used.log.cancel(job_id, "client")
    except BrokenJob:  # nothing can be read of it, and nobody runs it
        status = Status.FAILED
    # An erase may have broken off half-way: its repeat lets the watchers go, and ends it.
    if status is None and not await used.index.contains(job_id):
        raise JobNotFound(f"There is no job {job_id}.")
    if status is Status.CANCELLED:
        await _leave_queue(used, job_id)
    elif status is Status.RUNNING:
        await _wait_for_end(used, job_id)
    key_digest, model = await used.log.erasable(job_id)
    if key_digest:
        await used.idempotency.release(key_digest, job_id)
    # Or a process with watchers would write down its visit once more behind the erase.
    await used.index.leave_watched(job_id)
    # A repeat of one that broke off finds no hash: the mark in its place answers the model.
    model = await used.log.delete(job_id, model)
    await used.hub.evict(job_id)
    await used.queue.remove(job_id)
    await used.index.remove(job_id, model=model)
    return Response(status_code=204)


async def _leave_queue(used: Dependencies, job_id: str) -> None:
    """It may have ended in the queue just now; the claim would refuse it, but it need not wait there."""
    await asyncio.gather(used.queue.remove(job_id), used.index.refile(job_id))


async def _wait_for_end(used: Dependencies, job_id: str) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _ERASE_PATIENCE
    while loop.time() < deadline:
        [standing] = await used.log.states([job_id])
        if standing is None or standing.status != Status.RUNNING:
            return
        await asyncio.sleep(0.05)


async def _missing(used: Dependencies, job_id: str) -> JobNotFound:
    if await used.index.contains(job_id):
        return JobExpired(f"Job {job_id} has expired.")
    return no_job(job_id)


async def _shown(
    request: Request,
    used: Dependencies,
    record: Record,
    status: int,
    headers: dict[str, str] | None = None,
    *,
    waiting_for: str | None = None,
) -> Response:
    with readable(record.id):
        said = await _said(request, used, record)
        if record.attempt and said.last_seq < record.last_seq and await is_lost(used.log, record.id):
            # Without its log it would seem to have said nothing.
            raise await _missing(used, record.id)
        return _json(job_response(record, said, waiting_for, request.scope.get("root_path", "")), status, headers)


async def _said(request: Request, used: Dependencies, record: Record) -> Transcript:
    """What the log says so far; of an ended job by its end alone. Raises ClientDisconnect."""
    said = Transcript()
    if not record.attempt:
        return said
    if record.ended:
        # Its end repeats what was said; to read a million events takes seconds.
        for event in await used.log.newest(record.id, 1):
            if (whole := Transcript.of_end(event)) is not None:
                return whole
    while events := await used.log.read_merged(record.id, said.last_seq, _PAGE):
        said.add_all(events)
        if said.last_seq >= record.last_seq:
            break
        await check_presence(request)
    return said


def _json(value: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(value), status, headers, media_type="application/json")


def _id_in(request: Request) -> str:
    """The id in the path. Raises JobNotFound."""
    return _checked(request.path_params["job_id"])


def _checked(job_id: str) -> str:
    if not is_job_id(job_id):
        raise JobNotFound("There is no such job.")
    return job_id


answer_heads(router)

#: What the way to a token leads through.
HOT: Final = (
    ("POST", "/v1/jobs", submit_job),
    ("GET", "/v1/jobs/{job_id}/events", watch_job),
    ("GET", "/v1/jobs/{job_id}", inspect_job),
)
