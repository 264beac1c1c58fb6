"""`POST /chat/stream` as existing front ends use it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from readalong.testing import text_for
from tests.e2e.jobs import chat, paced
from tests.support.client import Entry, Response, call
from tests.support.stack import Stack
from tests.support.waiting import until

TOOL: dict[str, Any] = {"name": "look_up", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}}


async def say(stack: Stack, body: dict[str, Any]) -> tuple[list[Entry], dict[str, str]]:
    """Returns all lines of the stream, and the response's headers."""
    raw = json.dumps(body).encode()
    async with await Response.open("POST", f"{stack.url}/chat/stream", raw) as response:
        assert response.status == 200
        return [entry async for entry in response.entries()], response.headers


def pieces(entries: list[Entry]) -> list[dict[str, Any]]:
    """Returns the data of all lines but the last, which is `[DONE]`. No line has a name or a number."""
    assert entries[-1].data == "[DONE]"
    assert {(entry.id, entry.event) for entry in entries} == {(None, None)}
    return [entry.fields for entry in entries[:-1]]


@pytest.mark.parametrize("model", ["demo", "demo-fast+unicode"])
async def test_the_pieces_joined_are_the_models_text_and_done_comes_last(stack: Stack, model: str) -> None:
    """Each line has `content` and nothing else."""
    body = chat(model, demo={"tokens_per_second": 800, "first_token_seconds": 0})
    entries, headers = await say(stack, body)
    assert headers["content-type"].startswith("text/event-stream")
    assert all(piece.keys() == {"content"} for piece in pieces(entries))
    assert "".join(piece["content"] for piece in pieces(entries)) == text_for(body)


async def test_messages_are_all_that_it_needs(stack: Stack) -> None:
    """The contract: `{"messages": […]}` is enough; the server chooses the model."""
    question = chat()["messages"]
    entries, _ = await say(stack, {"messages": question})
    [made] = stack.generations(question[0]["content"])
    assert "".join(piece["content"] for piece in pieces(entries)) == text_for(made["body"]) != ""


async def test_tool_calls_come_whole(stack: Stack) -> None:
    entries, _ = await say(stack, chat("demo-fast+tools", tools=[{"type": "function", "function": TOOL}]))
    calls = [piece["tool_call"] for piece in pieces(entries)]
    assert [call["name"] for call in calls] == ["look_up", "look_up"]
    assert all(call["arguments"]["q"] and call["id"] for call in calls)


async def test_a_function_call_comes_whole(stack: Stack) -> None:
    entries, _ = await say(stack, chat("demo-fast", "Please look_up this", functions=[TOOL]))
    [piece] = pieces(entries)
    assert piece["function_call"]["name"] == "look_up"
    assert piece["function_call"]["arguments"]["q"]


async def test_a_failure_is_said_and_the_stream_ends_as_ever(stack: Stack) -> None:
    entries, _ = await say(stack, chat("demo-fast+error"))
    assert pieces(entries)[-1]["error"]["code"] == "model_error"


async def test_its_job_can_be_watched_and_cancelled_like_any_other(stack: Stack) -> None:
    """The response's headers name the job; the stream ends with `[DONE]` after the cancel."""
    raw = json.dumps(chat("demo-endless")).encode()
    async with await Response.open("POST", f"{stack.url}/chat/stream", raw) as response:
        path = f"{stack.urls[1]}{response.headers['location']}"
        reading = asyncio.create_task(_read(response))
        await until(lambda: len(stack.log_of(response.headers["x-job-id"])) > 5, "some words")
        assert (await call("POST", f"{path}/cancel")).status == 202
        assert pieces(await reading)[-1]["cancelled"] == {"by": "client"}


async def test_a_job_that_is_soon_done_is_so_without_its_reader_too(stack: Stack) -> None:
    """A client that returns later finds the answer. tests/e2e/test_orphans.py covers jobs that outlast the grace."""
    raw = json.dumps(paced(tokens=20, rate=40)).encode()
    response = await Response.open("POST", f"{stack.url}/chat/stream", raw)
    async with response:
        path = f"{stack.url}{response.headers['location']}"
        response.abort()
    shown = await until(lambda: _done(path), "the end")
    assert shown["content"] == text_for(json.loads(raw))


async def _read(response: Response) -> list[Entry]:
    return [entry async for entry in response.entries()]


async def _done(path: str) -> dict[str, Any] | None:
    shown: dict[str, Any] = (await call("GET", path)).json()
    return shown if shown["status"] == "done" else None
