"""openai-python's chat completions, its sync and its async client, at both replicas in turn."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import openai
import pytest

from readalong.testing import tokens_for
from tests.clients.asked import TOOL, Weather, answer, job_for, messages, paced, question
from tests.clients.openai_python import both, client_of
from tests.support.stack import Stack

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}
SOUND = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}


async def chunks(stream: Any) -> list[Any]:
    return [chunk async for chunk in stream]


def text(found: list[Any], choice: int = 0) -> str:
    said = [each.delta.content or "" for chunk in found for each in chunk.choices if each.index == choice]
    return "".join(said)


@both
async def test_an_answer_is_the_models_whole_and_in_chunks(stack: Stack, kind: str) -> None:
    """With the same id for retrieving it at the other replica, and the job's native links."""
    asked, model = question(), "demo-fast"
    async with client_of(kind, stack.urls[0]) as client, client_of(kind, stack.urls[1]) as other:
        raw = await client.chat.completions.with_raw_response.create(model=model, messages=messages(asked))
        whole = raw.parse()
        expected = answer(model, asked)
        assert whole.choices[0].message.content == expected
        assert whole.choices[0].finish_reason == "stop"
        assert whole.id == f"chatcmpl-{raw.headers['x-job-id']}"
        assert raw.headers["location"] == f"/v1/jobs/{raw.headers['x-job-id']}"
        found = await other.chat.completions.retrieve(whole.id)
        assert (found.choices[0].message.content, found.usage) == (expected, whole.usage)
        stream = await other.chat.completions.create(
            model=model, messages=messages(asked), stream=True, stream_options={"include_usage": True}
        )
        parts = await chunks(stream)
        assert text(parts) == expected
        assert (parts[-1].choices, parts[-1].usage) == ([], whole.usage)
        assert len({part.id for part in parts} | {whole.id}) == 2
        plain = await client.chat.completions.create(model=model, messages=messages(asked), stream=True)
        assert [part.usage for part in await chunks(plain) if part.usage] == []


@both
async def test_the_helper_accepts_each_chunk_of_choices_with_log_probabilities(stack: Stack, kind: str) -> None:
    body: dict[str, Any] = {"model": "demo-fast", "messages": messages(question()), "n": 2}
    body["extra_body"] = {"demo": {"tokens": 40}}
    async with (
        client_of(kind, stack.url) as client,
        client.chat.completions.stream(**body, logprobs=True, top_logprobs=2) as stream,
    ):
        kinds = {event.type async for event in stream}
        done = await stream.get_final_completion()
    body |= body.pop("extra_body")
    assert {"chunk", "content.delta", "content.done", "logprobs.content.delta", "logprobs.content.done"} <= kinds
    assert len(done.choices) == 2
    for choice in done.choices:
        tokens = tokens_for(body, choice.index)
        assert choice.message.content == "".join(tokens)
        assert [each.token for each in choice.logprobs.content] == list(tokens)
        assert {len(each.top_logprobs) for each in choice.logprobs.content} == {2}


@both
async def test_tools_are_called_with_arguments_that_the_sdk_parses(stack: Stack, kind: str) -> None:
    """Whole, and by the helper. Fragments of two calls take turns, which the helper would accept from no server."""
    asked = question()
    body: dict[str, Any] = {"model": "demo-fast+tools", "messages": messages(asked)}
    body["tools"] = [openai.pydantic_function_tool(Weather)]
    async with client_of(kind, stack.urls[0]) as client, client_of(kind, stack.urls[1]) as other:
        whole = (await client.chat.completions.parse(**body)).choices[0]
        parts = await chunks(await other.chat.completions.create(**body, stream=True))
        deltas = [each for part in parts for each in part.choices[0].delta.tool_calls or ()]
        async with other.chat.completions.stream(**body, parallel_tool_calls=False) as stream:
            kinds = {event.type async for event in stream}
            [alone] = (await stream.get_final_completion()).choices[0].message.tool_calls
        calls = whole.message.tool_calls
        assert {"tool_calls.function.arguments.delta", "tool_calls.function.arguments.done"} <= kinds
        assert {type(each.function.parsed_arguments) for each in (*calls, alone)} == {Weather}
        for index, made in enumerate(calls):
            pieces = [each for each in deltas if each.index == index]
            assert (pieces[0].id, pieces[0].function.name) == (made.id, made.function.name)
            assert "".join(each.function.arguments or "" for each in pieces) == made.function.arguments
        assert (len(calls), whole.finish_reason, parts[-1].choices[0].finish_reason) == (2, "tool_calls", "tool_calls")
        found = uuid4().hex
        results = [{"role": "tool", "tool_call_id": each.id, "content": found} for each in calls]
        after = [*messages(asked), whole.message.model_dump(exclude_none=True), *results]
        assert (await client.chat.completions.create(**{**body, "messages": after})).choices[0].message.content
    [made] = stack.generations(found)
    assert [each["role"] for each in made["body"]["messages"]] == ["user", "assistant", "tool", "tool"]
    assert [each["id"] for each in made["body"]["messages"][1]["tool_calls"]] == [each.id for each in calls]


