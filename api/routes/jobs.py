"""`/v1/jobs`: submit, inspect, list, watch, cancel, erase."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Final
from urllib.parse import urlencode

import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from readalong.api.dependencies import Deps, dependencies_of
from readalong.api.event_schemas import JobEvent
from readalong.api.fanout.sse_response import SseResponse, come_back
from readalong.api.http.client_presence import check_presence
from readalong.api.http.position import PARAMETERS, position_of
from readalong.api.http.preference import applied, wait_of
from readalong.api.http.request_body import read_json
from readalong.api.openapi import (
    CHAT_REQUEST,
    COUNT,
    IDEMPOTENCY_KEY,
    INCLUDE,
    JOB_ID,
    PREFER,
    READERS,
    event_stream,
)
from readalong.api.problems import describe_problems
from readalong.api.response_headers import LOCATION, WAITED
from readalong.api.routes import job_ending
from readalong.api.routes.job_reading import job_json, missing, root_path_of
from readalong.api.routes.jobs_page import (
    Filters,
    metadata_filters,
    parse_cursor,
    parse_time,
    read_beginning,
    read_page,
)
from readalong.api.routes.route import Route, add_head_routes
from readalong.api.routes.waiting import wait_for
from readalong.api.schemas import Job, JobList, job_response, path_of
from readalong.api.submission.gone import submitting
from readalong.api.submission.retry import repeated
from readalong.api.submission.submitter import OriginalRequest
from readalong.api.wire.native import native
from readalong.core.errors import InvalidRequest, JobNotFound, Stopping, StoreUnavailable, UnknownSchema
from readalong.core.keys import is_job_id
from readalong.core.prices import parse_prices
from readalong.core.states import Status
from readalong.store.threads import ThreadRef
from readalong.store.timeline import story_of

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=Route)

_MAX_LIMIT: Final = 200
#: What a GET of one job may have besides.
_INCLUDED: Final = frozenset({"request", "timeline"})
_TIME: Final = "RFC 3339, or milliseconds since the epoch."


@router.post(
    "",
    status_code=202,
    response_model=Job,
    responses={
        200: {
            "model": Job,
            "description": "With `Prefer: wait`: the job has ended.",
            "headers": {**LOCATION, **WAITED},
        },
        202: {"description": "The job is queued, or was before.", "headers": {**LOCATION, **WAITED}},
        **describe_problems(400, 409, 410, 413, 415, 422, 429),
    },
    openapi_extra={"parameters": [IDEMPOTENCY_KEY, PREFER], **CHAT_REQUEST},
)
async def submit_job(request: Request) -> Response:
    """Queues a chat job. With `Prefer: wait=30` the response waits so many seconds for the job's end."""
    deps = dependencies_of(request)
    pairs = await deps.policy.submit(request.headers)
    raw, body = await read_json(request, deps.settings.max_body_bytes)
    key = request.headers.get("idempotency-key")
    seconds = wait_of(request.headers)
    record = await deps.submitter.submit(raw, body, key, pairs, chat=False)
    with submitting():
        record = await wait_for(deps, request, record, seconds)
        view = await job_json(request, deps, record)
    headers = {"location": path_of(record.id, root_path_of(request)), **(applied(seconds) if seconds else {})}
    # RFC 7240: 202 says that the time was over before the job's end.
    status = 200 if seconds and record.ended else 202
    return _json(view, status, headers)


