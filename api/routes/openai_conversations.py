"""`/v1/conversations`: OpenAI's conversations, which are the threads of this API, for clients as they are."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from readalong.api.dependencies import Dependencies, dependencies_of
from readalong.api.face_schemas import Conversation, ConversationDeleted, ItemList
from readalong.api.http.request_body import read_json
from readalong.api.openapi import json_body, parameter
from readalong.api.problems import describe_openai_errors
from readalong.api.request_schemas import ConversationItemsRequest, ConversationRequest, MetadataUpdate
from readalong.api.routes import threads
from readalong.api.routes.route import Route, add_head_routes
from readalong.api.submission import openai_mistakes as check
from readalong.api.submission.chat_request import MAX_KEY_LENGTH, MAX_PAIRS, MAX_VALUE_LENGTH
from readalong.api.submission.responses_items import read_input
from readalong.api.submission.responses_request import INCLUDES
from readalong.api.thread_schemas import ThreadItem
from readalong.core.errors import ThreadNotFound
from readalong.core.thread_entries import Entry
from readalong.core.thread_items import item_of
from readalong.store.threads import Thread, ThreadRef

router = APIRouter(prefix="/v1/conversations", tags=["OpenAI conversations"], route_class=Route)

_ID: Final = parameter("conversation_id", "path", "The conversation's id, or a thread's.", required=True)
_ITEM: Final = parameter("item_id", "path", "The item's id.", required=True)
_INCLUDE: Final = parameter("include", "query", "As at OpenAI. Changes nothing: items are whole.")
_PAGE: Final = (
    parameter("limit", "query", "Items of a page.", type="integer", minimum=1, maximum=100, default=20),
    parameter("order", "query", "By place in the conversation.", enum=["asc", "desc"], default="desc"),
    parameter("after", "query", "The last item of the previous page."),
    _INCLUDE,
)
_ERRORS: Final = describe_openai_errors(404)
_BODY_ERRORS: Final = describe_openai_errors(400, 404, 413, 415)

#: OpenAI's limits: items that one request adds, and those of a page.
_MAX_ITEMS: Final = 20
_MAX_PAGE: Final = 100


@router.post(
    "",
    response_model=Conversation,
    responses=describe_openai_errors(400, 413, 415),
    openapi_extra=json_body(ConversationRequest, required=False),
)
async def create_conversation(request: Request) -> Response:
    """Creates a conversation, with up to 20 items."""
    deps = dependencies_of(request)
    pairs = await deps.policy.submit(request.headers)
    body = await _body(request, deps, ("items", "metadata"))
    ref = ThreadRef.of(f"conv_{secrets.token_hex(24)}", pairs)
    await deps.threads.create(ref, _metadata(body), _entries(body.get("items")))
    return _json(_conversation(await _find(deps, ref)))


@router.get(
    "/{conversation_id}",
    response_model=Conversation,
    responses=_ERRORS,
    openapi_extra={"parameters": [_ID]},
)
async def get_conversation(request: Request) -> Response:
    """Returns a conversation."""
    deps, ref = await _named(request)
    return _json(_conversation(await _find(deps, ref)))


@router.post(
    "/{conversation_id}",
    response_model=Conversation,
    responses=_BODY_ERRORS,
    openapi_extra={"parameters": [_ID], **json_body(MetadataUpdate)},
)
async def update_conversation(request: Request) -> Response:
    """Replaces a conversation's metadata."""
    deps, ref = await _named(request)
    body = await _body(request, deps, ("metadata",))
    if "metadata" not in body:
        raise check.missing("metadata")
    metadata = _metadata(body)
    await _find(deps, ref)
    await deps.threads.set_metadata(ref, metadata)
    return _json(_conversation(await _find(deps, ref)))


@router.delete(
    "/{conversation_id}",
    response_model=ConversationDeleted,
    responses=_ERRORS,
    openapi_extra={"parameters": [_ID]},
)
async def delete_conversation(request: Request) -> Response:
    """Erases a conversation, its items and its responses."""
    deps, ref = await _named(request)
    await _find(deps, ref)
    await threads.erase(deps, request, ref)
    return _json({"id": ref.id, "object": "conversation.deleted", "deleted": True})


@router.post(
    "/{conversation_id}/items",
    response_model=ItemList,
    responses=_BODY_ERRORS,
    operation_id="create_conversation_items",
    openapi_extra={"parameters": [_ID, _INCLUDE], **json_body(ConversationItemsRequest)},
)
async def create_items(request: Request) -> Response:
    """Adds up to 20 items behind all others."""
    deps, ref = await _named(request)
    _check_include(request)
    body = await _body(request, deps, ("items",))
    if body.get("items") is None:
        raise check.missing("items")
    entries = _entries(body["items"])
    await _find(deps, ref)
    await deps.threads.add(ref, entries)
    return _json(_list(entries, has_more=False))


