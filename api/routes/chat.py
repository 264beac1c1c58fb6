"""`POST /chat/stream`: submit and watch in one, in the form that existing front ends read."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.body import read_json
from api.event_stream import EventStream
from api.formats.chat_stream import chat_stream
from api.problems import responses
from api.routes.jobs import BODY, Key, Used
from api.routes.route import Route
from api.submit import submit

router = APIRouter(tags=["chat"], route_class=Route)


@router.post(
    "/chat/stream",
    response_class=Response,
    responses={
        200: {
            "description": 'Lines `data: {"content": "…"}`, one for each piece; tool and function calls, a restart, a '
            "cancel and an error under their own names; `data: [DONE]` at the end. `X-Job-Id` names the job.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **responses(400, 409, 410, 413, 422, 429, 503),
    },
    openapi_extra=BODY,
)
async def stream_chat(request: Request, used: Used, idempotency_key: Key = None) -> Response:
    """Queues a chat job and streams its answer."""
    raw, body = await read_json(request, used.settings.max_body_bytes)
    record = await submit(used, raw, body, idempotency_key, chat=True)
    feed = await used.hub.feed(record.id, 0)
    headers = {"x-job-id": record.id, "location": f"/v1/jobs/{record.id}"}
    return EventStream(used.hub, feed, chat_stream, 0, send_timeout=used.settings.send_timeout, headers=headers)
