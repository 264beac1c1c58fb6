"""What openai-python raises for what is wrong: class, code and param. Nothing of it is sent twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import openai
import pytest

from tests.clients.asked import messages, question
from tests.clients.openai_python import both, client_of
from tests.support.client import call
from tests.support.stack import Stack

UNKNOWN = "x" * 22
BAD, LOST = openai.BadRequestError, openai.NotFoundError


def chat(**body: Any) -> Callable[[Any], Awaitable[Any]]:
    given = {"model": "demo-fast", "messages": messages(question()), **body}
    return lambda client: client.chat.completions.create(**given)


def response(**body: Any) -> Callable[[Any], Awaitable[Any]]:
    given = {"model": "demo-fast", "input": question(), **body}
    return lambda client: client.responses.create(**given)


class Mistake(NamedTuple):
    """A call, its exception's class, code and param, and what its message says."""

    act: Callable[[Any], Awaitable[Any]]
    error: type[openai.APIStatusError]
    code: str | None
    param: str | None
    says: str


WRONG: dict[str, Mistake] = {
    "chat: messages": Mistake(chat(messages="hi"), BAD, "invalid_type", "messages", "messages"),
    "chat: no messages": Mistake(chat(messages=[]), BAD, "empty_array", "messages", "messages"),
    "chat: message": Mistake(chat(messages=["hi"]), BAD, "invalid_type", "messages[0]", "messages"),
    "chat: n": Mistake(chat(n="two"), BAD, "invalid_type", "n", "n"),
    "chat: tools": Mistake(chat(tools="all"), BAD, "invalid_type", "tools", "tools"),
    "chat: tools of a stream": Mistake(chat(tools="all", stream=True), BAD, "invalid_type", "tools", "tools"),
    "chat: option": Mistake(
        chat(extra_body={"readalong": {"x": 1}}), BAD, "unknown_parameter", "readalong.x", "no such"
    ),
    "chat: responses' shape": Mistake(
        lambda client: client.post("/chat/completions", cast_to=object, body={"model": "m", "input": "hi"}),
        *(BAD, "missing_required_parameter", "messages", "messages"),
    ),
    "chat: id": Mistake(lambda c: c.chat.completions.retrieve(f"chatcmpl-{UNKNOWN}"), LOST, None, None, "not found"),
    "models": Mistake(lambda client: client.models.retrieve("nope"), LOST, "model_not_found", "model", "nope"),
    "responses: chat's shape": Mistake(
        lambda client: client.post("/responses", cast_to=object, body={"model": "m", "messages": messages("hi")}),
        *(BAD, "unsupported_parameter", "messages", "'input'"),
    ),
    "responses: item": Mistake(response(input=[{"type": "nothing"}]), BAD, "invalid_value", "input[0].type", "nothing"),
    "responses: tools": Mistake(
        response(tools=[{"type": "function"}]), BAD, "missing_required_parameter", "tools[0].name", ""
    ),
    "responses: hosted tool": Mistake(
        response(tools=[{"type": "web_search"}]), BAD, "invalid_value", "tools[0].type", ""
    ),
    "responses: prompt": Mistake(response(prompt={"id": "pmpt_1"}), BAD, "unsupported_parameter", "prompt", "prompt"),
    "responses: unknown": Mistake(response(extra_body={"nope": 1}), BAD, "unknown_parameter", "nope", "nope"),
    "responses: both threads": Mistake(
        response(conversation="conv_a", previous_response_id=f"resp_{UNKNOWN}"),
        *(BAD, "mutually_exclusive_parameters", "conversation", "only"),
    ),
    "responses: previous": Mistake(
        response(previous_response_id=f"resp_{UNKNOWN}"),
        *(BAD, "previous_response_not_found", "previous_response_id", "not found"),
    ),
    "responses: conversation": Mistake(response(conversation="conv_none"), LOST, None, None, "conv_none"),
    "responses: not stored": Mistake(
        response(background=True, store=False), BAD, "unsupported_parameter", "background", "store"
    ),
    "responses: id": Mistake(
        lambda client: client.responses.retrieve(f"resp_{UNKNOWN}"), LOST, None, None, "not found"
    ),
    "responses: stream of none": Mistake(
        lambda client: client.responses.retrieve(f"resp_{UNKNOWN}", stream=True, starting_after=3),
        *(LOST, None, None, "not found"),
    ),
    "responses: no id": Mistake(
        lambda client: client.responses.retrieve("chatcmpl-1"), BAD, "invalid_value", "response_id", ""
    ),
    "responses: cancel of none": Mistake(
        lambda client: client.responses.cancel(f"resp_{UNKNOWN}"),
        *(LOST, None, None, "not found"),
    ),
    "conversations: id": Mistake(
        lambda client: client.conversations.retrieve("conv_none"), LOST, None, None, "conv_none"
    ),
}


