"""openai-python and the Responses API over real processes: two APIs, two workers, the demo model."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from openai.types.responses import Response

from readalong.testing import text_for
from tests.support.history import text
from tests.support.stack import Stack
from tests.support.waiting import until

pytestmark = pytest.mark.slow


def client_of(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k")


def job_of(response: Response) -> str:
    return response.id.removeprefix("resp_")


def answer_to(model: str, *turns: str) -> str:
    """The demo model's answer to these messages of a user and an assistant in turn."""
    roles = ("user", "assistant")
    messages = [{"role": roles[number % 2], "content": each} for number, each in enumerate(turns)]
    return text_for({"model": model, "messages": messages})


async def test_each_helper_ends_with_the_second_text_after_its_worker_is_killed(stack: Stack) -> None:
    """Watched from both replicas, from before the loss, and by one that comes back to another replica."""
    first, second = stack.workers
    second.stop()
    one, two = (client_of(url) for url in stack.urls)
    async with one, two:
        response = await one.responses.create(model="demo-reasoning", input="Tell me.", background=True)
        watchers = [asyncio.create_task(final(who, response.id, 3)) for who in (one, two)]
        stream: Any = await one.responses.retrieve(response.id, stream=True)
        seen: list[Any] = []
        async for event in stream:
            seen.append(event)
            if event.type == "response.output_text.delta":
                break
        await stream.close()
        first.kill()
        second.cont()
        resumed: Any = await two.responses.retrieve(response.id, stream=True, starting_after=seen[-1].sequence_number)
        seen += [event async for event in resumed]
        whole: Any = await one.responses.retrieve(response.id, stream=True)
        assert seen == [event async for event in whole]
        wanted = answer_to("demo-reasoning", "Tell me.")
        assert [(await watcher).output_text for watcher in watchers] == [wanted, wanted]
        got = await two.responses.retrieve(response.id)
        assert [item.type for item in got.output] == ["reasoning", "message"]
        assert got == seen[-1].response
        assert {item.id for item in got.output} == {f"rs_{job_of(response)}_a2", f"msg_{job_of(response)}_a2"}


async def final(client: openai.AsyncOpenAI, response_id: str, after: int) -> Response:
    async with client.responses.stream(response_id=response_id, starting_after=after) as stream:
        return await stream.get_final_response()


async def test_a_thread_of_responses_reaches_the_model_turn_by_turn(stack: Stack) -> None:
    """Also a call of a tool and its output, by the ids that the response shows."""
    tool: Any = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}, "strict": False}
    async with client_of(stack.url) as client:
        first = await client.responses.create(model="demo-fast+length", input="One.")
        assert first.status == "incomplete"
        assert first.output_text == answer_to("demo-fast+length", "One.")
        second = await client.responses.create(
            model="demo-fast+tools", input="Two.", previous_response_id=first.id, tools=[tool]
        )
        calls = [item for item in second.output if item.type == "function_call"]
        assert len(calls) == 2
        outputs: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "{}"} for call in calls]
        third = await client.responses.create(
            model="demo-fast+tools", input=outputs, previous_response_id=second.id, tools=[tool]
        )
        assert third.output_text
        async with client.responses.stream(model="demo-fast+tools", input="Two.", tools=[tool]) as stream:
            assert [item.type for item in (await stream.get_final_response()).output] == ["function_call"] * 2


async def test_a_cancel_stops_the_model_and_a_client_that_leaves_does_too(stack: Stack) -> None:
    async with client_of(stack.url) as client:
        response = await client.responses.create(model="demo-endless", input="Go on.", background=True)
        await until(lambda: text(stack.log_of(job_of(response))), "text")
        cancelled = await client.responses.cancel(response.id)
        assert cancelled.status == "cancelled"
        assert cancelled.output_text == text(stack.log_of(job_of(response)))
