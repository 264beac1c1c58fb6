"""`/v1/responses`: OpenAI's Responses API, for clients as they are."""

from __future__ import annotations

from typing import Any, Final

import orjson
from fastapi import APIRouter, Request
from starlette.background import BackgroundTask
from starlette.responses import Response

from readalong.api.dependencies import Dependencies, dependencies_of
from readalong.api.error_handlers import request_id
from readalong.api.face_schemas import ItemList, ResponseDeleted, ResponseEvent, ResponseObject
from readalong.api.fanout.end_watcher import wait_for_end, wait_until
from readalong.api.fanout.feed import Feed
from readalong.api.fanout.sse_response import KEEP_ALIVE, SseResponse
from readalong.api.http.client_presence import check_presence
from readalong.api.http.request_body import off_loop, read_json
from readalong.api.openapi import IDEMPOTENCY_KEY, event_stream, json_body, parameter
from readalong.api.problems import describe_openai_errors, json_content
from readalong.api.request_schemas import ResponseRequest
from readalong.api.response_headers import OPENAI_JOB, OPENAI_STREAM
from readalong.api.routes import job_ending, response_threads
from readalong.api.routes.job_reading import root_path_of
from readalong.api.routes.response_reading import (
    ECHO,
    INPUT,
    NOT_STORED,
    FoundResponse,
    find_items,
    find_response,
    input_items,
    job_id_of,
    response_json,
    response_not_found,
)
from readalong.api.routes.route import Route, add_head_routes
from readalong.api.schemas import path_of
from readalong.api.submission import openai_mistakes as check
from readalong.api.submission.responses_items import references
from readalong.api.submission.responses_request import INCLUDES, ResponsesRequest, translate
from readalong.api.submission.retries import answering, is_retry
from readalong.api.submission.submitter import OriginalRequest
from readalong.api.wire.format import Cut
from readalong.api.wire.openai_responses.response_object import ResponseHead
from readalong.api.wire.openai_responses.responses_format import ResponsesFormat
from readalong.api.wire.openai_responses.starting_after import StartingAfter, UntilLost
from readalong.core.errors import JobNotFound
from readalong.core.states import Status
from readalong.core.thread_entries import Entry, compose
from readalong.store.broken_keys import readable
from readalong.store.job_record import Record

router = APIRouter(prefix="/v1/responses", tags=["OpenAI responses"], route_class=Route)

_FLAGS: Final = {"true": True, "1": True, "false": False, "0": False, "": False}
_LIMITS: Final = (1, 100)
_ID: Final = parameter("response_id", "path", "`resp_` and the job's id.", required=True)
_INCLUDE: Final = parameter("include", "query", "As at OpenAI.", enum=list(INCLUDES))
_READ: Final = (
    parameter("stream", "query", "The response comes as events, from its first one.", type="boolean"),
    parameter("starting_after", "query", "Only events with a higher number.", type="integer", minimum=0),
    _INCLUDE,
)
_PAGE: Final = (
    parameter("limit", "query", "Items of a page.", type="integer", minimum=1, maximum=100, default=20),
    parameter("order", "query", "By place in the request.", enum=["asc", "desc"], default="desc"),
    parameter("after", "query", "Only items behind this one."),
    parameter("before", "query", "Only items before this one."),
)
_WHOLE_OR_STREAM: Final[dict[str, Any]] = {
    "description": "The response, or its events.",
    "content": {**json_content(ResponseObject), **event_stream(ResponseEvent)},
}
#: Seconds that a cancel waits for the worker.
_CANCEL_TIMEOUT: Final = 5.0


@router.post(
    "",
    response_class=Response,
    responses={
        200: {**_WHOLE_OR_STREAM, "headers": OPENAI_JOB},
        **describe_openai_errors(400, 404, 409, 413, 415, 429),
    },
    openapi_extra={"parameters": [IDEMPOTENCY_KEY], **json_body(ResponseRequest)},
)
async def create_response(request: Request) -> Response:
    """Queues a response: answers it whole, as a stream, or at once if it runs in the background."""
    deps = dependencies_of(request)
    pairs = await deps.policy.submit(request.headers)
    raw, body = await read_json(request, deps.settings.max_body_bytes)
    thread = await response_threads.conversation(deps, body, pairs)
    known = await find_items(request, deps, references(body.get("input")), thread)
    model = body.get("model") or deps.settings.model
    native = isinstance(model, str) and deps.settings.speaks_responses(model)
    asked = await off_loop(len(raw), _translate, (body, known, native))
    parent = await response_threads.followed(request, deps, asked, pairs)
    before = [] if asked.store else await response_threads.history(deps, thread, parent)
    chat = await off_loop(len(raw), _chat_request, (asked, before, native))
    key = request.headers.get("idempotency-key")
    original = OriginalRequest(body, _kept(asked))
    record = await deps.submitter.submit(
        chat,
        asked.chat,
        key,
        pairs,
        chat=not asked.background,
        retried=is_retry(request),
        turn=response_threads.turn_of(asked, parent),
        original=original,
    )
    head = ResponseHead(record.id, record.model, record.created_at, asked.echo)
    async with answering(deps.retries, record, key, pairs):
        if asked.background and not asked.stream:
            return await _whole(request, deps, record, head)
        feed = await deps.hub.feed(record.id, 0)
        if asked.stream:
            return _stream(deps, feed, head, OnAnswer(deps, record), _headers(request, record))
        await wait_for_end(deps, request, feed)
        return await _whole(request, deps, record, head)


