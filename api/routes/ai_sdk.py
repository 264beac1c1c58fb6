"""`/api/chat`: the AI SDK's `useChat`, with its DefaultChatTransport and its WorkflowChatTransport."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from readalong.api.auth.policy import Forbidden
from readalong.api.dependencies import Dependencies, dependencies_of
from readalong.api.face_schemas import UiMessageChunk, UiStopped
from readalong.api.fanout.feed import Feed
from readalong.api.fanout.sse_response import KEEP_ALIVE, SseResponse
from readalong.api.http.client_presence import check_presence
from readalong.api.http.request_body import off_loop, read_untyped_json
from readalong.api.openapi import IDEMPOTENCY_KEY, event_stream, json_body, parameter
from readalong.api.problems import describe_ai_sdk_errors
from readalong.api.request_schemas import UiChatRequest, UiStopRequest
from readalong.api.response_headers import AI_SDK_JOB, AI_SDK_RESUMED
from readalong.api.routes import job_ending
from readalong.api.routes.job_reading import root_path_of
from readalong.api.routes.route import Route
from readalong.api.schemas import path_of
from readalong.api.submission.ai_sdk_request import ai_sdk_request
from readalong.api.submission.gone import submitting
from readalong.api.submission.submitter import OriginalRequest
from readalong.api.wire.ai_sdk import NOTHING, AiSdkStream, FromChunk, Reset
from readalong.api.wire.ai_sdk_message import Continued, parts_as_chunks
from readalong.api.wire.format import Cut, fresh
from readalong.core.errors import InvalidRequest, JobNotFound
from readalong.core.events import Event
from readalong.core.keys import is_job_id
from readalong.core.settings import Settings
from readalong.store.broken_keys import readable
from readalong.store.job_record import Record
from readalong.store.threads import MAX_NAME_LENGTH, ThreadRef

router = APIRouter(prefix="/api/chat", tags=["AI SDK"], route_class=Route)

_RESET: Final = parameter(
    "reset", "query", "How a lost worker is told; else by the setting.", enum=["reset-step", "data"]
)
_CHAT_ID: Final = parameter("chat_id", "path", "The chat's id, or a job's.", required=True)
_INDEX: Final = parameter(
    "startIndex", "query", "The first chunk, by its number; negative: from the newest back.", type="integer"
)
_CHUNKS: Final = {
    "description": "UI message stream, version 1, up to `data: [DONE]`.",
    "content": event_stream(UiMessageChunk),
}

_VERSION: Final = {"x-vercel-ai-ui-message-stream": "v1"}
_RUN: Final = "x-workflow-run-id"
_TAIL: Final = "x-workflow-stream-tail-index"
#: The field of a job's hash that holds the message that its answer continues.
_CONTINUED: Final = "ai_sdk_message"
_RESETS: Final[dict[str, Reset]] = {"reset-step": "reset-step", "data": "data"}
#: Digits of an index: no answer has more chunks.
_MAX_DIGITS: Final = 12


@router.post(
    "",
    response_class=Response,
    operation_id="stream_ui_chat",
    responses={200: {**_CHUNKS, "headers": AI_SDK_JOB}, **describe_ai_sdk_errors(400, 409, 410, 413, 415, 422, 429)},
    openapi_extra={"parameters": [_RESET, IDEMPOTENCY_KEY], **json_body(UiChatRequest)},
)
async def chat(request: Request) -> Response:
    """Queues the answer to the chat's messages and streams it. An answer of the chat that still runs is cancelled,
    unless `readalong.thread_policy` says otherwise."""
    deps, reset = dependencies_of(request), _reset_of(request)
    pairs = await deps.policy.submit(request.headers)
    raw, body = await read_untyped_json(request, deps.settings.max_body_bytes)
    asked = await off_loop(len(raw), ai_sdk_request, body)
    key = request.headers.get("idempotency-key")
    kept = () if asked.continued is None else ((_CONTINUED, orjson.dumps(asked.continued)),)
    original = OriginalRequest(body, kept)
    record = await deps.submitter.submit(
        asked.raw, asked.body, key, pairs, chat=False, turn=asked.turn, original=original
    )
    with submitting():
        feed = await deps.hub.feed(record.id, 0)
    return _stream(request, deps, feed, _format(deps.settings, asked.continued, reset))


@router.get(
    "/{chat_id}/stream",
    response_class=Response,
    operation_id="resume_ui_chat",
    responses={
        200: {**_CHUNKS, "headers": AI_SDK_RESUMED},
        204: {"description": "No answer of the chat runs."},
        **describe_ai_sdk_errors(400, 404, 422),
    },
    openapi_extra={"parameters": [_CHAT_ID, _INDEX, _RESET]},
)
async def resume(request: Request) -> Response:
    """Streams the chat's answer that runs, or a job's, from its first chunk or from `startIndex` on."""
    deps, reset, index = dependencies_of(request), _reset_of(request), _index_of(request)
    pairs = await deps.policy.submit(request.headers)
    record = await _find(request, deps, pairs)
    if record is None and index is not None and index > 0:
        record = await _find_newest(request, deps, pairs)
    if record is None:
        if index is None:
            return Response(status_code=204)
        if index > 0:
            raise JobNotFound("This answer does not exist any more.")
        # To a WorkflowChatTransport a 204 is an error, and an empty stream a break.
        return Response(NOTHING, headers={**_VERSION}, media_type="text/event-stream")
    _, [kept] = await deps.log.record_with(record.id, _CONTINUED)
    with readable(record.id):
        continued = None if kept is None else orjson.loads(kept)
        wire = _format(deps.settings, continued, reset)
        parts = b"" if continued is None or index is not None else parts_as_chunks(continued["parts"])
    cut: Cut | None = None
    tail = {}
    if index is not None and index < 0:
        index, current = await _from_the_end(request, deps, record.id, wire, index)
        tail = {_TAIL: str(current)}
    if index:
        cut = FromChunk(index)
    elif index is None and continued is not None:
        cut = Continued(parts)
    feed = await deps.hub.feed(record.id, 0)
    return _stream(request, deps, feed, wire, cut=cut, headers=tail)


@router.post(
    "/{chat_id}/stop",
    response_model=UiStopped,
    operation_id="stop_ui_chat",
    responses=describe_ai_sdk_errors(400, 413, 415, 422),
    openapi_extra={"parameters": [_CHAT_ID], **json_body(UiStopRequest, required=False)},
)
async def stop(request: Request) -> Response:
    """Cancels the chat's answer that runs, or a job. An `activeStreamId` in the body that is another answer's, as a
    stop that comes late has it, cancels nothing."""
    deps = dependencies_of(request)
    pairs = await deps.policy.submit(request.headers)
    _, body = await read_untyped_json(request, deps.settings.max_body_bytes)
    meant = body.get("activeStreamId")
    record = await _find(request, deps, pairs, change=True)
    if record is not None and meant in (None, record.id, f"msg_{record.id}"):
        await job_ending.cancel(deps, record.id)
    return Response(b'{"success":true}', media_type="application/json")


async def _find(
    request: Request, deps: Dependencies, pairs: Mapping[str, str], *, change: bool = False
) -> Record | None:
    """Returns the job of the chat that the path names, if it runs, or else the job that the path names, also one that
    has ended; None if there is none, also for the policy. `change`: the job is to be cancelled, so it must run."""
    name = request.path_params["chat_id"]
    of_chat = await _jobs_of(deps, ThreadRef.of(name, pairs)) if len(name) <= MAX_NAME_LENGTH else []
    authorize = deps.authorize_change if change else deps.authorize_watch
    for job_id in of_chat:
        await authorize(request, job_id)
        record = await deps.log.record(job_id)
        if record is not None and not record.ended:
            return record
    if not is_job_id(name):
        return None
    try:
        await authorize(request, name)
    except (JobNotFound, Forbidden):
        return None  # chats' ids look like jobs'
    record = await deps.log.record(name)
    return None if record is None or (change and record.ended) else record


async def _find_newest(request: Request, deps: Dependencies, pairs: Mapping[str, str]) -> Record | None:
    """Returns the newest job of the chat that the path names. A WorkflowChatTransport that was loaded anew knows no
    other name, and the answer may end while it reconnects."""
    name = request.path_params["chat_id"]
    jobs = await deps.threads.jobs(ThreadRef.of(name, pairs)) if len(name) <= MAX_NAME_LENGTH else []
    if not jobs:
        return None
    await deps.authorize_watch(request, jobs[-1])
    return await deps.log.record(jobs[-1])


async def _jobs_of(deps: Dependencies, thread: ThreadRef) -> list[str]:
    """Returns the jobs of which the first that has not ended answers the chat: the one that runs, and the newest, which
    waits for it. One that is about to end, since the newest takes its place, is left out."""
    running = await deps.threads.running(thread)
    if running is None:
        return []
    newest = (await deps.threads.jobs(thread))[-1:]
    if newest in ([], [running]):
        return [running]
    ends = (await deps.threads.place(thread, running)).drop
    return newest if ends else [running, *newest]


def _stream(
    request: Request,
    deps: Dependencies,
    feed: Feed,
    wire: AiSdkStream,
    *,
    cut: Cut | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    job_id = feed.job_id
    head = {
        **_VERSION,
        **KEEP_ALIVE,
        _RUN: job_id,
        "x-job-id": job_id,
        "location": path_of(job_id, root_path_of(request)),
        **(headers or {}),
    }
    response = SseResponse(
        deps.hub, feed, wire, 0, send_timeout=deps.settings.send_timeout, headers=head, cut=cut, farewell=None
    )
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

    def add(events: list[Event]) -> None:
        for event in events:
            encoder.encode(event)

    await deps.log.read_all(job_id, add, check=partial(check_presence, request))
    count = encoder.chunks
    first = max(0, count + index)
    if encoder.opened_at is not None and first > encoder.opened_at:
        first = encoder.opened_at
    return first, min(count, first - index) - 1


def _format(settings: Settings, continued: dict[str, Any] | None, reset: Reset | None) -> AiSdkStream:
    return AiSdkStream(reset or settings.ai_sdk_reset, "" if continued is None else continued["id"])


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


#: Served without FastAPI's router: pages wait for these before their first token.
DIRECT: Final = (
    ("POST", "/api/chat", chat),
    ("GET", "/api/chat/{chat_id}/stream", resume),
    ("HEAD", "/api/chat/{chat_id}/stream", resume),
    ("POST", "/api/chat/{chat_id}/stop", stop),
)
