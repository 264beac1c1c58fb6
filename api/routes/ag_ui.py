"""`/agui`: AG-UI 1.0, for its HttpAgent and what is made of it."""

from __future__ import annotations

from typing import Final

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from readalong.api.dependencies import dependencies_of
from readalong.api.face_schemas import AgUiEvent
from readalong.api.fanout.feed import Feed
from readalong.api.fanout.sse_response import KEEP_ALIVE, SseResponse
from readalong.api.http.position import PARAMETERS, frame_position_of
from readalong.api.http.request_body import off_loop, read_json
from readalong.api.openapi import event_stream, json_body, parameter
from readalong.api.problems import describe_ag_ui_errors
from readalong.api.request_schemas import RunAgentInput
from readalong.api.response_headers import JOB
from readalong.api.routes.job_reading import missing, root_path_of
from readalong.api.routes.route import Handler, Route
from readalong.api.schemas import path_of
from readalong.api.submission.ag_ui_request import ag_ui_request
from readalong.api.submission.gone import submitting
from readalong.api.submission.submitter import OriginalRequest
from readalong.api.wire.ag_ui import AfterFrame, AgUi
from readalong.core.errors import JobNotFound
from readalong.core.keys import is_job_id
from readalong.core.position import Position
from readalong.store.broken_keys import readable

router = APIRouter(prefix="/agui", tags=["AG-UI"], route_class=Route)

_RUN_ID: Final = parameter("run_id", "path", "The run's id, or its job's.", required=True)
_EVENTS: Final = {"description": "The events of the run.", "content": event_stream(AgUiEvent), "headers": JOB}

#: Fields of a job's hash: the run's ids, and its messages.
_RUN: Final = "ag_ui_run"
_MESSAGES: Final = "ag_ui_messages"


@router.post(
    "",
    response_class=Response,
    operation_id="run_agent",
    responses={200: _EVENTS, **describe_ag_ui_errors(400, 409, 410, 413, 415, 422, 429)},
    openapi_extra=json_body(RunAgentInput),
)
async def run(request: Request) -> Response:
    """Queues a run and streams its events. A repeat of the same run is that run, from its start."""
    deps = dependencies_of(request)
    pairs = await deps.policy.submit(request.headers)
    raw, body = await read_json(request, deps.settings.max_body_bytes)
    asked = await off_loop(len(raw), ag_ui_request, body)
    ids = orjson.dumps([asked.thread_id, asked.run_id, asked.parent_run_id])
    original = OriginalRequest(body, ((_RUN, ids), (_MESSAGES, asked.messages)))
    key = _key_of(asked.run_id)
    record = await deps.submitter.submit(
        asked.raw, asked.body, key, pairs, chat=True, turn=asked.turn, original=original
    )
    with submitting():
        feed = await deps.hub.feed(record.id, 0)
    wire = AgUi(asked.thread_id, asked.run_id, asked.parent_run_id, asked.messages)
    return _stream(request, feed, wire, Position(0), None)


@router.get(
    "/runs/{run_id}",
    response_class=Response,
    operation_id="resume_run",
    responses={200: _EVENTS, 204: {"description": "Nothing follows."}, **describe_ag_ui_errors(400, 404, 410)},
    openapi_extra={"parameters": [_RUN_ID, *PARAMETERS[:2]]},
)
async def resume(request: Request) -> Response:
    """Streams the events of a run, which its id or its job's names, after `Last-Event-ID`. 204: nothing follows."""
    deps = dependencies_of(request)
    pairs = await deps.policy.submit(request.headers)
    position, frame_id = frame_position_of(request)
    name = request.path_params["run_id"]
    job_id = await deps.submitter.find(_key_of(name), pairs)
    if job_id is None:
        if not is_job_id(name):
            raise _no_run()
        job_id = name
    await deps.authorize_watch(request, job_id)
    record, [ids, messages] = await deps.log.record_with(job_id, _RUN, _MESSAGES)
    if record is None:
        raise await missing(deps, job_id)
    if ids is None or messages is None:
        raise _no_run()
    with readable(job_id):
        thread_id, run_id, parent_run_id = orjson.loads(ids)
    feed = await deps.hub.feed(job_id, *position)
    if frame_id is None and feed.is_complete_at(feed.place(*position)):
        deps.hub.release(feed)
        return Response(status_code=204)
    return _stream(request, feed, AgUi(thread_id, run_id, parent_run_id, messages), position, frame_id)


def _stream(request: Request, feed: Feed, wire: AgUi, position: Position, frame_id: str | None) -> Response:
    deps, job_id = dependencies_of(request), feed.job_id
    head = {**KEEP_ALIVE, "x-job-id": job_id, "location": path_of(job_id, root_path_of(request))}
    response = SseResponse(
        deps.hub,
        feed,
        wire,
        position.seq,
        epoch=position.epoch,
        send_timeout=deps.settings.send_timeout,
        headers=head,
        cut=None if frame_id is None else AfterFrame(frame_id),
        farewell=None,
    )
    if request.method != "HEAD":
        return response
    answer = response.head()
    answer.headers.update(head)
    return answer


def _key_of(run_id: str) -> str:
    """Returns a run's Idempotency-Key. A header cannot hold a line break, so it is no client's."""
    return f"run\n{run_id}"


def _no_run() -> JobNotFound:
    return JobNotFound("This run does not exist.")


#: Served without FastAPI's router: clients wait for these before their first token.
DIRECT: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("POST", "/agui", run),
    ("GET", "/agui/runs/{run_id}", resume),
    ("HEAD", "/agui/runs/{run_id}", resume),
)
