"""`/v1/chat/completions/{id}` and their list: retrieve, update, delete. Every job is a completion."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from readalong.api.auth.policy import job_not_found
from readalong.api.dependencies import Dependencies, Deps, dependencies_of
from readalong.api.face_schemas import (
    ChatCompletion,
    ChatCompletionDeleted,
    ChatCompletionList,
    CompletionMessageList,
)
from readalong.api.http.client_presence import check_presence
from readalong.api.http.request_body import read_json
from readalong.api.openapi import json_body
from readalong.api.problems import describe_openai_errors
from readalong.api.request_schemas import MetadataUpdate
from readalong.api.routes import job_ending
from readalong.api.routes.job_reading import root_path_of
from readalong.api.routes.jobs_page import Filters, read_page
from readalong.api.routes.route import Route, add_head_routes
from readalong.api.schemas import path_of
from readalong.api.submission.chat_request import check_metadata
from readalong.api.wire.openai_completion import ChatCompletionFold
from readalong.core.errors import InvalidRequest, JobFailed, JobNotFound
from readalong.core.keys import is_job_id
from readalong.core.states import Status
from readalong.store.broken_keys import readable
from readalong.store.job_index import Cursor
from readalong.store.job_record import Record

router = APIRouter(prefix="/v1/chat/completions", tags=["OpenAI chat completions"], route_class=Route)

_PREFIX: Final = "chatcmpl-"
#: Bytes of a list's answers after which it ends; `has_more` tells that others follow.
_MAX_LIST_BYTES: Final = 8_388_608
_METADATA: Final = re.compile(r"metadata\[(.+)\]", re.DOTALL)
_ERRORS: Final = describe_openai_errors(404)
_Id = Annotated[str, Path(alias="completion_id", description="`chatcmpl-` and the job's id.")]


def completion_id(job_id: str) -> str:
    """Returns the id of a job's completion."""
    return f"{_PREFIX}{job_id}"


def failure_of(record: Record) -> JobFailed:
    """Returns the error of a job that has ended without an answer."""
    if record.status is Status.CANCELLED or record.error is None:
        return JobFailed("The job was cancelled.", code="cancelled", job_id=record.id)
    return JobFailed(
        record.error["message"],
        code=record.error["code"],
        job_id=record.id,
        param=record.error.get("param"),
        model_code=record.error.get("model_code"),
    )


async def read_completion(request: Request, deps: Dependencies, record: Record) -> dict[str, Any]:
    """Returns the completion so far, from the whole log.

    Raises JobNotFound if Redis has lost the log, BrokenJob, StoreUnavailable, and ClientDisconnect when the client
    leaves meanwhile.
    """
    fold = ChatCompletionFold()
    with readable(record.id):
        check = partial(check_presence, request)
        await deps.log.read_all(record.id, fold.add_all, until=record.last_seq, check=check)
    if record.ended and not fold.ended:
        raise job_not_found(record.id)
    return _completion(request, record, fold)


