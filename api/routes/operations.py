"""`/v1/status`, `/v1/stats`, `/v1/changes`: what operators ask."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from readalong.api.auth.policy import Forbidden
from readalong.api.dependencies import Deps
from readalong.api.fanout.change_stream import ChangeStream
from readalong.api.fanout.sse_response import StreamHead, come_back
from readalong.api.openapi import event_stream
from readalong.api.operations_schemas import Change, Stats, SystemStatus, stats_body
from readalong.api.problems import describe_problems
from readalong.api.routes.job_reading import root_path_of
from readalong.api.routes.jobs_page import Filters, metadata_filters
from readalong.api.routes.route import Route, add_head_routes
from readalong.core.states import Status
from readalong.store.job_record import Record
from readalong.store.stats import MOST_MINUTES
from readalong.store.threads import ThreadRef

router = APIRouter(prefix="/v1", tags=["operations"], route_class=Route)


@router.get("/status", response_model=SystemStatus, responses=describe_problems(403))
async def get_status(request: Request, deps: Deps) -> Response:
    """Returns how readalong stands, and what is the matter.

    The findings are sorted, worst first. The response is 200 also while Redis is away.
    """
    await deps.policy.operate(request.headers)
    return Response(orjson.dumps(await deps.board.look()), media_type="application/json")


@router.get("/stats", response_model=Stats, responses=describe_problems(403, 422))
async def get_stats(
    request: Request,
    deps: Deps,
    minutes: Annotated[int, Query(ge=1, le=MOST_MINUTES, description="How many minutes, with the present one.")] = 60,
) -> Response:
    """Returns what happened in each of the last minutes."""
    await deps.policy.operate(request.headers)
    return Response(orjson.dumps(stats_body(await deps.stats.minutes(minutes))), media_type="application/json")


@router.get(
    "/changes",
    response_class=Response,
    responses={
        200: {
            "description": "Server-sent events without an id, without an end. `job`: a job has changed its state; data "
            "is the job as the list has it. `erased`: data has its id. `status`: data is that of `/v1/status`, at once "
            "and when it has changed. When the stream ends, a client comes back and loads its list again.",
            "content": event_stream(Change),
        },
        **describe_problems(422),
    },
)
async def watch_changes(
    request: Request,
    deps: Deps,
    *,
    status: Annotated[Status | None, Query(description="Only jobs in this state, and those that leave it.")] = None,
    model: Annotated[str | None, Query(min_length=1, description="Only jobs for this model.")] = None,
    thread: Annotated[str | None, Query(min_length=1, description="Only jobs of this thread of the caller's.")] = None,
) -> Response:
    """Watches all jobs and the status.

    `metadata.<key>=<value>` in the query: only jobs with this pair in their metadata. Load the list when the
    response has begun: what changes later is told. Without the right to operate there is no `status`.
    """
    shows = await deps.policy.list(request.headers)
    ref = None if thread is None else ThreadRef.of(thread, await deps.policy.submit(request.headers))
    metadata = metadata_filters(request.query_params.multi_items())
    wanted = Filters(None, model, None, None, shows, None if ref is None else ref.digest, metadata)
    try:
        await deps.policy.operate(request.headers)
        operates = True
    except Forbidden:
        operates = False
    if request.method == "HEAD":
        return StreamHead()
    if deps.hub.stopping:
        return come_back(1)

    def is_shown(record: Record, left: frozenset[Status]) -> bool:
        in_state = status is None or record.status is status or status in left
        return in_state and wanted.match(record) and shows(record)

    return ChangeStream(
        deps.changes,
        is_shown,
        operates=operates,
        root_path=root_path_of(request),
        send_timeout=deps.settings.send_timeout,
        keepalive=deps.settings.sse_keepalive,
    )


add_head_routes(router)
