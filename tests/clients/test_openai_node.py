"""openai-node against the whole stack: both faces at both replicas, mistakes, lost workers, APIs and replies."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from tests.api.wire.test_openai_chat import PLAIN, done, stream
from tests.api.wire.test_openai_chat import chunks as chunks_of
from tests.clients.asked import Weather, answer, job_for, messages, paced, question
from tests.clients.node_openai import NodeError, NodeOpenAI
from tests.e2e.jobs import Job
from tests.e2e.test_worker_loss import alone
from tests.support.client import call
from tests.support.proxy import Proxy
from tests.support.stack import Stack
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("node_packages")

CREATE, CHAT_HELPER = "chat.completions.create", "chat.completions.stream"
UNKNOWN = "x" * 22


def said(chunks: list[Any]) -> str:
    return "".join(each["delta"].get("content") or "" for chunk in chunks for each in chunk["choices"])


def text(events: list[Any]) -> str:
    """By the rule for clients without a helper: `in_progress` voids what was said before it."""
    found = ""
    for event in events:
        if event["type"] == "response.in_progress":
            found = ""
        elif event["type"] == "response.output_text.delta":
            found += event["delta"]
    return found


def numbers(events: list[Any]) -> list[int]:
    return [event["sequence_number"] for event in events]


async def test_the_helper_ends_calls_in_turns_and_a_legacy_function_right() -> None:
    """A call when it is whole, though the model said two of them in turns; a function that comes in one piece."""

    def piece(index: int, arguments: str) -> tuple[str, dict[str, Any]]:
        return "tool_call_delta", {"index": index, "id": f"c{index}", "name": "f", "arguments": arguments}

    turns = [piece(0, '{"a":'), piece(1, '{"b":'), piece(0, "1}"), piece(1, "2}")]
    legacy = {"name": "f", "arguments": {"q": [1]}}
    async with await NodeOpenAI.start() as node:
        ended, final = await node.accumulate(chunks_of(stream(PLAIN, *turns, done(finish_reason="tool_calls"))))
        assert ended == [[0, '{"a":1}'], [1, '{"b":2}']]
        assert [each["function"]["arguments"] for each in final["choices"][0]["message"]["tool_calls"]] == [
            each for _, each in ended
        ]
        called = stream(PLAIN, ("function_call", legacy), done(finish_reason="function_call", function_call=legacy))
        _, final = await node.accumulate(chunks_of(called))
    [choice] = final["choices"]
    assert choice["message"]["function_call"] == {"name": "f", "arguments": '{"q":[1]}'}
    assert choice["finish_reason"] == "function_call"


async def test_chat_completions(stack: Stack) -> None:
    """Whole, in chunks and by the helper; retrieved, listed, changed and deleted at the other replica."""
    first, second = stack.urls
    asked, body = question(), {"model": "demo-fast", "store": True, "metadata": {"a": "b"}}
    body["messages"] = messages(asked)
    expected = answer("demo-fast", asked)
    async with await NodeOpenAI.start() as node:
        whole = await node.call(first, CREATE, body)
        assert whole["choices"][0]["message"]["content"] == expected
        options = {"stream": True, "stream_options": {"include_usage": True}}
        chunks = await node.list(second, CREATE, {**body, **options})
        assert (said(chunks), chunks[-1]["usage"]) == (expected, whole["usage"])
        events, final = await node.helper(first, CHAT_HELPER, {**body, "n": 2, "logprobs": True, "top_logprobs": 1})
        assert (events, len(final["choices"])) == ({"chunk"}, 2)
        for choice in final["choices"]:
            tokens = [each["token"] for each in choice["logprobs"]["content"]]
            assert "".join(tokens) == choice["message"]["content"] != ""
        found = await node.call(second, "chat.completions.retrieve", whole["id"])
        assert found["choices"][0]["message"]["content"] == expected
        listed = await node.list(second, "chat.completions.list", {"limit": 1, "metadata": {"a": "b"}})
        assert [each["id"] for each in listed] == [whole["id"], chunks[0]["id"], final["id"]]
        changed = await node.call(first, "chat.completions.update", whole["id"], {"metadata": {"c": "d"}})
        assert changed["metadata"] == {"c": "d"}
        assert (await node.call(second, "chat.completions.delete", whole["id"]))["deleted"]
        with pytest.raises(NodeError) as raised:
            await node.call(first, "chat.completions.retrieve", whole["id"])
        assert raised.value.name == "NotFoundError"
        assert [each["id"] for each in await node.list(first, "models.list")] == ["demo-fast"]


async def test_a_client_that_leaves_cancels_its_job(stack: Stack) -> None:
    """It breaks off its loop over the chunks, or gives up its call."""
    asked, mine = question(), {"readalong": {"cancel_on_disconnect": 0}}
    models = [paced(tokens) for tokens in (3000, 4000)]
    bodies = [{"model": model, "messages": messages(asked), **mine} for model in models]
    async with await NodeOpenAI.start() as node:
        said_some = node.list(stack.url, CREATE, {**bodies[0], "stream": True}, stop=2)
        gives_up = node.call(stack.url, CREATE, bodies[1], options={"timeout": 2000, "maxRetries": 0})
        _, error = await asyncio.gather(said_some, gives_up, return_exceptions=True)
        assert isinstance(error, NodeError)
        assert error.name == "APIConnectionTimeoutError"
        for model in models:
            job = await job_for(stack, model, asked)
            assert (await job.ended())["status"] == "cancelled"
            await job.model_let_go()


async def test_structures_reasoning_and_refusals(stack: Stack) -> None:
    """The SDK parses texts and arguments by zod, in both faces, whole and by the helpers."""
    url, asked = stack.url, question()
    async with await NodeOpenAI.start() as node:
        chat, response = {"model": "demo-fast", "messages": messages(asked)}, {"model": "demo-fast", "input": asked}
        tools = {"parallel_tool_calls": False, "tool_choice": "required"}
        whole = await node.call(url, "chat.completions.parse", chat, weather="format")
        _, streamed = await node.helper(url, CHAT_HELPER, chat, weather="format")
        parsed = [each["choices"][0]["message"]["parsed"] for each in (whole, streamed)]
        whole = await node.call(url, "responses.parse", response, weather="format")
        _, streamed = await node.helper(url, "responses.stream", response, weather="format")
        parsed += [each["output_parsed"] for each in (whole, streamed)]
        whole = await node.call(url, "chat.completions.parse", {**chat, **tools}, weather="tool")
        _, streamed = await node.helper(url, CHAT_HELPER, {**chat, **tools}, weather="tool")
        calls = [each["choices"][0]["message"]["tool_calls"][0]["function"] for each in (whole, streamed)]
        whole = await node.call(url, "responses.parse", {**response, **tools}, weather="tool")
        _, streamed = await node.helper(url, "responses.stream", {**response, **tools}, weather="tool")
        calls += [each["output"][0] for each in (whole, streamed)]
        parsed += [each["parsed_arguments"] for each in calls]
        assert [Weather.model_validate(each) for each in parsed] == [Weather.model_validate(parsed[0])] * 8
        for model, field in (("demo-fast+reasoning", "reasoning_content"), ("demo-fast+refusal", "refusal")):
            whole = await node.call(url, CREATE, {**chat, "model": model})
            chunks = await node.list(url, CREATE, {**chat, "model": model, "stream": True})
            pieces = [chunk["choices"][0]["delta"].get(field) or "" for chunk in chunks]
            assert "".join(pieces) == whole["choices"][0]["message"][field] != ""
        _, final = await node.helper(url, "responses.stream", {**response, "model": "demo-fast+reasoning"})
        assert [item["type"] for item in final["output"]] == ["reasoning", "message"]
        _, final = await node.helper(url, "responses.stream", {**response, "model": "demo-fast+refusal"})
        assert final["output"][0]["content"][0]["type"] == "refusal"


async def test_responses(stack: Stack) -> None:
    """Created in each way, polled, watched from the start and from a number, cancelled, deleted; at both replicas."""
    first, second = stack.urls
    asked, model = question(), paced(tokens=100, rate=100)
    expected = answer(model, asked)
    async with await NodeOpenAI.start() as node:
        whole = await node.call(first, "responses.create", {"model": "demo-fast", "input": asked})
        assert (whole["status"], whole["output_text"]) == ("completed", answer("demo-fast", asked))
        items = await node.list(second, "responses.inputItems.list", whole["id"])
        assert [item["content"][0]["text"] for item in items] == [asked]
        made = await node.call(first, "responses.create", {"model": model, "input": asked, "background": True})
        seen = await node.list(second, "responses.retrieve", made["id"], {"stream": True}, stop=20)
        after = {"stream": True, "starting_after": seen[-1]["sequence_number"]}
        rest = await node.list(first, "responses.retrieve", made["id"], after)
        assert numbers(seen + rest) == list(range(len(seen + rest)))
        assert text(seen + rest) == expected
        for given in ({"response_id": made["id"], "starting_after": 9}, {"model": "demo-fast", "input": asked}):
            kinds, final = await node.helper(second, "responses.stream", given)
            assert "response.output_text.delta" in kinds
            assert final["output_text"] == (expected if "response_id" in given else answer("demo-fast", asked))
        assert (await node.call(second, "responses.retrieve", made["id"]))["output_text"] == expected
        endless = {"model": paced(tokens=4000), "input": asked, "background": True, "stream": True}
        [created] = await node.list(first, "responses.create", endless, stop=1)
        response_id = created["response"]["id"]
        assert (await node.call(second, "responses.cancel", response_id))["status"] == "cancelled"
        events = await node.list(first, "responses.retrieve", response_id, {"stream": True})
        assert (events[-1]["type"], events[-1]["response"]["status"]) == ("response.failed", "cancelled")
        await node.call(first, "responses.delete", response_id)
        with pytest.raises(NodeError, match="not found"):
            await node.call(second, "responses.retrieve", response_id)


async def test_conversations(stack: Stack) -> None:
    first, second = stack.urls
    async with await NodeOpenAI.start() as node:
        talk = await node.call(first, "conversations.create", {"metadata": {"a": "b"}})
        questions = [question() for _ in range(3)]
        body = {"model": "demo-fast", "conversation": talk["id"]}
        answers = [
            await node.call(url, "responses.create", {**body, "input": asked})
            for url, asked in zip(stack.urls, questions[:2], strict=True)
        ]
        items = await node.list(second, "conversations.items.list", talk["id"], {"order": "asc", "limit": 3})
        texts = [item["content"][0]["text"] for item in items]
        assert texts == [questions[0], answers[0]["output_text"], questions[1], answers[1]["output_text"]]
        branch = {"model": "demo-fast", "input": questions[2], "previous_response_id": answers[0]["id"]}
        await node.call(second, "responses.create", branch)
        [made] = stack.generations(questions[2])
        assert [each["content"] for each in made["body"]["messages"]] == [*texts[:2], questions[2]]
        await node.call(first, "responses.create", {**body, "model": paced(4000), "input": "On.", "background": True})
        with pytest.raises(NodeError) as raised:
            await node.call(second, "responses.create", {**body, "input": "And?"}, options={"maxRetries": 2})
        assert (raised.value.name, raised.value.fields["code"]) == ("ConflictError", "thread_busy")
        await node.call(
            second, "responses.create", {**body, "input": "Stop.", "readalong": {"thread_policy": "rollback"}}
        )
        items = await node.list(first, "conversations.items.list", talk["id"], {"order": "asc"})
        assert [item["content"][0]["text"] for item in items[:5]] == [*texts, "Stop."]
        assert (await node.call(first, "conversations.delete", talk["id"]))["deleted"]


#: A method, its arguments, and the exception's name, code and param.
WRONG: list[tuple[str, list[Any], str, str | None, str | None]] = [
    (CREATE, [{"model": "m", "messages": []}], "BadRequestError", "empty_array", "messages"),
    (CREATE, [{"model": "m", "input": "hi"}], "BadRequestError", "missing_required_parameter", "messages"),
    (CREATE, [{"model": "demo-429", "messages": messages("hi")}], "RateLimitError", "rate_limit_exceeded", None),
    ("chat.completions.retrieve", [f"chatcmpl-{UNKNOWN}"], "NotFoundError", None, None),
    ("models.retrieve", ["nope"], "NotFoundError", "model_not_found", "model"),
    ("responses.create", [{"model": "m", "messages": []}], "BadRequestError", "unsupported_parameter", "messages"),
    ("responses.create", [{"input": [{"type": "x"}]}], "BadRequestError", "invalid_value", "input[0].type"),
    (
        *("responses.create", [{"input": "a", "conversation": "c", "previous_response_id": "r"}], "BadRequestError"),
        *("mutually_exclusive_parameters", "conversation"),
    ),
    ("responses.retrieve", [f"resp_{UNKNOWN}", {"stream": True, "starting_after": 1}], "NotFoundError", None, None),
    ("responses.cancel", [f"resp_{UNKNOWN}"], "NotFoundError", None, None),
    ("conversations.retrieve", ["conv_none"], "NotFoundError", None, None),
]


async def test_mistakes_are_exceptions(stack: Stack) -> None:
    """With repeats allowed, of which there are none."""
    async with await NodeOpenAI.start() as node:
        for path, args, name, code, param in WRONG:
            with pytest.raises(NodeError) as raised:
                await node.call(stack.url, path, *args, options={"maxRetries": 2})
            found = raised.value.fields
            assert (found["name"], found["code"], found["param"]) == (name, code, param)
            assert found["requestID"]
        jobs = (await call("GET", f"{stack.url}/v1/jobs")).json()["jobs"]
        assert [shown["model"] for shown in jobs] == ["demo-429"]


async def test_a_killed_workers_answers_have_one_text_in_each_face(stack: Stack) -> None:
    """A stream of chat completions throws, and says where it goes on."""
    victim, successor = await alone(stack)
    asked, model = question(), paced(tokens=150, rate=50)
    chat = {"model": model, "messages": messages(asked)}
    async with await NodeOpenAI.start() as node:
        streaming = asyncio.create_task(node.list(stack.url, CREATE, {**chat, "stream": True}))
        waiting = asyncio.create_task(node.call(stack.url, CREATE, chat))
        made = await node.call(stack.url, "responses.create", {"model": model, "input": asked, "background": True})
        watching = asyncio.create_task(node.list(stack.urls[1], "responses.retrieve", made["id"], {"stream": True}))
        given = {"response_id": made["id"]}
        helping = asyncio.create_task(node.helper(stack.urls[1], "responses.stream", given))
        jobs = (await call("GET", f"{stack.url}/v1/jobs")).json()["jobs"]
        assert len(jobs) == 3
        for shown in jobs:
            await Job(stack, chat, shown).says(0.2)
        victim.kill()
        successor.cont()
        expected = answer(model, asked)
        assert (await waiting)["choices"][0]["message"]["content"] == expected
        assert text(await watching) == (await helping)[1]["output_text"] == expected
        with pytest.raises(NodeError) as raised:
            await streaming
    error = raised.value
    assert (error.fields["code"], expected.startswith(said(error.items))) == ("restarted", True)
    assert error.fields["body"]["events"] == f"/v1/jobs/{error.fields['body']['job_id']}/events"
    assert error.fields["body"]["job_id"] in error.fields["message"]


async def test_a_killed_apis_stream_is_resumed_at_the_other(stack: Stack) -> None:
    """The SDK throws: a text that breaks off is not taken for a whole one."""
    asked, model = question(), paced(tokens=150, rate=75)
    first, second = stack.urls
    chat = {"model": f"{model}+chat"}
    async with await NodeOpenAI.start() as node:
        body = {"model": model, "input": asked, "background": True, "stream": True}
        watching = asyncio.create_task(node.list(first, "responses.create", body))
        chatting = asyncio.create_task(node.list(first, CREATE, {**chat, "messages": messages(asked), "stream": True}))
        for each in (model, chat["model"]):
            await (await job_for(stack, each, asked)).says(0.2)
        stack.apis[0].kill()
        with pytest.raises(NodeError):
            await chatting
        with pytest.raises(NodeError) as raised:
            await watching
        seen = raised.value.items
        after = {"stream": True, "starting_after": seen[-1]["sequence_number"]}
        rest = await node.list(second, "responses.retrieve", seen[0]["response"]["id"], after)
    assert numbers(seen + rest) == list(range(len(seen + rest)))
    assert text(seen + rest) == answer(model, asked)


async def test_a_call_whose_reply_is_lost_is_one_job(stack: Stack) -> None:
    asked, model = question(), "demo-first_token_seconds=1.5+tokens=20"
    port = int(re.findall(r":(\d+)", stack.url)[0])
    async with await NodeOpenAI.start() as node, Proxy(port) as proxy:
        url, options = f"http://127.0.0.1:{proxy.port}", {"maxRetries": 2}
        chat = {"model": model, "messages": messages(asked)}
        calls = [
            asyncio.create_task(each)
            for each in (
                node.call(url, CREATE, chat, options=options),
                node.list(url, CREATE, {**chat, "stream": True}, options=options),
                node.call(url, "responses.create", {"model": model, "input": asked}, options=options),
            )
        ]
        await until(lambda: len(stack.generations(asked)) == 3, "the calls to the model")
        proxy.cut()
        whole, chunks, response = await asyncio.gather(*calls)
    texts = [whole["choices"][0]["message"]["content"], said(chunks), response["output_text"]]
    assert texts == [answer(model, asked)] * 3
    assert len(stack.generations(asked)) == 3