@router.get(
    "/{conversation_id}/items",
    response_model=ItemList,
    responses=describe_openai_errors(400, 404),
    operation_id="list_conversation_items",
    openapi_extra={"parameters": [_ID, *_PAGE]},
)
async def list_items(request: Request) -> Response:
    """Lists the items, the newest first, as OpenAI does."""
    deps, ref = await _named(request)
    _check_include(request)
    query = dict(request.query_params)
    order = check.choice(query, "order", "order", ("asc", "desc")) or "desc"
    limit = _limit(query.get("limit"))
    await _find(deps, ref)
    after = query.get("after") or ""
    try:
        found = await deps.threads.entries(ref, after, limit + 1, newest_first=order == "desc")
    except ThreadNotFound:
        raise _no_item(ref, after) from None
    return _json(_list(found[:limit], has_more=len(found) > limit))


@router.get(
    "/{conversation_id}/items/{item_id}",
    response_model=ThreadItem,
    responses=describe_openai_errors(400, 404),
    operation_id="get_conversation_item",
    openapi_extra={"parameters": [_ID, _ITEM, _INCLUDE]},
)
async def get_item(request: Request) -> Response:
    """Returns an item."""
    deps, ref = await _named(request)
    _check_include(request)
    item_id = request.path_params["item_id"]
    await _find(deps, ref)
    entry = await deps.threads.entry(ref, item_id)
    if entry is None:
        raise _no_item(ref, item_id)
    return _json(item_of(entry))


@router.delete(
    "/{conversation_id}/items/{item_id}",
    response_model=Conversation,
    responses=_ERRORS,
    operation_id="delete_conversation_item",
    openapi_extra={"parameters": [_ID, _ITEM]},
)
async def delete_item(request: Request) -> Response:
    """Erases an item. Returns the conversation."""
    deps, ref = await _named(request)
    item_id = request.path_params["item_id"]
    thread = await _find(deps, ref)
    if not await deps.threads.remove(ref, item_id):
        raise _no_item(ref, item_id)
    return _json(_conversation(thread))


async def _named(request: Request) -> tuple[Dependencies, ThreadRef]:
    deps = dependencies_of(request)
    return deps, await threads.ref_of(deps, request, request.path_params["conversation_id"])


async def _find(deps: Dependencies, ref: ThreadRef) -> Thread:
    thread = await deps.threads.get(ref)
    if thread is None:
        raise ThreadNotFound(f"Conversation with id '{ref.id}' not found.")
    return thread


def _no_item(ref: ThreadRef, item_id: str) -> ThreadNotFound:
    return ThreadNotFound(f"Item with id '{item_id}' not found in conversation '{ref.id}'.")


async def _body(request: Request, deps: Dependencies, known: Sequence[str]) -> dict[str, Any]:
    """Returns the body. Raises InvalidRequest for a parameter that is not known."""
    if not request.headers.get("content-type") and request.headers.get("content-length") in (None, "0"):
        return {}
    _, body = await read_json(request, deps.settings.max_body_bytes)
    for name in body:
        if name not in known:
            raise check.unknown(name)
    return body


def _entries(items: Any) -> list[Entry]:
    given = check.objects(items, "items")
    if len(given) > _MAX_ITEMS:
        raise check.mistake(
            f"Invalid 'items': array too long. Expected an array with maximum length {_MAX_ITEMS}, "
            f"but got an array with length {len(given)} instead.",
            "array_above_max_length",
            "items",
        )
    return read_input(given, {}, "items")


def _metadata(body: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the metadata: of strings, with OpenAI's limits."""
    pairs = check.mapping(dict(body), "metadata", "metadata")
    if len(pairs) > MAX_PAIRS:
        raise check.mistake(
            f"Invalid 'metadata': at most {MAX_PAIRS} pairs.", "object_above_max_properties", "metadata"
        )
    for key, value in pairs.items():
        param = f"metadata.{key[:MAX_KEY_LENGTH]}"
        check.needed(pairs, key, param)
        if len(key) > MAX_KEY_LENGTH or len(value) > MAX_VALUE_LENGTH:
            raise check.mistake(
                f"Invalid '{param}': string too long. Keys have at most {MAX_KEY_LENGTH} characters, "
                f"values {MAX_VALUE_LENGTH}.",
                "string_above_max_length",
                param,
            )
    return pairs


def _limit(text: str | None) -> int:
    if text is None:
        return _MAX_ITEMS
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise check.wrong_type("limit", "an integer", text)
    limit = check.integer({"limit": int(text)}, "limit", "limit", 1, _MAX_PAGE)
    return _MAX_ITEMS if limit is None else limit


def _check_include(request: Request) -> None:
    for name in ("include", "include[]"):
        for value in request.query_params.getlist(name):
            if value not in INCLUDES:
                raise check.wrong_value("include", value, INCLUDES)


def _conversation(thread: Thread) -> dict[str, Any]:
    return {
        "id": thread.id,
        "object": "conversation",
        "created_at": thread.created_at // 1000,
        "metadata": thread.metadata,
    }


def _list(entries: Sequence[Entry], *, has_more: bool) -> dict[str, Any]:
    return {
        "object": "list",
        "data": [item_of(entry) for entry in entries],
        # The SDK's type takes no null.
        "first_id": entries[0].id if entries else "",
        "last_id": entries[-1].id if entries else "",
        "has_more": has_more,
    }


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")


add_head_routes(router)