@router.get(
    "/{response_id}",
    response_class=Response,
    responses={200: {**_WHOLE_OR_STREAM, "headers": OPENAI_STREAM}, **describe_openai_errors(400, 404)},
    openapi_extra={"parameters": [_ID, *_READ]},
)
async def get_response(request: Request) -> Response:
    """Returns a response, or streams all its events, or those after a number."""
    deps, query = dependencies_of(request), request.query_params
    stream = _parse_flag(query.get("stream"), "stream")
    if _parse_flag(query.get("include_obfuscation"), "include_obfuscation"):
        raise check.unsupported("include_obfuscation", "is not supported: the events have no padding")
    for name in ("include", "include[]"):
        for value in query.getlist(name):
            if value not in INCLUDES:
                raise check.wrong_value("include", value, INCLUDES)
    after = _parse_integer(query.get("starting_after"), "starting_after", 0, None)
    found = await _find(request, deps)
    if not stream:
        if after is not None:
            raise check.unsupported("starting_after", "is only supported when 'stream' is set to true")
        return _json(await response_json(request, deps, found.record, found.head))
    feed = await _feed(deps, found)
    response = _stream(
        deps, feed, found.head, None if after is None else StartingAfter(after), _headers(request, found.record)
    )
    return response.head() if request.method == "HEAD" else response


@router.post(
    "/{response_id}/cancel",
    response_model=ResponseObject,
    responses=describe_openai_errors(400, 404),
    openapi_extra={"parameters": [_ID]},
)
async def cancel_response(request: Request) -> Response:
    """Cancels a response that runs in the background."""
    deps, job_id = dependencies_of(request), job_id_of(request.path_params["response_id"])
    found = await _find(request, deps, change=True)
    with readable(job_id):
        background = orjson.loads(found.head.echo)["background"]
    if not background:
        raise check.mistake("Cannot cancel a synchronous response.", "not_cancellable")
    if found.record.status in (Status.DONE, Status.FAILED):
        what = "completed" if found.record.status is Status.DONE else "failed"
        raise check.mistake(f"Cannot cancel a {what} response.", "not_cancellable")
    if await job_ending.cancel(deps, job_id) is None:
        raise response_not_found(found.head.id)
    # OpenAI's answer says `cancelled`; the worker has the flag at once, and closes its model's stream first.
    feed = await _feed(deps, found)
    await wait_until(deps, request, feed, lambda: feed.ended, _CANCEL_TIMEOUT)
    return _json(await _read_again(request, deps, job_id, found.head))


@router.delete(
    "/{response_id}",
    response_model=ResponseDeleted,
    responses=describe_openai_errors(400, 404),
    openapi_extra={"parameters": [_ID]},
)
async def delete_response(request: Request) -> Response:
    """Cancels a response that has not ended, and erases everything that Redis holds of it."""
    deps, job_id = dependencies_of(request), job_id_of(request.path_params["response_id"])
    found = await _find(request, deps, change=True)
    try:
        await job_ending.erase(deps, job_id)
    except JobNotFound:
        raise response_not_found(found.head.id) from None
    return _json(orjson.dumps({"id": found.head.id, "object": "response.deleted", "deleted": True}))


@router.get(
    "/{response_id}/input_items",
    response_model=ItemList,
    responses=describe_openai_errors(400, 404),
    openapi_extra={"parameters": [_ID, *_PAGE]},
)
async def list_input_items(request: Request) -> Response:
    """Lists what the request gave as its input."""
    deps, query = dependencies_of(request), request.query_params
    limit = _parse_integer(query.get("limit"), "limit", *_LIMITS) or 20
    order = check.choice(dict(query), "order", "order", ("asc", "desc")) or "desc"
    found = await _find(request, deps)
    items = await input_items(deps, found.record.id)
    if order == "desc":
        items.reverse()
    items = _between(items, query.get("after"), query.get("before"))
    page = items[:limit]
    listed = {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(items) > len(page),
    }
    return _json(orjson.dumps(listed))


