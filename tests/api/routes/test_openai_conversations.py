"""`/v1/conversations`, asked by openai-python, whose types judge the responses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from openai._models import validate_type
from openai.types.conversations import ConversationItem

from readalong.core.settings import Settings
from readalong.core.thread_entries import entries_of
from readalong.store.threads import ThreadRef, Turn
from tests.api.serving import Site, a_site, on_valkey, short_settings

pytestmark = on_valkey

#: One item of each kind that the model can get.
ITEMS: list[Any] = [
    {"role": "user", "content": "hi"},
    {
        "type": "message",
        "role": "user",
        "content": [
            {"type": "input_text", "text": "what is this?"},
            {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
            {"type": "input_file", "file_data": "data:text/plain;base64,AA==", "filename": "a.txt"},
        ],
    },
    {"role": "developer", "content": "be kind"},
    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
    {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "call_1", "output": "42"},
    {"type": "custom_tool_call", "call_id": "call_2", "name": "g", "input": "x"},
    {"type": "custom_tool_call_output", "call_id": "call_2", "output": [{"type": "input_text", "text": "y"}]},
    {"role": "assistant", "content": "hello"},
]


@asynccontextmanager
async def asked(settings: Settings) -> AsyncIterator[tuple[Site, openai.AsyncOpenAI]]:
    async with a_site(settings) as site:
        url = f"http://127.0.0.1:{site.port}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0) as client:
            yield site, client


def judged(item: Any) -> None:
    """The SDK itself builds models without validating them."""
    kind: Any = ConversationItem
    validate_type(type_=kind, value=item.to_dict())


async def test_a_conversation_is_created_read_changed_and_erased(settings: Settings) -> None:
    async with asked(settings) as (_, client):
        made = await client.conversations.create(metadata={"topic": "demo"})
        assert made.id.startswith("conv_")
        assert made.metadata == {"topic": "demo"}
        changed = await client.conversations.update(made.id, metadata={"topic": "other"})
        assert changed == await client.conversations.retrieve(made.id)
        assert (changed.metadata, changed.created_at, changed.object) == (
            {"topic": "other"},
            made.created_at,
            "conversation",
        )
        gone = await client.conversations.delete(made.id)
        assert (gone.id, gone.deleted, gone.object) == (made.id, True, "conversation.deleted")
        with pytest.raises(openai.NotFoundError) as refused:
            await client.conversations.retrieve(made.id)
        assert refused.value.type == "invalid_request_error"
        assert made.id in str(refused.value)


async def test_items_of_each_kind_are_what_the_sdk_reads(settings: Settings) -> None:
    async with asked(settings) as (_, client):
        made = await client.conversations.create(items=ITEMS)
        page = await client.conversations.items.list(made.id, order="asc", limit=50)
        assert [item.type for item in page.data] == [item.get("type", "message") for item in ITEMS]
        for item in page.data:
            judged(item)
            assert await client.conversations.items.retrieve(item.id or "", conversation_id=made.id) == item
        assert (page.data[0].to_dict()["content"], page.data[3].id) == ([{"type": "input_text", "text": "hi"}], "rs_1")


async def test_items_are_added_paged_and_removed(settings: Settings) -> None:
    async with asked(settings) as (_, client):
        made = await client.conversations.create()
        empty = await client.conversations.items.list(made.id)
        assert (empty.data, empty.has_more) == ([], False)
        for text in ("a", "b", "c"):
            added = await client.conversations.items.create(made.id, items=[{"role": "user", "content": text}])
            assert added.first_id == added.last_id == added.data[0].id
        ids = [item.id async for item in await client.conversations.items.list(made.id, limit=1)]
        oldest_first = [item.id async for item in await client.conversations.items.list(made.id, limit=2, order="asc")]
        assert ids == oldest_first[::-1]
        assert len(ids) == 3
        assert (await client.conversations.items.delete(ids[1] or "", conversation_id=made.id)).id == made.id
        assert [item.id async for item in await client.conversations.items.list(made.id)] == [ids[0], ids[2]]
        with pytest.raises(openai.NotFoundError):
            await client.conversations.items.retrieve(ids[1] or "", conversation_id=made.id)
        with pytest.raises(openai.NotFoundError):
            await client.conversations.items.list(made.id, after=ids[1] or "")


async def test_what_a_native_turn_said_has_items_too(settings: Settings) -> None:
    """Messages that no item was given for: with tool calls, the older function call, and without an answer."""
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "u"}}]},
        {"role": "assistant", "content": "let me see", "tool_calls": [call, {**call, "id": "call_2"}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "1"},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "2"},
        {"role": "assistant", "content": None, "refusal": "no"},
    ]
    async with asked(settings) as (site, client):
        ref = ThreadRef.of("chat", {})
        await site.deps.threads.begin(ref, "job1", Turn(entries_of(messages), "chat"))
        await site.deps.threads.end(ref, "job1", keep=True)
        page = await client.conversations.items.list("chat", order="asc")
        kinds = [item.type for item in page.data]
        assert kinds == ["message"] * 3 + ["function_call"] * 2 + ["function_call_output"] + [
            "function_call",
            "function_call_output",
            "message",
        ]
        for item in page.data:
            judged(item)


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"items": [{"role": "user", "content": "x"}] * 21}, "items", "array_above_max_length"),
        ({"items": "x"}, "items", "invalid_type"),
        ({"items": [{"type": "magic"}]}, "items[0].type", "invalid_value"),
        (
            {"items": [{"role": "user", "content": "x"}, {"role": "boss", "content": "x"}]},
            "items[1].role",
            "invalid_value",
        ),
        ({"metadata": {"k": 7}}, "metadata.k", "invalid_type"),
        ({"metadata": {"k": "x" * 513}}, "metadata.k", "string_above_max_length"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata", "object_above_max_properties"),
        ({"model": "m"}, "model", "unknown_parameter"),
    ],
)
async def test_a_wrong_body_is_refused_as_openai_refuses_it(
    settings: Settings, body: dict[str, Any], param: str, code: str
) -> None:
    async with asked(settings) as (_, client):
        with pytest.raises(openai.BadRequestError) as refused:
            await client.post("/conversations", body=body, cast_to=object)
        assert (refused.value.param, refused.value.code) == (param, code)
        assert refused.value.type == "invalid_request_error"


async def test_an_item_that_is_there_and_a_full_conversation_are_refused(redis_url: str) -> None:
    async with asked(short_settings(redis_url, max_thread_entries=1)) as (_, client):
        item: Any = {"type": "reasoning", "id": "rs_1", "summary": []}
        made = await client.conversations.create(items=[item])
        other: Any = {**item, "summary": [{"type": "summary_text", "text": "x"}]}
        with pytest.raises(openai.BadRequestError, match="already") as refused:
            await client.conversations.items.create(made.id, items=[other])
        assert refused.value.code == "duplicate_entry"
        with pytest.raises(openai.BadRequestError) as full:
            await client.conversations.items.create(made.id, items=[{"role": "user", "content": "x"}])
        assert full.value.code == "thread_full"


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "order=up", "include[]=all"])
async def test_a_wrong_page_is_refused(settings: Settings, query: str) -> None:
    async with asked(settings) as (site, client):
        made = await client.conversations.create()
        refused = await site.http.get(f"/v1/conversations/{made.id}/items?{query}")
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == query.partition("=")[0].removesuffix("[]")