@both
async def test_legacy_functions_are_called(stack: Stack, kind: str) -> None:
    body = {"model": "demo-fast+tools", "messages": messages(question()), "functions": [TOOL]}
    async with client_of(kind, stack.url) as client:
        whole = (await client.chat.completions.create(**body)).choices[0]
        parts = await chunks(await client.chat.completions.create(**body, stream=True))
    calls = [part.choices[0].delta.function_call for part in parts if part.choices[0].delta.function_call]
    assert "".join(each.arguments or "" for each in calls) == whole.message.function_call.arguments
    assert {each.name for each in calls} - {None} == {whole.message.function_call.name} == {"Weather"}
    assert whole.finish_reason == parts[-1].choices[0].finish_reason == "function_call"


@both
async def test_a_response_format_is_parsed(stack: Stack, kind: str) -> None:
    body = {"model": "demo-fast", "messages": messages(question()), "response_format": Weather}
    async with client_of(kind, stack.url) as client:
        whole = (await client.chat.completions.parse(**body)).choices[0].message
        async with client.chat.completions.stream(**body) as stream:
            streamed = (await stream.get_final_completion()).choices[0].message
    assert isinstance(whole.parsed, Weather)
    assert whole.parsed == streamed.parsed


@both
async def test_reasoning_and_refusals_are_in_their_fields(stack: Stack, kind: str) -> None:
    asked = question()
    async with client_of(kind, stack.url) as client:
        for model, field in (("demo-fast+reasoning", "reasoning_content"), ("demo-fast+refusal", "refusal")):
            body = {"model": model, "messages": messages(asked)}
            whole = (await client.chat.completions.create(**body)).choices[0].message
            parts = await chunks(await client.chat.completions.create(**body, stream=True))
            said = "".join(getattr(part.choices[0].delta, field, None) or "" for part in parts)
            assert said == getattr(whole, field) != ""
            assert text(parts) == (whole.content or "")


@both
async def test_the_model_gets_pictures_sounds_and_parameters_that_are_not_known(stack: Stack, kind: str) -> None:
    asked = question()
    parts = [{"type": "text", "text": "Look."}, PICTURE, SOUND]
    mine = {"readalong": {"deadline": 90, "on_worker_lost": "fail", "cancel_on_disconnect": False}}
    async with client_of(kind, stack.url) as client:
        done = await client.chat.completions.create(
            model="demo-fast",
            messages=[{"role": "user", "content": parts}, *messages(asked)],
            seed=7,
            extra_body={"of_a_later_version": {"a": [1]}, **mine},
        )
        assert done.choices[0].message.content
    [made] = stack.generations(asked)
    assert made["body"]["messages"][0]["content"] == parts
    assert (made["body"]["seed"], made["body"]["of_a_later_version"]) == (7, {"a": [1]})
    assert made["body"].keys().isdisjoint(("readalong", *mine["readalong"]))


@both
async def test_completions_are_listed_changed_and_deleted(stack: Stack, kind: str) -> None:
    async with client_of(kind, stack.urls[0]) as client, client_of(kind, stack.urls[1]) as other:
        ids = []
        for number in range(3):
            done = await client.chat.completions.create(
                model="demo-fast", messages=messages(question()), store=True, metadata={"number": str(number)}
            )
            ids.append(done.id)
        assert [each.id async for each in other.chat.completions.list(limit=2)] == ids
        changed = await other.chat.completions.update(ids[0], metadata={"number": "2"})
        assert changed.metadata == {"number": "2"}
        assert [each.id async for each in client.chat.completions.list(metadata={"number": "2"})] == [ids[0], ids[2]]
        deleted = await client.chat.completions.delete(ids[0])
        assert (deleted.id, deleted.deleted) == (ids[0], True)
        with pytest.raises(openai.NotFoundError):
            await other.chat.completions.retrieve(ids[0])
        assert [each.id async for each in other.models.list()] == ["demo-fast"]


async def test_a_client_that_leaves_cancels_its_job(stack: Stack) -> None:
    """It closes the stream, or gives up its call."""

    async def leave(kind: str, *, streams: bool) -> None:
        asked, model = question(), paced(tokens=3000 if streams else 4000, rate=len(kind) * 10)
        body: dict[str, Any] = {"model": model, "messages": messages(asked), "stream": streams}
        body["extra_body"] = {"readalong": {"cancel_on_disconnect": 0}}
        async with client_of(kind, stack.url, timeout=60 if streams else 2) as client:
            if streams:
                stream = await client.chat.completions.create(**body)
                async for chunk in stream:
                    if chunk.choices[0].delta.content:
                        break
                await stream.close()
            else:
                with pytest.raises(openai.APITimeoutError):
                    await client.chat.completions.create(**body)
        job = await job_for(stack, model, asked)
        assert (await job.ended())["status"] == "cancelled"
        await job.model_let_go()

    # At once: since the stack has just been emptied, workers wait some seconds before they cancel for that.
    await asyncio.gather(*(leave(kind, streams=streams) for kind in ("sync", "async") for streams in (True, False)))