class OnAnswer:
    """The cut of a client that creates a response. It changes nothing; with the first bytes the answer is out, and a
    repeat of the request is another one."""

    marker: Final = b""

    def __init__(self, deps: Dependencies, record: Record) -> None:
        self._deps = deps
        self._record = record
        self.done = False

    def cut(self, frames: bytes) -> tuple[bytes, bool]:
        """See `Cut.cut`."""
        self.done = True
        self._deps.retries.answers(self._record)
        return frames, False


def _translate(given: tuple[dict[str, Any], dict[str, dict[str, Any]], bool]) -> ResponsesRequest:
    body, known, native = given
    return translate(body, known, native=native)


def _chat_request(given: tuple[ResponsesRequest, list[Entry], bool]) -> bytes:
    """Returns the chat request as JSON, after these entries have come into it behind its instructions."""
    asked, before, native = given
    asked.chat["messages"][asked.leading : asked.leading] = compose(before, items=native)
    return orjson.dumps(asked.chat)


def _kept(asked: ResponsesRequest) -> tuple[tuple[str, bytes], ...]:
    """Returns the fields of the job's hash. Of a response that is not to be stored, only that."""
    if not asked.store:
        return ((ECHO, NOT_STORED),)
    return ((ECHO, asked.echo), (INPUT, orjson.dumps([entry.item for entry in asked.entries])))


async def _find(request: Request, deps: Dependencies, *, change: bool = False) -> FoundResponse:
    """Returns the response in the path, if the policy allows that. Raises JobNotFound in OpenAI's words."""
    given = request.path_params["response_id"]
    job_id = job_id_of(given)
    try:
        await (deps.authorize_change if change else deps.authorize_watch)(request, job_id)
    except JobNotFound:
        raise response_not_found(given) from None
    return await find_response(deps, job_id)


async def _feed(deps: Dependencies, found: FoundResponse) -> Feed:
    try:
        return await deps.hub.feed(found.record.id, 0)
    except JobNotFound:
        raise response_not_found(found.head.id) from None


async def _whole(request: Request, deps: Dependencies, record: Record, head: ResponseHead) -> Response:
    body = await _read_again(request, deps, record.id, head)
    await check_presence(request)
    answered = BackgroundTask(deps.retries.answered, record)
    return Response(body, 200, _headers(request, record), media_type="application/json", background=answered)


async def _read_again(request: Request, deps: Dependencies, job_id: str, head: ResponseHead) -> bytes:
    record: Record | None = await deps.log.record(job_id)
    if record is None:
        raise response_not_found(head.id)
    return await response_json(request, deps, record, head)


def _headers(request: Request, record: Record) -> dict[str, str]:
    location = path_of(record.id, root_path_of(request))
    return {"x-job-id": record.id, "location": location, "x-request-id": request_id(request)}


def _stream(
    deps: Dependencies, feed: Feed, head: ResponseHead, cut: Cut | None, headers: dict[str, str]
) -> SseResponse:
    wire, timeout = ResponsesFormat(head), deps.settings.send_timeout
    headers = {**KEEP_ALIVE, **headers}
    return SseResponse(
        deps.hub, feed, wire, 0, send_timeout=timeout, headers=headers, cut=UntilLost(cut), farewell=None
    )


def _json(body: bytes, headers: dict[str, str] | None = None) -> Response:
    return Response(body, 200, headers, media_type="application/json")


def _parse_flag(given: str | None, name: str) -> bool:
    if given is None:
        return False
    found = _FLAGS.get(given.lower())
    if found is None:
        raise check.wrong_type(name, "a boolean", given)
    return found


def _parse_integer(given: str | None, name: str, least: int, most: int | None) -> int | None:
    if given is None:
        return None
    digits = given.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 18):
        raise check.wrong_type(name, "an integer", given)
    return check.integer({name: int(given)}, name, name, least, most)


def _between(items: list[dict[str, Any]], after: str | None, before: str | None) -> list[dict[str, Any]]:
    """Returns what lies behind the one item and before the other. Raises InvalidRequest for an id that is not there."""
    ids = [item["id"] for item in items]
    for name, item_id in (("after", after), ("before", before)):
        if item_id is not None and item_id not in ids:
            raise check.mistake(f"Item with id '{item_id[:100]}' not found.", "invalid_value", name)
    first = 0 if after is None else ids.index(after) + 1
    last = len(ids) if before is None else ids.index(before)
    return items[first:last]


add_head_routes(router)

#: Served without FastAPI's router: clients wait for these before their first token.
DIRECT: Final = (("POST", "/v1/responses", create_response), ("GET", "/v1/responses/{response_id}", get_response))