def _completion(request: Request, record: Record, fold: ChatCompletionFold) -> dict[str, Any]:
    completion = fold.as_json(completion_id(record.id), record.created_at // 1000, record.model)
    path = path_of(record.id, root_path_of(request))
    completion["metadata"] = record.metadata
    completion["readalong"] = {"status": record.status, "error": record.error, "job": path}
    return completion


@router.get(
    "",
    response_model=ChatCompletionList,
    responses=describe_openai_errors(400),
    operation_id="list_chat_completions",
)
async def list_completions(
    request: Request,
    deps: Deps,
    *,
    after: Annotated[str | None, Query(description="The last id of the previous page.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    model: Annotated[str | None, Query(min_length=1, description="Only completions of this model.")] = None,
    order: Annotated[Literal["asc", "desc"], Query(description="By time of creation.")] = "asc",
) -> Response:
    """Lists completions that are done, with `metadata[key]=value` only those with these pairs. The list has their texts
    and calls; a completion that is retrieved has all else, too."""
    shows = await deps.policy.list(request.headers)
    cursor = None if after is None else await _cursor(deps, after, shows)
    wanted = {found[1]: value for name, value in request.query_params.items() if (found := _METADATA.fullmatch(name))}

    def matches(record: Record) -> bool:
        return shows(record) and all(record.metadata.get(key) == value for key, value in wanted.items())

    page = await read_page(
        deps,
        cursor,
        limit,
        Filters(state=Status.DONE, model=model, since=None, until=None, shows=matches),
        check=partial(check_presence, request),
        newest_first=order == "desc",
    )
    data: list[bytes] = []
    ids: list[str] = []
    size = 0
    for record in page.records:
        await check_presence(request)
        fold = ChatCompletionFold()
        with readable(record.id):
            fold.add_all(await deps.log.newest(record.id, 1))
        if not fold.ended:
            continue  # erased meanwhile
        completion = orjson.dumps(_completion(request, record, fold))
        size += len(completion)
        if data and size > _MAX_LIST_BYTES:
            break
        data.append(completion)
        ids.append(completion_id(record.id))
    more = page.next is not None or len(data) < len(page.records)
    return _list(data, ids[0] if ids else None, ids[-1] if ids else None, more=more)


@router.get("/{completion_id}", response_model=ChatCompletion, responses=_ERRORS, operation_id="get_chat_completion")
async def retrieve_completion(request: Request, completion_id: _Id) -> Response:
    """Returns a completion. One that has not ended is there too, with what it says so far."""
    deps, job_id = dependencies_of(request), await _authorized(request, completion_id)
    record = await _record(deps, job_id)
    return _json(await read_completion(request, deps, record))


@router.post(
    "/{completion_id}",
    response_model=ChatCompletion,
    responses=describe_openai_errors(400, 404, 413, 415),
    operation_id="update_chat_completion",
    openapi_extra=json_body(MetadataUpdate),
)
async def update_completion(request: Request, completion_id: _Id) -> Response:
    """Replaces a completion's metadata, but for the pairs that the policy set."""
    deps, job_id = dependencies_of(request), await _authorized(request, completion_id, change=True)
    _, body = await read_json(request, deps.settings.max_body_bytes)
    for name in body:
        if name != "metadata":
            raise InvalidRequest(f"{name}: only metadata can be changed.", field=name, mistake="unknown")
    if not isinstance(body.get("metadata"), dict | None) or "metadata" not in body:
        mistake = "type" if "metadata" in body else "missing"
        raise InvalidRequest("metadata must be an object or null.", field="metadata", mistake=mistake)
    given: dict[str, Any] = body["metadata"] or {}
    check_metadata(given)
    record = await _record(deps, job_id)
    if record.policy_keys is None:
        raise InvalidRequest(
            "An earlier version wrote this job; its metadata cannot be changed.",
            field="metadata",
            mistake="unsupported",
        )
    metadata = given | {key: record.metadata[key] for key in record.policy_keys if key in record.metadata}
    if not await deps.log.set_metadata(job_id, orjson.dumps(metadata)):
        raise _not_found(completion_id)
    return _json(await read_completion(request, deps, await _record(deps, job_id)))


@router.delete(
    "/{completion_id}",
    response_model=ChatCompletionDeleted,
    responses=_ERRORS,
    operation_id="delete_chat_completion",
)
async def delete_completion(request: Request, completion_id: _Id) -> Response:
    """Cancels a job that has not ended, and erases everything that Redis holds of it."""
    deps, job_id = dependencies_of(request), await _authorized(request, completion_id, change=True)
    try:
        await job_ending.erase(deps, job_id)
    except JobNotFound:
        raise _not_found(completion_id) from None
    deleted = {"object": "chat.completion.deleted", "id": completion_id, "deleted": True}
    return Response(orjson.dumps(deleted), media_type="application/json")


@router.get(
    "/{completion_id}/messages",
    response_model=CompletionMessageList,
    responses=describe_openai_errors(400, 404),
    operation_id="list_chat_completion_messages",
)
async def list_messages(
    request: Request,
    completion_id: _Id,
    *,
    after: Annotated[str | None, Query(description="The last id of the previous page.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Annotated[Literal["asc", "desc"], Query()] = "asc",
) -> Response:
    """Lists the messages of a completion's request, while that is kept (`READALONG_KEEP_REQUEST`)."""
    deps, job_id = dependencies_of(request), await _authorized(request, completion_id)
    await _record(deps, job_id)
    raw = await deps.log.request(job_id)
    if raw is None:
        raise JobNotFound("The messages of this completion are not kept; READALONG_KEEP_REQUEST keeps them.")
    with readable(job_id):
        messages = [
            {**message, "id": f"{completion_id}-{number}", "content_parts": None} | _parts(message)
            for number, message in enumerate(orjson.loads(raw)["messages"])
        ]
    if order == "desc":
        messages.reverse()
    ids = [message["id"] for message in messages]
    if after is not None and after not in ids:
        raise InvalidRequest("after must be the id of a message.", field="after")
    start = 0 if after is None else ids.index(after) + 1
    some = messages[start : start + limit]
    first, last = (some[0]["id"], some[-1]["id"]) if some else (None, None)
    return _list([orjson.dumps(message) for message in some], first, last, more=start + limit < len(messages))


def _parts(message: dict[str, Any]) -> dict[str, Any]:
    """Returns what OpenAI says of a content that is a list of parts: its text, and the parts."""
    content = message.get("content")
    if not isinstance(content, list):
        return {}
    texts = (part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text")
    return {"content": "".join(text for text in texts if isinstance(text, str)) or None, "content_parts": content}


async def _cursor(deps: Dependencies, after: str, shows: Callable[[Record], bool]) -> Cursor:
    """Returns the place in the list that `after` names. Raises InvalidRequest."""
    job_id = after.removeprefix(_PREFIX)
    record = await deps.log.record(job_id) if after.startswith(_PREFIX) and is_job_id(job_id) else None
    if record is None or not shows(record):
        raise InvalidRequest(f"after: there is no completion {after}.", field="after")
    return Cursor(record.created_at, record.id)


async def _authorized(request: Request, completion: str, *, change: bool = False) -> str:
    """Returns the id of the job. An unknown completion and one that the policy hides have the same error.

    Raises JobNotFound, Unauthorized, Forbidden, StoreUnavailable.
    """
    deps, job_id = dependencies_of(request), completion.removeprefix(_PREFIX)
    try:
        if not completion.startswith(_PREFIX) or not is_job_id(job_id):
            raise job_not_found(job_id)
        await (deps.authorize_change if change else deps.authorize_watch)(request, job_id)
    except JobNotFound:
        raise _not_found(completion) from None
    return job_id


async def _record(deps: Dependencies, job_id: str) -> Record:
    record = await deps.log.record(job_id)
    if record is None:
        raise _not_found(completion_id(job_id))
    return record


def _not_found(completion: str) -> JobNotFound:
    return JobNotFound(f"Chat completion with id '{completion}' not found.")


def _json(completion: dict[str, Any]) -> Response:
    return Response(orjson.dumps(completion), media_type="application/json")


def _list(data: list[bytes], first: str | None, last: str | None, *, more: bool) -> Response:
    tail = orjson.dumps({"first_id": first, "last_id": last, "has_more": more})[1:]
    return Response(b'{"object":"list","data":[%b],%b' % (b",".join(data), tail), media_type="application/json")


add_head_routes(router)
