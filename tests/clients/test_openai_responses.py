"""openai-python's Responses and conversations, its sync and its async client, at both replicas in turn."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.clients.asked import Weather, answer, job_for, paced, question
from tests.clients.openai_python import both, client_of
from tests.support.stack import Stack


async def events_of(stream: Any) -> list[Any]:
    return [event async for event in stream]


def text(events: list[Any]) -> str:
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


@both
async def test_a_response_is_the_models_whole_and_in_events(stack: Stack, kind: str) -> None:
    """And at the other replica afterwards, with the input that it was asked for."""
    asked, model = question(), "demo-fast"
    async with client_of(kind, stack.urls[0]) as client, client_of(kind, stack.urls[1]) as other:
        whole = await client.responses.create(model=model, input=asked, metadata={"a": "b"})
        expected = answer(model, asked)
        assert (whole.status, whole.output_text, whole.metadata) == ("completed", expected, {"a": "b"})
        assert whole.usage.total_tokens == whole.usage.input_tokens + whole.usage.output_tokens > 0
        assert await other.responses.retrieve(whole.id) == whole
        items = [item async for item in other.responses.input_items.list(whole.id)]
        assert [item.content[0].text for item in items] == [asked]
        events = await events_of(await other.responses.create(model=model, input=asked, stream=True))
        assert [event.sequence_number for event in events] == list(range(len(events)))
        assert events[-1].type == "response.completed"
        assert text(events) == events[-1].response.output_text == expected
        async with client.responses.stream(model=model, input=asked) as stream:
            done = await stream.get_final_response()
        assert done.output_text == expected


@both
async def test_a_response_in_the_background_is_polled_watched_and_resumed_anywhere(stack: Stack, kind: str) -> None:
    """By a raw stream after a number, and by the helper, while it runs and when it has ended; however it was made."""
    asked, model = question(), paced(tokens=100, rate=100)
    async with client_of(kind, stack.urls[0]) as client, client_of(kind, stack.urls[1]) as other:
        made = await client.responses.create(model=model, input=asked, background=True)
        assert made.status in ("queued", "in_progress")
        seen = []
        async for event in await other.responses.retrieve(made.id, stream=True):
            seen.append(event)
            if len(seen) == 20:
                break
        assert (await other.responses.retrieve(made.id)).status == "in_progress"
        last = seen[-1].sequence_number
        rest = await events_of(await client.responses.retrieve(made.id, stream=True, starting_after=last))
        whole = [*seen, *rest]
        assert [event.sequence_number for event in whole] == list(range(len(whole)))
        assert text(whole) == answer(model, asked)
        async with other.responses.stream(response_id=made.id, starting_after=last) as stream:
            again = await events_of(stream)
            done = await stream.get_final_response()
        assert {event.sequence_number for event in again} == {event.sequence_number for event in rest}
        assert done.output_text == answer(model, asked)
        assert await events_of(await other.responses.retrieve(made.id, stream=True)) == whole
        ended = await other.responses.retrieve(made.id)
        assert (ended.status, ended.output_text) == ("completed", answer(model, asked))


@both
async def test_a_response_in_the_background_is_cancelled_and_deleted(stack: Stack, kind: str) -> None:
    asked, model = question(), paced(tokens=3000)
    async with client_of(kind, stack.urls[0]) as client, client_of(kind, stack.urls[1]) as other:
        created = await client.responses.create(model=model, input=asked, background=True, stream=True)
        seen = []
        async for event in created:
            seen.append(event)
            if event.type == "response.output_text.delta":
                break
        await created.close()
        response_id = seen[0].response.id
        assert (await other.responses.retrieve(response_id)).status == "in_progress"
        for _ in range(2):
            assert (await other.responses.cancel(response_id)).status == "cancelled"
        events = await events_of(await client.responses.retrieve(response_id, stream=True))
        assert (events[-1].type, events[-1].response.status) == ("response.failed", "cancelled")
        job = await job_for(stack, model, asked)
        await job.model_let_go()
        await other.responses.delete(response_id)
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(response_id)


@both
async def test_text_and_calls_are_parsed_by_the_sdk(stack: Stack, kind: str) -> None:
    asked, tool = question(), openai.pydantic_function_tool(Weather)
    async with client_of(kind, stack.url) as client:
        whole = await client.responses.parse(model="demo-fast", input=asked, text_format=Weather)
        async with client.responses.stream(model="demo-fast", input=asked, text_format=Weather) as stream:
            streamed = await stream.get_final_response()
        assert isinstance(whole.output_parsed, Weather)
        assert whole.output_parsed == streamed.output_parsed
        called = await client.responses.parse(model="demo-fast+tools", input=asked, tools=[tool])
        async with client.responses.stream(model="demo-fast+tools", input=asked, tools=[tool]) as stream:
            kinds = {event.type async for event in stream}
            again = await stream.get_final_response()
        assert {"response.function_call_arguments.delta", "response.function_call_arguments.done"} <= kinds
        calls = called.output
        assert [(each.type, each.name) for each in calls] == [("function_call", "Weather")] * 2
        assert [each.parsed_arguments for each in calls] == [each.parsed_arguments for each in again.output]
        assert {type(each.parsed_arguments) for each in calls} == {Weather}
        results = [{"type": "function_call_output", "call_id": each.call_id, "output": asked} for each in calls]
        after = await client.responses.create(
            model="demo-fast+tools",
            input=results,
            tools=[{"type": "function", **tool["function"]}],
            previous_response_id=called.id,
        )
        assert after.output_text
    [made] = [each["body"]["messages"] for each in stack.generations(asked) if len(each["body"]["messages"]) > 1]
    assert [each["role"] for each in made] == ["user", "assistant", "tool", "tool"]
    assert [each["id"] for each in made[1]["tool_calls"]] == [each.call_id for each in calls]


@both
async def test_reasoning_refusals_and_pictures_have_their_items(stack: Stack, kind: str) -> None:
    asked = question()
    picture = {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}
    parts = [{"type": "input_text", "text": asked}, picture]
    async with client_of(kind, stack.url) as client:
        thought = await client.responses.create(
            model="demo-fast+reasoning", input=[{"role": "user", "content": parts}], reasoning={"summary": "auto"}
        )
        assert [item.type for item in thought.output] == ["reasoning", "message"]
        async with client.responses.stream(model="demo-fast+refusal", input=asked) as stream:
            refused = await stream.get_final_response()
        [part] = refused.output[0].content
        assert (part.type, part.refusal != "") == ("refusal", True)
        cut = await client.responses.create(model="demo-fast", input=asked, max_output_tokens=5)
        assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")
        events = await events_of(
            await client.responses.create(
                model="demo-fast", input=asked, stream=True, include=["message.output_text.logprobs"], top_logprobs=2
            )
        )
        said = [each for event in events if event.type == "response.output_text.delta" for each in event.logprobs]
        assert "".join(each.token for each in said) == answer("demo-fast", asked)
        assert {len(each.top_logprobs) for each in said} == {2}


@both
async def test_a_conversation_goes_on_at_either_replica(stack: Stack, kind: str) -> None:
    """The model gets what was said; `previous_response_id` takes a branch of its own."""
    async with client_of(kind, stack.urls[0]) as client, client_of(kind, stack.urls[1]) as other:
        talk = await client.conversations.create(
            metadata={"a": "b"}, items=[{"type": "message", "role": "user", "content": "I am Ada."}]
        )
        assert (await other.conversations.retrieve(talk.id)).metadata == {"a": "b"}
        questions = [question() for _ in range(3)]
        first = await client.responses.create(model="demo-fast", input=questions[0], conversation=talk.id)
        assert first.conversation.id == talk.id
        second = await other.responses.create(model="demo-fast", input=questions[1], conversation=talk.id)
        asked = stack.generations(questions[1])[0]["body"]["messages"]
        assert [each["content"] for each in asked] == ["I am Ada.", questions[0], first.output_text, questions[1]]
        branch = await other.responses.create(model="demo-fast", input=questions[2], previous_response_id=first.id)
        asked = stack.generations(questions[2])[0]["body"]["messages"]
        assert [each["content"] for each in asked] == ["I am Ada.", questions[0], first.output_text, questions[2]]
        assert branch.previous_response_id == first.id
        items = [item async for item in other.conversations.items.list(talk.id, order="asc", limit=2)]
        assert [item.content[0].text for item in items] == [
            *("I am Ada.", questions[0], first.output_text, questions[1], second.output_text)
        ]
        added = await client.conversations.items.create(
            talk.id, items=[{"type": "message", "role": "user", "content": "Bye."}]
        )
        found = await other.conversations.items.retrieve(added.data[0].id, conversation_id=talk.id)
        assert found.content[0].text == "Bye."
        await other.conversations.items.delete(found.id, conversation_id=talk.id)
        assert (await client.conversations.update(talk.id, metadata={"c": "d"})).metadata == {"c": "d"}
        assert (await other.conversations.delete(talk.id)).deleted
        with pytest.raises(openai.NotFoundError):
            await client.conversations.retrieve(talk.id)


@both
async def test_a_second_turn_is_answered_by_the_threads_policy(stack: Stack, kind: str) -> None:
    """A refusal is not repeated, a waiting turn sees the answer before it, an interrupt ends it."""
    async with client_of(kind, stack.urls[0], max_retries=2) as client, client_of(kind, stack.urls[1]) as other:
        talk = await client.conversations.create()
        long, model = question(), paced(tokens=60, rate=60)
        first = await client.responses.create(model=model, input=long, conversation=talk.id, background=True)
        with pytest.raises(openai.ConflictError) as raised:
            await other.responses.create(model="demo-fast", input="And?", conversation=talk.id)
        assert raised.value.code == "thread_busy"
        assert raised.value.response.request.headers["x-stainless-retry-count"] == "0"
        late = question()
        waited = await other.responses.create(
            model="demo-fast", input=late, conversation=talk.id, extra_body={"readalong": {"thread_policy": "enqueue"}}
        )
        assert waited.output_text
        asked = stack.generations(late)[0]["body"]["messages"]
        assert [each["content"] for each in asked] == [long, answer(model, long), late]
        assert (await client.responses.retrieve(first.id)).status == "completed"
        endless = await client.responses.create(
            model=paced(tokens=5000), input="On and on.", conversation=talk.id, background=True
        )
        last = await other.responses.create(
            model="demo-fast",
            input="Stop.",
            conversation=talk.id,
            extra_body={"readalong": {"thread_policy": "interrupt"}},
        )
        assert last.output_text
        assert (await client.responses.retrieve(endless.id)).status == "cancelled"
