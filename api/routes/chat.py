"""`POST /chat/stream`: submits and watches in one call, in a plain format for front ends."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from readalong.api.dependencies import dependencies_of
from readalong.api.face_schemas import ChatStreamLine
from readalong.api.fanout.sse_response import SseResponse
from readalong.api.http.request_body import read_json
from readalong.api.openapi import CHAT_REQUEST, IDEMPOTENCY_KEY, event_stream, parameter
from readalong.api.problems import describe_problems
from readalong.api.response_headers import JOB
from readalong.api.routes.job_reading import root_path_of
from readalong.api.routes.route import Route
from readalong.api.schemas import path_of
from readalong.api.submission.gone import submitting
from readalong.api.wire.chat_stream import OneText, chat_stream
from readalong.core.errors import InvalidRequest

router = APIRouter(tags=["chat"], route_class=Route)

_TRUE: Final = frozenset({"1", "true"})
_FALSE: Final = frozenset({"", "0", "false"})
_RESTARTED: Final = parameter(
    "restarted",
    "query",
    "`true`: a lost worker is a line `restarted`, and the text starts over. Else it is an error.",
)


@router.post(
    "/chat/stream",
    response_class=Response,
    responses={
        200: {
            "description": 'Lines `data: {"content": "…"}`, one for each piece of text. Tool and function calls, a '
            "restart, a cancel and an error are fields of their own beside an empty `content`. The last line is "
            "`data: [DONE]`.",
            "content": event_stream(ChatStreamLine),
            "headers": JOB,
        },
        **describe_problems(400, 409, 410, 413, 415, 422, 429),
    },
    openapi_extra={"parameters": [_RESTARTED, IDEMPOTENCY_KEY], **CHAT_REQUEST},
)
async def stream_chat(request: Request) -> Response:
    """Queues a chat job and streams the answer."""
    deps = dependencies_of(request)
    restarts = _parse_flag(request.query_params.get("restarted"))
    pairs = await deps.policy.submit(request.headers)
    raw, body = await read_json(request, deps.settings.max_body_bytes)
    key = request.headers.get("idempotency-key")
    record = await deps.submitter.submit(raw, body, key, pairs, chat=True)
    with submitting():
        feed = await deps.hub.feed(record.id, 0)
    headers = {"x-job-id": record.id, "location": path_of(record.id, root_path_of(request))}
    cut = None if restarts else OneText(record.id)
    return SseResponse(
        deps.hub, feed, chat_stream, 0, send_timeout=deps.settings.send_timeout, headers=headers, cut=cut
    )


def _parse_flag(restarted: str | None) -> bool:
    if restarted is None or restarted.lower() in _FALSE:
        return False
    if restarted.lower() in _TRUE:
        return True
    raise InvalidRequest("restarted must be true or false.", code="invalid_parameter", field="restarted")


#: Served without FastAPI's router: clients wait for this before their first token.
DIRECT: Final = (("POST", "/chat/stream", stream_chat),)
