"""`POST /chat/stream`: submit and watch in one, in the form that existing front ends read."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from readalong.api.dependencies import dependencies_of
from readalong.api.fanout.chat_watcher import ChatWatcher
from readalong.api.fanout.sse_response import SseResponse
from readalong.api.fanout.watcher import Watcher
from readalong.api.http.request_body import read_json
from readalong.api.problems import responses
from readalong.api.routes.jobs import BODY, KEY, LOCATION
from readalong.api.routes.route import Route
from readalong.api.schemas import path_of
from readalong.api.submission.submit import submit
from readalong.api.wire.chat_stream import chat_stream
from readalong.core.errors import InvalidRequest, JobNotFound, StoreUnavailable

router = APIRouter(tags=["chat"], route_class=Route)

_YES: Final = frozenset({"1", "true"})
_NO: Final = frozenset({"", "0", "false"})
_RESTARTED: Final = {
    "name": "restarted",
    "in": "query",
    "required": False,
    "schema": {"type": "string"},
    "description": "`true`: a lost worker is a line `restarted`, and the text begins again; else it is an error.",
}


@router.post(
    "/chat/stream",
    response_class=Response,
    responses={
        200: {
            "description": 'Lines `data: {"content": "…"}`, one for each piece; tool and function calls, a restart, a '
            "cancel and an error under their own names beside an empty `content`; `data: [DONE]` at the end. "
            "`X-Job-Id` names the job.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
            "headers": {
                **LOCATION,
                "X-Job-Id": {"description": "The job's id.", "required": True, "schema": {"type": "string"}},
            },
        },
        **responses(400, 403, 409, 410, 413, 415, 422, 429),
    },
    openapi_extra={"parameters": [_RESTARTED, KEY], **BODY},
)
async def stream_chat(request: Request) -> Response:
    """Queues a chat job and streams its answer."""
    used = dependencies_of(request)
    watcher = Watcher if _wants(request.query_params.get("restarted")) else ChatWatcher
    pairs = await used.policy.submit(request.headers)
    raw, body = await read_json(request, used.settings.max_body_bytes)
    record = await submit(used, raw, body, request.headers.get("idempotency-key"), pairs, chat=True)
    try:
        feed = await used.hub.feed(record.id, 0)
    except JobNotFound:
        # Redis has lost it since, or a client has erased it: its repeat makes it, or is told so.
        raise StoreUnavailable("Redis has lost the job; submit it again.", retry_after=1) from None
    headers = {"x-job-id": record.id, "location": path_of(record.id, request.scope.get("root_path", ""))}
    return SseResponse(
        used.hub, feed, chat_stream, 0, send_timeout=used.settings.send_timeout, headers=headers, watcher=watcher
    )


def _wants(restarted: str | None) -> bool:
    if restarted is None or restarted.lower() in _NO:
        return False
    if restarted.lower() in _YES:
        return True
    raise InvalidRequest("restarted must be true or false.", code="invalid_parameter", field="restarted")


#: What the way to a token leads through.
HOT: Final = (("POST", "/chat/stream", stream_chat),)
