"""`/api/chat`: the AI SDK's `useChat`, with its DefaultChatTransport and its WorkflowChatTransport."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from readalong.api.auth.policy import Forbidden
from readalong.api.dependencies import Dependencies, dependencies_of
from readalong.api.fanout.feed import Feed
from readalong.api.fanout.sse_response import SseResponse
from readalong.api.http.client_presence import check_presence
from readalong.api.http.request_body import read_untyped_json
from readalong.api.problems import describe_problems
from readalong.api.routes import job_ending
from readalong.api.routes.job_reading import root_path_of
from readalong.api.routes.route import Route, add_head_routes
from readalong.api.schemas import path_of
from readalong.api.submission.ai_sdk_request import MESSAGE_ID, ai_sdk_request
from readalong.api.wire.ai_sdk import NOTHING, AiSdkStream, FromChunk, Reset
from readalong.api.wire.format import fresh
from readalong.core.errors import InvalidRequest, JobNotFound, StoreUnavailable
from readalong.core.keys import is_job_id
from readalong.core.settings import Settings
from readalong.store.job_record import Record
from readalong.store.threads import MAX_NAME_LENGTH, ThreadRef

router = APIRouter(prefix="/api/chat", tags=["ai-sdk"], route_class=Route)

_VERSION: Final = {"x-vercel-ai-ui-message-stream": "v1"}
_RUN: Final = "x-workflow-run-id"
_TAIL: Final = "x-workflow-stream-tail-index"
_RESETS: Final[dict[str, Reset]] = {"reset-step": "reset-step", "data": "data"}
#: Digits of an index: no answer has more chunks.
_MAX_DIGITS: Final = 12
#: Events that one command reads.
_PAGE_SIZE: Final = 1000

_RESET: Final = {
    "name": "reset",
    "in": "query",
    "required": False,
    "schema": {"type": "string", "enum": list(_RESETS)},
    "description": "How a lost worker is told; by default READALONG_AI_SDK_RESET.",
}
_START_INDEX: Final = {
    "name": "startIndex",
    "in": "query",
    "required": False,
    "schema": {"type": "integer"},
    "description": "The number of the first chunk to send; a negative one counts from the newest.",
}
_CHAT_ID: Final = {
    "name": "chat_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "title": "Chat Id"},
    "description": "The chat's id, or a job's.",
}
_STREAM: Final = {
    "description": "The chunks of a UI message stream, version 1, as server-sent events.",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
    "headers": {
        "X-Vercel-AI-UI-Message-Stream": {"description": "`v1`", "schema": {"type": "string"}},
        "X-Workflow-Run-Id": {"description": "The job's id.", "schema": {"type": "string"}},
    },
}
_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object", "title": "AiSdkRequest"}}},
    }
}


@router.post(
    "",
    response_class=Response,
    responses={200: _STREAM, **describe_problems(400, 403, 409, 410, 413, 415, 422, 429)},
    openapi_extra={"parameters": [_RESET], **_BODY},
)
async def chat(request: Request) -> Response:
    """Queues the answer to the chat's messages and streams it. An answer of the chat that still runs is cancelled,
    unless `readalong.thread_policy` says otherwise."""
    deps, reset = dependencies_of(request), _reset_of(request)
    pairs = await deps.policy.submit(request.headers)
    asked = ai_sdk_request(await read_untyped_json(request, deps.settings.max_body_bytes))
    key = request.headers.get("idempotency-key")
    record = await deps.submitter.submit(asked.raw, asked.body, key, pairs, chat=False, turn=asked.turn)
    try:
        feed = await deps.hub.feed(record.id, 0)
    except JobNotFound:
        # Redis has lost the job since, or a client has erased it. A repeat creates it, or gets a 410.
        raise StoreUnavailable("Redis has lost the job; submit it again.", retry_after=1) from None
    return _stream(request, deps, feed, _format(deps.settings, record, reset))


@router.get(
    "/{chat_id}/stream",
    response_class=Response,
    responses={
        200: _STREAM,
        204: {"description": "No answer runs."},
        **describe_problems(400, 404, 422),
    },
    openapi_extra={"parameters": [_CHAT_ID, _START_INDEX, _RESET]},
)
async def resume(request: Request) -> Response:
    """Streams the chat's answer that runs, or a job's, from its first chunk or from `startIndex` on."""
    deps, reset, index = dependencies_of(request), _reset_of(request), _index_of(request)
    pairs = await deps.policy.submit(request.headers)
    record = await _find(request, deps, pairs, running=index is None)
    if record is None:
        if index is None:
            return Response(status_code=204)
        if index > 0:
            raise JobNotFound("This answer does not exist any more.")
        # To a WorkflowChatTransport a 204 is an error, and an empty stream a break.
        return Response(NOTHING, headers={**_VERSION}, media_type="text/event-stream")
    wire = _format(deps.settings, record, reset)
    tail = {}
    if index is not None and index < 0:
        index, current = await _from_the_end(request, deps, record.id, wire, index)
        tail = {_TAIL: str(current)}
    feed = await deps.hub.feed(record.id, 0)
    return _stream(request, deps, feed, wire, index=index or 0, headers=tail)


@router.post(
    "/{chat_id}/stop",
    responses={
        200: {"content": {"application/json": {"example": {"success": True}}}},
        **describe_problems(400, 403, 413, 415, 422),
    },
    openapi_extra={"parameters": [_CHAT_ID]},
)
async def stop(request: Request) -> Response:
    """Cancels the chat's answer that runs, or a job. An `activeStreamId` in the body that is another answer's, as a
    stop that comes late has it, cancels nothing."""
    deps = dependencies_of(request)
    pairs = await deps.policy.submit(request.headers)
    meant = (await read_untyped_json(request, deps.settings.max_body_bytes)).get("activeStreamId")
    record = await _find(request, deps, pairs, running=True, change=True)
    if record is not None and meant in (None, record.id, f"msg_{record.id}"):
        await job_ending.cancel(deps, record.id)
    return Response(b'{"success":true}', media_type="application/json")


async def _find(
    request: Request, deps: Dependencies, pairs: Mapping[str, str], *, running: bool, change: bool = False
) -> Record | None:
    """Returns the job of the chat that the path names, if it runs, or else the job that the path names, an ended one
    unless it must be `running`; None if there is none, also for the policy. `change`: the job is to be cancelled."""
    name = request.path_params["chat_id"]
    current = await deps.threads.running(ThreadRef.of(name, pairs)) if len(name) <= MAX_NAME_LENGTH else None
    authorize = deps.authorize_change if change else deps.authorize_watch
    for job_id, may_have_ended in ((current, False), (name if is_job_id(name) else None, not running)):
        if job_id is None:
            continue
        try:
            await authorize(request, job_id)
        except (JobNotFound, Forbidden):
            if job_id == current:
                raise
            continue  # the chat's name is by chance that of a job
        record = await deps.log.record(job_id)
        if record is not None and (may_have_ended or not record.ended):
            return record
    return None


def _stream(
    request: Request,
    deps: Dependencies,
    feed: Feed,
    wire: AiSdkStream,
    *,
    index: int = 0,
    headers: dict[str, str] | None = None,
) -> Response:
    job_id = feed.job_id
    head = {
        **_VERSION,
        _RUN: job_id,
        "x-job-id": job_id,
        "location": path_of(job_id, root_path_of(request)),
        **(headers or {}),
    }
    cut = FromChunk(index) if index else None
    response = SseResponse(deps.hub, feed, wire, 0, send_timeout=deps.settings.send_timeout, headers=head, cut=cut)
    if request.method != "HEAD":
        return response
    answer = response.head()
    answer.headers.update(head)
    return answer


async def _from_the_end(
    request: Request, deps: Dependencies, job_id: str, wire: AiSdkStream, index: int
) -> tuple[int, int]:
    """Returns the number of the first chunk to send, and the number of the newest chunk.

    Inside the part that is open the stream begins with that part: a client drops pieces of a part whose beginning it
    has not got. The client reckons its position from the number of the newest chunk, which is then told so that it
    comes out right.
    """
    encoder = fresh(wire)
    assert isinstance(encoder, AiSdkStream)
    seq = 0
    while events := await deps.log.read_merged(job_id, seq, _PAGE_SIZE):
        for event in events:
            encoder.encode(event)
        seq = events[-1].seq
        await check_presence(request)
    count = encoder.chunks
    first = max(0, count + index)
    if encoder.opened_at is not None and first > encoder.opened_at:
        first = encoder.opened_at
    return first, min(count, first - index) - 1


def _format(settings: Settings, record: Record, reset: Reset | None) -> AiSdkStream:
    message_id: Any = record.metadata.get(MESSAGE_ID, "")
    return AiSdkStream(reset or settings.ai_sdk_reset, message_id if isinstance(message_id, str) else "")


def _reset_of(request: Request) -> Reset | None:
    given = request.query_params.get("reset")
    if given is None:
        return None
    if given not in _RESETS:
        raise InvalidRequest("reset must be reset-step or data.", code="invalid_parameter", field="reset")
    return _RESETS[given]


def _index_of(request: Request) -> int | None:
    given = request.query_params.get("startIndex")
    if given is None:
        return None
    digits = given.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS):
        raise InvalidRequest("startIndex must be an integer.", code="invalid_position", field="startIndex")
    return int(given)


add_head_routes(router)

#: Served without FastAPI's router: clients wait for these before their first token.
DIRECT: Final = (
    ("POST", "/api/chat", chat),
    ("GET", "/api/chat/{chat_id}/stream", resume),
)