@router.get("", response_model=JobList, responses=describe_problems(400, 422))
async def list_jobs(
    request: Request,
    deps: Deps,
    *,
    status: Annotated[Status | None, Query(description="Only jobs in this state.")] = None,
    model: Annotated[str | None, Query(min_length=1, description="Only jobs for this model.")] = None,
    created_after: Annotated[str | None, Query(description=f"Only jobs created then or later. {_TIME}")] = None,
    created_before: Annotated[str | None, Query(description=f"Only jobs created before. {_TIME}")] = None,
    thread: Annotated[str | None, Query(min_length=1, description="Only jobs of this thread of the caller's.")] = None,
    id: Annotated[
        str | None,
        Query(pattern=r"^[A-Za-z0-9_-]{4,64}$", description="Only jobs whose id begins so: all of them on one page."),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=_MAX_LIMIT)] = 50,
    before: Annotated[str | None, Query(description="From the `next` of the previous page.")] = None,
) -> Response:
    """Lists jobs, newest first. A page may hold fewer than `limit`, or none, and have a `next`.

    `metadata.<key>=<value>` in the query: only jobs with this pair in their metadata.
    """
    shows = await deps.policy.list(request.headers)
    ref = None if thread is None else ThreadRef.of(thread, await deps.policy.submit(request.headers))
    metadata = metadata_filters(request.query_params.multi_items())
    query = {
        name: value
        for name, value in (
            ("status", status),
            ("model", model),
            ("created_after", created_after),
            ("created_before", created_before),
            ("thread", thread),
            *((f"metadata.{key}", value) for key, value in metadata),
            ("limit", limit),
        )
        if value is not None
    }
    filters = Filters(
        state=status,
        model=model,
        since=None if created_after is None else parse_time(created_after, "created_after"),
        until=None if created_before is None else parse_time(created_before, "created_before"),
        shows=shows,
        thread=None if ref is None else ref.digest,
        metadata=metadata,
    )
    place, check = None if before is None else parse_cursor(before), partial(check_presence, request)
    if id is None:
        page = await read_page(deps, place, limit, filters, check=check)
    else:
        page = await read_beginning(deps, id, limit, filters)
    root = root_path_of(request)
    link = None if page.next is None else f"{root}/v1/jobs?{urlencode({'before': page.next, **query}, safe=':')}"
    jobs = [job_response(record, None, root_path=root) for record in page.records]
    return _json(orjson.dumps({"jobs": jobs, "next": link}))


@router.get(
    "/{job_id}",
    response_model=Job,
    responses={200: {"headers": WAITED}, **describe_problems(404, 410, 422)},
    openapi_extra={"parameters": [JOB_ID, PREFER, INCLUDE]},
)
async def get_job(request: Request) -> Response:
    """Returns a job. With `Prefer: wait=30` the response waits so many seconds for the job's end."""
    deps, job_id = dependencies_of(request), _job_id(request)
    included = _included(request)
    await deps.authorize_watch(request, job_id)
    record = await deps.log.record(job_id)
    if record is None:
        raise await missing(deps, job_id)
    seconds = wait_of(request.headers)
    record = await wait_for(deps, request, record, seconds)
    waiting_for = "thread" if await deps.turns.waits(record) else await deps.waits.of(record)
    body = await job_json(request, deps, record, waiting_for)
    if "timeline" in included:
        found = await story_of(deps.log, record)
        cost = parse_prices(deps.settings.prices).cost(record.model, record.usage)
        more = {"timeline": found.entries, "progress": found.progress, "cost": cost}
        body = b"%b,%b" % (body[:-1], orjson.dumps(more)[1:])
    if "request" in included:
        # Its own bytes: parsing megabytes and writing them again would hold up other clients.
        body = b'%b,"request":%b}' % (body[:-1], await deps.log.request(job_id) or b"null")
    return _json(body, headers=applied(seconds) if seconds else None)