FAILURES: dict[str, tuple[type[openai.APIStatusError], str]] = {
    "demo-429": (openai.RateLimitError, "rate_limit_exceeded"),
    "demo-500": (openai.InternalServerError, "model_error"),
    "demo-not-sse": (openai.InternalServerError, "model_malformed"),
}


@both
@pytest.mark.parametrize("name", WRONG)
async def test_a_mistake_is_an_exception(stack: Stack, kind: str, name: str) -> None:
    """With repeats allowed: each comes at once."""
    act, error, code, param, says = WRONG[name]
    async with client_of(kind, stack.url, max_retries=2) as client:
        with pytest.raises(error) as raised:
            await act(client)
    found = raised.value
    assert (type(found), found.code, found.param) == (error, code, param)
    assert says in found.message
    assert found.type == "invalid_request_error"
    assert found.request_id
    assert found.response.request.headers["x-stainless-retry-count"] == "0"


@both
@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("model", FAILURES)
async def test_a_model_that_fails_before_its_answer_is_an_exception_with_a_status(
    stack: Stack, kind: str, streams: bool, model: str
) -> None:
    """Asked once: readalong has tried again already."""
    error, code = FAILURES[model]
    async with client_of(kind, stack.url, max_retries=2) as client:
        with pytest.raises(error) as raised:
            await chat(model=model, stream=streams)(client)
    assert raised.value.code == code
    assert len((await call("GET", f"{stack.url}/v1/jobs")).json()["jobs"]) == 1


@both
async def test_a_model_that_fails_in_its_answer_ends_the_stream_by_an_exception(stack: Stack, kind: str) -> None:
    """Of chat completions; a response is told as failed."""
    async with client_of(kind, stack.url, max_retries=2) as client:
        said, parts = "", await chat(model="demo-fast+error", stream=True)(client)

        async def read() -> None:
            nonlocal said
            async for part in parts:
                said += part.choices[0].delta.content or ""

        with pytest.raises(openai.APIError) as raised:
            await read()
        assert said
        assert raised.value.code == "model_error"
        events = [event async for event in await response(model="demo-fast+error", stream=True)(client)]
        assert events[-1].type == "response.failed"
        assert (events[-1].response.status, events[-1].response.error.code) == ("failed", "server_error")
        assert events[-1].response.output_text


@both
async def test_a_cancel_of_what_cannot_be_cancelled_says_why(stack: Stack, kind: str) -> None:
    async with client_of(kind, stack.url, max_retries=2) as client:
        made = await response()(client)
        with pytest.raises(BAD, match="Cannot cancel a synchronous response"):
            await client.responses.cancel(made.id)
        made = await response(background=True)(client)
        async for _ in await client.responses.retrieve(made.id, stream=True):
            pass
        with pytest.raises(BAD, match="Cannot cancel a completed response"):
            await client.responses.cancel(made.id)
        last = 0
        async for event in await client.responses.retrieve(made.id, stream=True):
            last = event.sequence_number
        for after, ends in ((last, []), (9999, ["response.completed"])):
            again = await client.responses.retrieve(made.id, stream=True, starting_after=after)
            assert [event.type async for event in again] == ends
