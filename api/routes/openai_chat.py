"""`/v1/chat/completions`: OpenAI's chat completions, streaming and not, and what is stored of them."""

from __future__ import annotations

from enum import Enum
from functools import partial
from typing import Final

import orjson
from fastapi import APIRouter, Request
from starlette.background import BackgroundTask
from starlette.responses import Response

from readalong.api.auth.policy import job_not_found
from readalong.api.dependencies import Dependencies, dependencies_of
from readalong.api.error_handlers import request_id
from readalong.api.face_schemas import ChatCompletion, ChatCompletionStreamItem
from readalong.api.fanout.end_watcher import wait_for_end, wait_until
from readalong.api.fanout.feed import Feed
from readalong.api.fanout.sse_response import KEEP_ALIVE, SseResponse
from readalong.api.http.client_presence import check_presence
from readalong.api.http.request_body import read_json
from readalong.api.openapi import IDEMPOTENCY_KEY, event_stream, json_body
from readalong.api.problems import describe_openai_errors, json_content
from readalong.api.request_schemas import ChatCompletionRequest
from readalong.api.response_headers import LINK, OPENAI_JOB
from readalong.api.routes.job_reading import root_path_of
from readalong.api.routes.openai_completions import completion_id, failure_of, read_completion
from readalong.api.routes.route import Route
from readalong.api.schemas import path_of
from readalong.api.submission.openai_chat_request import ChatCall, read_call
from readalong.api.submission.retries import answering, is_retry
from readalong.api.wire.openai_chat import ChatParameters, OneAnswer, openai_chat
from readalong.core.errors import JobFailed
from readalong.core.states import TERMINAL, Status
from readalong.store.job_record import Record

router = APIRouter(prefix="/v1/chat/completions", tags=["OpenAI chat completions"], route_class=Route)

#: Seconds for which the head of a stream waits for the first chunk: until then an error has a status.
_HEAD_WAIT: Final = 5.0
#: Events that are no answer.
_SILENT: Final = frozenset({"queued", "waiting"})
_FAILURES: Final = TERMINAL - {Status.DONE}


@router.post(
    "",
    response_class=Response,
    responses={
        200: {
            "description": "The completion, or with `stream` its chunks, up to `data: [DONE]`.",
            "content": {**json_content(ChatCompletion), **event_stream(ChatCompletionStreamItem)},
            "headers": {**OPENAI_JOB, **LINK},
        },
        **describe_openai_errors(400, 404, 409, 413, 415, 429, 502, 504),
    },
    operation_id="create_chat_completion",
    openapi_extra={"parameters": [IDEMPOTENCY_KEY], **json_body(ChatCompletionRequest)},
)
async def create_completion(request: Request) -> Response:
    """Queues a chat job and answers with its completion, as OpenAI's API does."""
    deps = dependencies_of(request)
    pairs = await deps.policy.submit(request.headers)
    call = read_call(*await read_json(request, deps.settings.max_body_bytes))
    key = request.headers.get("idempotency-key")
    record = await deps.submitter.submit(call.raw, call.body, key, pairs, chat=True, retried=is_retry(request))
    async with answering(deps.retries, record, key, pairs):
        feed = await deps.hub.feed(record.id, 0)
        if call.stream:
            return await _stream(request, deps, record, feed, call)
        await wait_for_end(deps, request, feed)
        return await _whole(request, deps, record.id)


async def _stream(request: Request, deps: Dependencies, record: Record, feed: Feed, call: ChatCall) -> Response:
    wire = openai_chat(
        ChatParameters(
            completion_id(record.id), record.created_at // 1000, record.model, call.choices, call.include_usage
        )
    )
    headers = {**KEEP_ALIVE, **_headers(request, record.id)}
    cut = OneAnswer(record.id, f"{headers['location']}/events", partial(deps.retries.answers, record))
    # Made before the wait: the first chunk would be later by a tenth of a millisecond.
    timeout = deps.settings.send_timeout
    stream = SseResponse(deps.hub, feed, wire, 0, send_timeout=timeout, headers=headers, cut=cut, farewell=cut.farewell)
    await wait_until(deps, request, feed, lambda: _answer(feed) is not Answer.NONE, _HEAD_WAIT, stay=True)
    if _answer(feed) is Answer.FAILED:
        deps.hub.release(feed)
        raise await _failure(deps, record.id)
    return stream


async def _whole(request: Request, deps: Dependencies, job_id: str) -> Response:
    """Returns the completion of a job that has ended."""
    record = await deps.log.record(job_id)
    if record is None:
        raise job_not_found(job_id)
    if record.status is not Status.DONE:
        raise await _failure(deps, job_id)
    body = orjson.dumps(await read_completion(request, deps, record))
    await check_presence(request)
    answered = BackgroundTask(deps.retries.answered, record)
    return Response(body, 200, _headers(request, job_id), media_type="application/json", background=answered)


async def _failure(deps: Dependencies, job_id: str) -> JobFailed:
    """Returns the error of a job that has ended without an answer. A repeat of its submit is a job of its own."""
    record = await deps.log.record(job_id)
    if record is None:
        raise job_not_found(job_id)
    await deps.retries.answered(record)
    return failure_of(record)


def _headers(request: Request, job_id: str) -> dict[str, str]:
    path = path_of(job_id, root_path_of(request))
    return {
        "x-job-id": job_id,
        "location": path,
        "link": f'<{path}/events>; rel="events", <{path}/cancel>; rel="cancel"',
        "x-request-id": request_id(request),
    }


class Answer(Enum):
    """What a job has said: nothing, something, or that it has failed before it said something."""

    NONE = "none"
    BEGUN = "begun"
    FAILED = "failed"


def _answer(feed: Feed) -> Answer:
    events = feed.all_events()
    if events is None:
        return Answer.BEGUN  # there are too many to be kept
    for event in reversed(events):
        if event.type in ("started", "restarted"):
            break
        if event.type not in _SILENT | _FAILURES:
            return Answer.BEGUN
    return Answer.FAILED if events and events[-1].type in _FAILURES else Answer.NONE


#: Served without FastAPI's router: clients wait for these before their first token.
DIRECT: Final = (("POST", "/v1/chat/completions", create_completion),)
