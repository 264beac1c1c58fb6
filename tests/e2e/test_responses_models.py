"""Each face and watcher over a model that is asked by the Responses API: real processes and openai-python."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import orjson
from openai.types.responses import Response

from tests.support.stack import Stack
from tests.worker.model.response_streams import (
    CITATION,
    SEARCH,
    USAGE,
    begins,
    calls,
    ends,
    item,
    message,
    part,
    reasoning,
    says,
    searches,
    sse,
    thinks,
)
from tests.worker.raw import SSE, RawServer, raw_server

THOUGHT = reasoning("Owls.", "Hoots.")
ASKS = {"type": "function_call", "call_id": "call_1", "name": "seek", "arguments": '{"q":1}'}
ANSWERS: Any = {"type": "function_call_output", "call_id": "call_1", "output": "2"}
TOOL: Any = {"type": "function", "name": "seek", "parameters": {"type": "object", "properties": {}}, "strict": False}
CITED = message("Owls hoot", annotations=[CITATION])
LONG = sse(
    *begins(),
    *thinks(0, "Owls.", "Hoots."),
    *says(1, "Owls", " hoot")[:-1],
    part("output_text.annotation.added", 1, "msg_up", annotation_index=0, annotation=CITATION),
    item("done", 1, CITED),
    *calls(2, '{"q"', ":1}"),
    ends("completed", CITED, usage=USAGE),
)
SEARCHED = sse(*begins(), *searches(0), *says(1, "Two."), ends(usage=USAGE))


@asynccontextmanager
async def asking(*answers: bytes) -> AsyncIterator[tuple[RawServer, openai.AsyncOpenAI, Stack]]:
    async with raw_server(*(SSE + answer for answer in answers)) as server:
        with Stack(settings={"READALONG_RESPONSES_MODELS": "up-*"}, model_url=server.url) as stack:
            async with openai.AsyncOpenAI(base_url=f"{stack.url}/v1", api_key="k") as client:
                yield server, client, stack


def asked(server: RawServer) -> dict[str, Any]:
    """The newest request."""
    assert server.heads[-1].startswith("POST /v1/responses ")
    found: dict[str, Any] = orjson.loads(server.bodies[-1])
    return found


def items_of(response: Response) -> list[Any]:
    return [each.to_dict() for each in response.output]


async def test_a_response_is_what_the_model_said_and_the_next_turn_gives_it_back() -> None:
    """Encrypted reasoning too: by the thread, and by a client that keeps its items itself."""
    include: Any = ["reasoning.encrypted_content"]
    async with asking(LONG, SEARCHED, SEARCHED, SEARCHED) as (server, client, _):
        async with client.responses.stream(
            model="up-1", input="hi", reasoning={"effort": "low", "summary": "auto"}, include=include, tools=[TOOL]
        ) as stream:
            first = await stream.get_final_response()
        assert [each.type for each in first.output] == ["reasoning", "message", "function_call"]
        thought, said, call = items_of(first)
        assert thought["summary"] == [{"type": "summary_text", "text": "Owls.\n\nHoots."}]
        assert thought["encrypted_content"] == "rs_up~gAAAA"
        assert (first.output_text, said["content"][0]["annotations"]) == ("Owls hoot", [CITATION])
        assert {name: call[name] for name in ASKS} == ASKS
        assert first.usage is not None
        assert first.usage.to_dict() == USAGE
        sent = asked(server)
        assert (sent["reasoning"], sent["include"]) == ({"effort": "low", "summary": "auto"}, include)
        assert sent["tools"] == [TOOL]

        second = await client.responses.create(model="up-1", input=[ANSWERS], previous_response_id=first.id)
        before = [{"role": "user", "content": "hi"}, THOUGHT, {"role": "assistant", "content": "Owls hoot"}, ASKS]
        assert asked(server)["input"] == [*before, ANSWERS]
        assert second.output[0].to_dict() == {**SEARCH, "id": f"item_{second.id.removeprefix('resp_')}"}
        assert second.output_text == "Two."

        own: Any = [{"role": "user", "content": "hi"}, *items_of(first), ANSWERS]
        await client.responses.create(model="up-1", input=own, store=False)
        bare = {**THOUGHT, "summary": [{"type": "summary_text", "text": "Owls.\n\nHoots."}], "status": "completed"}
        assert asked(server)["input"] == [before[0], bare, *before[2:], ANSWERS]

        found = second.output[0].to_dict()
        named: Any = [*({"type": "item_reference", "id": each.id} for each in second.output), before[0]]
        await client.responses.create(model="up-1", input=named, store=False)
        assert asked(server)["input"] == [found, {"role": "assistant", "content": "Two."}, before[0]]

        third = await client.responses.create(model="up-1", input="more", previous_response_id=second.id)
        assert third.status == "completed"
        said = [SEARCH, {"role": "assistant", "content": "Two."}]
        assert asked(server)["input"] == [*before, ANSWERS, *said, {"role": "user", "content": "more"}]


async def test_a_conversation_gives_the_model_its_reasoning_and_its_calls_with_their_outputs() -> None:
    """And shows them to its client, who may give them to a conversation again."""
    async with asking(LONG, SEARCHED, SEARCHED) as (server, client, _):
        first = await client.conversations.create()
        include: Any = ["reasoning.encrypted_content"]
        body: Any = {"model": "up-1", "conversation": first.id, "include": include, "tools": [TOOL]}
        await client.responses.create(input="hi", **body)
        await client.responses.create(input=[ANSWERS], **body)
        before = [{"role": "user", "content": "hi"}, THOUGHT, {"role": "assistant", "content": "Owls hoot"}, ASKS]
        assert asked(server)["input"] == [*before, ANSWERS]
        items = [each.to_dict() async for each in await client.conversations.items.list(first.id, order="asc")]
        kinds = ["message", "reasoning", "message", "function_call", "function_call_output"]
        assert [each["type"] for each in items[:5]] == kinds
        assert (items[1]["encrypted_content"], items[4]["output"]) == ("rs_up~gAAAA", ANSWERS["output"])
        again: Any = [{**each, "id": f"{each['id']}2"} for each in items[:5]]
        second = await client.conversations.create(items=again)
        await client.responses.create(input="more", **{**body, "conversation": second.id})
        sent = asked(server)["input"]
        assert next(each for each in sent if each.get("type") == "reasoning")["encrypted_content"] == "gAAAA"
        assert sent[-3:] == [ASKS, ANSWERS, {"role": "user", "content": "more"}]


async def test_chat_completions_and_the_native_stream_have_what_the_model_said() -> None:
    tool: Any = {"type": "function", "function": {"name": "seek"}}
    async with asking(LONG) as (server, client, stack):
        async with client.chat.completions.stream(
            model="up-1",
            messages=[{"role": "user", "content": "hi"}],
            tools=[tool],
            stream_options={"include_usage": True},
        ) as stream:
            whole = await stream.get_final_completion()
        answer: Any = whole.choices[0].message
        assert (answer.content, answer.reasoning_content) == ("Owls hoot", "Owls.\n\nHoots.")
        assert answer.annotations[0].url_citation.url == CITATION["url"]
        [call] = answer.tool_calls
        assert (call.id, call.function.name, call.function.arguments) == ("call_1", "seek", '{"q":1}')
        assert (whole.choices[0].finish_reason, whole.usage and whole.usage.total_tokens) == ("tool_calls", 16)
        assert asked(server)["tools"] == [TOOL]
        events = stack.log_of(whole.id.removeprefix("chatcmpl-"))
        assert [THOUGHT] in [
            value
            for event in events
            for name, value in event.fields.get("extra", {}).items()
            if name == "choices.0.delta.response_items"
        ]
