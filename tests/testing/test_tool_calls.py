"""Tool calls and legacy function calls."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from readalong.testing import text_for
from readalong.testing.chat_request import parse_chat_request
from readalong.testing.tool_calls import tool_calls_for
from tests.testing.support import MESSAGES, ask, deltas, finish, running, text

WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "unit": {"enum": ["celsius", "fahrenheit"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 7},
        "at": {"$ref": "#/$defs/place"},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2},
        "detail": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
    },
    "required": ["city", "unit", "days", "at", "tags", "detail"],
    "$defs": {"place": {"type": "object", "properties": {"lat": {"type": ["number", "null"]}}}},
}
FUNCTIONS = [
    {"name": "get_weather", "parameters": WEATHER},
    {"name": "get_time", "parameters": {"type": "object", "properties": {"zone": {"type": "string"}}}},
]
TOOLS = [{"type": "function", "function": function} for function in FUNCTIONS]


def assert_weather(arguments: str) -> None:
    """Asserts that the arguments fit the schema WEATHER."""
    made = orjson.loads(arguments)
    assert list(made) == WEATHER["required"]
    assert isinstance(made["city"], str)
    assert made["unit"] in ("celsius", "fahrenheit")
    assert 1 <= made["days"] <= 7
    assert isinstance(made["at"]["lat"], int | float)
    assert [type(tag) for tag in made["tags"]] == [str, str]
    assert made["detail"] is True


def joined(events: list[Any]) -> dict[int, dict[str, str]]:
    """Returns the tool calls, joined by index."""
    calls: dict[int, dict[str, str]] = {}
    for delta in deltas(events):
        for part in delta.get("tool_calls", ()):
            call = calls.setdefault(part["index"], {"id": part.get("id", ""), "arguments": ""})
            call["name"] = part["function"].get("name") or call["name"]
            call["arguments"] += part["function"]["arguments"]
    return calls


async def test_tools_are_called_in_parallel_with_fragments_that_take_turns() -> None:
    async with running() as server:
        events = await server.events(ask("demo-tools", tools=TOOLS))
        order = [d["tool_calls"][0]["index"] for d in deltas(events) if "tool_calls" in d]
        assert order[:6] == [0, 1] * 3
        calls = joined(events)
        assert [call["name"] for call in calls.values()] == ["get_weather", "get_time"]
        assert_weather(calls[0]["arguments"])
        assert len({call["id"] for call in calls.values()}) == 2
        assert finish(events) == "tool_calls"
        assert text(events) == ""


async def test_a_whole_answer_makes_the_same_calls() -> None:
    async with running() as server:
        calls = joined(await server.events(ask("demo-tools", tools=TOOLS)))
        _, raw = await server.post(ask("demo-tools", tools=TOOLS))
        choice = orjson.loads(raw)["choices"][0]
        assert choice["finish_reason"] == "tool_calls"
        assert choice["message"]["content"] is None
        shown = [call["function"]["arguments"] for call in choice["message"]["tool_calls"]]
        assert shown == [call["arguments"] for call in calls.values()]


async def test_a_response_format_makes_the_text_json_that_fits_the_schema() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "weather", "schema": WEATHER}}
    async with running() as server:
        body = ask("demo-fast", response_format=wanted)
        said = text(await server.events(body))
        assert_weather(said)
        assert said == text_for(body)
        status, _ = await server.post(ask("demo-fast", response_format={"type": "json_schema"}))
        assert status == 400


async def test_legacy_functions_are_called_in_fragments() -> None:
    async with running() as server:
        events = await server.events(ask("demo-tools", functions=FUNCTIONS))
        parts = [d["function_call"] for d in deltas(events) if "function_call" in d]
        assert parts[0]["name"] == "get_weather"
        assert len(parts) > 3
        assert_weather("".join(part["arguments"] for part in parts))
        assert finish(events) == "function_call"


async def test_bad_arguments_are_no_json() -> None:
    async with running() as server:
        for more in ({"tools": TOOLS}, {}):
            calls = joined(await server.events(ask("demo-bad-arguments", **more)))
            with pytest.raises(orjson.JSONDecodeError):
                orjson.loads(calls[0]["arguments"])


async def test_no_index_sends_ids_only() -> None:
    async with running() as server:
        events = await server.events(ask("demo-no-index", tools=TOOLS))
        parts = [part for d in deltas(events) for part in d.get("tool_calls", ())]
        assert all("index" not in part and part["id"] for part in parts)
        whole: dict[str, str] = {}
        for part in parts:
            whole[part["id"]] = whole.get(part["id"], "") + part["function"]["arguments"]
        assert len([orjson.loads(arguments) for arguments in whole.values()]) == 2


def names(model: str = "demo", question: str = "Hello", **more: Any) -> list[str]:
    """Returns the names of the called tools."""
    body = ask(model, **{"messages": [{"role": "user", "content": question}], "tools": TOOLS, **more})
    return [call.name for call in tool_calls_for(parse_chat_request(body), 1)]


def test_a_plain_model_calls_what_the_question_names() -> None:
    assert names() == []
    assert names(question="Please call get_time now") == ["get_time"]


def test_a_forced_tool_is_called_and_a_forbidden_one_is_not() -> None:
    assert names(tool_choice="required") == ["get_weather"]
    assert names(tool_choice={"type": "function", "function": {"name": "get_time"}}) == ["get_time"]
    assert names("demo-tools", tool_choice="none") == []


def test_a_lone_tool_is_called_twice_unless_calls_may_not_be_parallel() -> None:
    assert names("demo-tools", tools=TOOLS[:1]) == ["get_weather"] * 2
    assert names("demo-tools", parallel_tool_calls=False) == ["get_weather"]


def test_after_a_tools_result_comes_text() -> None:
    result = {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}
    assert names("demo-tools", messages=[*MESSAGES, result]) == []


def test_a_schema_that_refers_to_itself_ends() -> None:
    endless = {"$ref": "#"}
    assert names("demo-tools", tools=[{"type": "function", "function": {"name": "f", "parameters": endless}}])