@router.get(
    "/{job_id}/events",
    response_class=Response,
    responses={
        200: {
            "description": "The job's events after the position, up to its end, as server-sent events: `id` is the "
            "position after the event, `event` its type, `data` one line of JSON that repeats the type. Comments keep "
            "the connection open. With `Accept: text/event-stream` also while Redis is away.",
            "content": event_stream(JobEvent),
        },
        204: {"description": "The job has ended and nothing follows the position."},
        **describe_problems(400, 404, 410, 422),
    },
    openapi_extra={"parameters": [JOB_ID, *PARAMETERS, READERS, COUNT]},
)
async def watch_job(request: Request) -> Response:
    """Watches a job. A position beyond the newest event of a live job waits until the log has caught up."""
    deps, position, job_id = dependencies_of(request), position_of(request), _job_id(request)
    readers = deps.readers if _is_true(request, "readers", "false") else None
    keeps = _is_true(request, "count", "true")

    async def open_stream() -> SseResponse | None:
        await deps.authorize_watch(request, job_id)
        try:
            timeout = deps.settings.send_timeout
            return await SseResponse.open(
                deps.hub, job_id, native, position, send_timeout=timeout, readers=readers, keeps=keeps
            )
        except JobNotFound:
            raise await missing(deps, job_id) from None

    # EventSource does not reconnect after an error, whatever Retry-After says.
    is_event_source = request.method == "GET" and "text/event-stream" in request.headers.get("accept", "").lower()
    try:
        stream = await open_stream()
    except StoreUnavailable:
        if not is_event_source:
            raise
        return deps.hub.pending.stream(open_stream)
    except (Stopping, UnknownSchema) as error:
        if not is_event_source:
            raise
        return come_back(error.retry_after or 1)
    if stream is None:
        return Response(status_code=204)
    return stream.head() if request.method == "HEAD" else stream


@router.post("/{job_id}/cancel", status_code=202, response_model=Job, responses=describe_problems(404, 410))
async def cancel_job(request: Request, job_id: str, deps: Deps) -> Response:
    """Cancels a job in any state; an ended job keeps its end. The response has no `content`, as in a list."""
    await deps.authorize_change(request, _checked(job_id))
    record = await job_ending.cancel(deps, job_id)
    if record is None:
        raise await missing(deps, job_id)
    return _json(orjson.dumps(job_response(record, None, root_path=root_path_of(request))), 202)


@router.post(
    "/{job_id}/retry",
    status_code=202,
    response_model=Job,
    responses={202: {"description": "The new job.", "headers": LOCATION}, **describe_problems(404, 409, 410, 422, 429)},
)
async def retry_job(request: Request, job_id: str, deps: Deps) -> Response:
    """Submits the request of an ended job once more.

    The new job has its request and metadata, belongs to the caller, and has the old one's id in `retry_of`.
    """
    await deps.authorize_watch(request, _checked(job_id))
    pairs = await deps.policy.submit(request.headers)
    record, [kept] = await deps.log.record_with(job_id, "request")
    if record is None:
        raise await missing(deps, job_id)
    raw, body = repeated(record, kept)
    origin = OriginalRequest(body, kept=(("retry_of", job_id.encode()),))
    again = await deps.submitter.submit(raw, body, None, pairs, chat=False, original=origin)
    root = root_path_of(request)
    return _json(orjson.dumps(job_response(again, None, root_path=root)), 202, {"location": path_of(again.id, root)})


@router.delete("/{job_id}", status_code=204, response_class=Response, responses=describe_problems(404))
async def erase_job(request: Request, job_id: str, deps: Deps) -> Response:
    """Cancels a job that has not ended, and erases everything that Redis holds of it."""
    await deps.authorize_change(request, _checked(job_id))
    await job_ending.erase(deps, job_id)
    return Response(status_code=204)


def _json(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status, headers, media_type="application/json")


def _included(request: Request) -> frozenset[str]:
    wanted = frozenset(request.query_params.getlist("include"))
    if wanted - _INCLUDED:
        raise InvalidRequest("include must be request or timeline.", code="invalid_parameter", field="include")
    return wanted


def _is_true(request: Request, name: str, default: str) -> bool:
    wanted = request.query_params.get(name, default)
    if wanted not in ("true", "false"):
        raise InvalidRequest(f"{name} must be true or false.", code="invalid_parameter", field=name)
    return wanted == "true"


def _job_id(request: Request) -> str:
    """Returns the id in the path. Raises JobNotFound."""
    return _checked(request.path_params["job_id"])


def _checked(job_id: str) -> str:
    if not is_job_id(job_id):
        raise JobNotFound("This job does not exist.")
    return job_id


add_head_routes(router)

#: Served without FastAPI's router: clients wait for these before their first token.
DIRECT: Final = (
    ("POST", "/v1/jobs", submit_job),
    ("GET", "/v1/jobs/{job_id}/events", watch_job),
    ("GET", "/v1/jobs/{job_id}", get_job),
)
