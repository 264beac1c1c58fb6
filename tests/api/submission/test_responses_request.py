"""Responses requests to chat requests: each parameter is translated, or refused in OpenAI's words."""

from __future__ import annotations

from typing import Any, get_type_hints

import orjson
import pytest
from openai.types.responses import Response
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming

from readalong.api.submission import responses_request
from readalong.api.submission.responses_items import references
from readalong.api.submission.responses_request import translate
from readalong.api.wire.openai_responses.response_object import ResponseHead
from readalong.core.errors import InvalidRequest

USER = {"role": "user", "content": "hi"}


def chat_of(**body: Any) -> dict[str, Any]:
    """The chat request, without the one message that most have."""
    chat = translate({"input": "hi", **body}).chat
    if chat["messages"] == [USER]:
        del chat["messages"]
    return chat


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: A"}
FUNCTION = {"type": "function", "name": "f", "description": "d", "parameters": SCHEMA, "strict": True}
CUSTOM = {"type": "custom", "name": "g", "format": GRAMMAR}
CHAT_FUNCTION = {
    "type": "function",
    "function": {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True},
}
CHAT_CUSTOM = {
    "type": "custom",
    "custom": {"name": "g", "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: A"}}},
}

PARAMETERS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("nothing", {}, {}),
    ("nulls", {"temperature": None, "tools": None, "text": None, "prompt": None, "truncation": None}, {}),
    ("model", {"model": "m"}, {"model": "m"}),
    ("numbers", {"temperature": 0.5, "top_p": 1}, {"temperature": 0.5, "top_p": 1}),
    ("limit", {"max_output_tokens": 5, "max_tool_calls": 3}, {"max_completion_tokens": 5}),
    (
        "names",
        {"user": "u", "safety_identifier": "s", "prompt_cache_key": "p", "service_tier": "flex"},
        {"user": "u", "safety_identifier": "s", "prompt_cache_key": "p", "service_tier": "flex"},
    ),
    ("tools", {"tools": [FUNCTION, CUSTOM]}, {"tools": [CHAT_FUNCTION, CHAT_CUSTOM]}),
    (
        "one at a time",
        {"tools": [FUNCTION], "parallel_tool_calls": False},
        {"tools": [CHAT_FUNCTION], "parallel_tool_calls": False},
    ),
    ("without tools", {"tools": [], "parallel_tool_calls": True, "tool_choice": "auto"}, {}),
    (
        "any tool",
        {"tools": [FUNCTION], "tool_choice": "required"},
        {"tools": [CHAT_FUNCTION], "tool_choice": "required"},
    ),
    (
        "a tool",
        {"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "f"}},
        {"tools": [CHAT_FUNCTION], "tool_choice": {"type": "function", "function": {"name": "f"}}},
    ),
    (
        "some tools",
        {
            "tools": [CUSTOM],
            "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "custom", "name": "g"}]},
        },
        {
            "tools": [CHAT_CUSTOM],
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [{"type": "custom", "custom": {"name": "g"}}]},
            },
        },
    ),
    (
        "schema",
        {
            "text": {
                "verbosity": "low",
                "format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": None},
            }
        },
        {
            "verbosity": "low",
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
        },
    ),
    ("json", {"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
    ("text", {"text": {"format": {"type": "text"}}}, {}),
    ("reasoning", {"reasoning": {"effort": "low", "summary": "auto"}}, {"reasoning_effort": "low"}),
    (
        "logprobs",
        {"include": ["message.output_text.logprobs"], "top_logprobs": 2},
        {"logprobs": True, "top_logprobs": 2},
    ),
    ("includes", {"include": ["reasoning.encrypted_content", "message.input_image.image_url"]}, {}),
    ("metadata", {"metadata": {"a": "b"}}, {"metadata": {"a": "b"}}),
    ("streaming", {"stream": True, "store": False, "stream_options": {"include_obfuscation": False}}, {}),
    (
        "background",
        {"background": True, "background_options": {"completion_window": "soonest"}},
        {"cancel_on_disconnect": False},
    ),
    (
        "our options",
        {"background": True, "readalong": {"cancel_on_disconnect": 5, "deadline": 9}},
        {"cancel_on_disconnect": 5, "deadline": 9},
    ),
]


@pytest.mark.parametrize(("body", "wanted"), [each[1:] for each in PARAMETERS], ids=[each[0] for each in PARAMETERS])
def test_each_parameter_has_its_place_in_chat_completions(body: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert chat_of(**body) == wanted


def test_every_parameter_of_the_sdk_is_known() -> None:
    """A new one must be read or refused by its name, not as a parameter that OpenAI does not have."""
    known = responses_request._READ | {*responses_request._REFUSED}
    assert get_type_hints(ResponseCreateParamsStreaming).keys() <= known


def test_the_response_repeats_the_request_as_it_came() -> None:
    body = {
        "input": "hi", "instructions": "Be brief.", "tools": [FUNCTION],
        "tool_choice": {"type": "function", "name": "f"}, "metadata": {"a": "b"}, "temperature": 0.5,
        "max_output_tokens": 9, "text": {"verbosity": "low"}, "reasoning": {"effort": "low"},
        "parallel_tool_calls": False, "previous_response_id": "resp_1",
    }  # fmt: skip
    asked = translate(body)
    response = Response.model_validate_json(ResponseHead("j", "m", 0, asked.echo).json("queued", []))
    for name in body.keys() - {"input", "text", "reasoning", "tools", "tool_choice"}:
        assert getattr(response, name) == body[name], name
    echo = orjson.loads(asked.echo)
    assert (echo["tools"], echo["tool_choice"]) == (body["tools"], body["tool_choice"])
    assert echo["text"] == {"verbosity": "low", "format": {"type": "text"}}
    assert echo["reasoning"] == {"effort": "low", "summary": None}
    assert (echo["store"], echo["background"], echo["truncation"]) == (True, False, "disabled")


IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"}
CHAT_IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "c1~4", "name": "f", "arguments": "{}", "status": "completed"}
CHAT_CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm"}]}
SAID = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [
    {"type": "output_text", "text": "Hi", "annotations": []}]}  # fmt: skip

ITEMS: list[tuple[str, list[dict[str, Any]], list[dict[str, Any]]]] = [
    ("a short message", [USER], [USER]),
    ("a developer", [{"role": "developer", "content": "d"}], [{"role": "system", "content": "d"}]),
    ("parts", [{"role": "user", "content": [{"type": "input_text", "text": "what?"}, IMAGE]}], [
        {"role": "user", "content": [{"type": "text", "text": "what?"}, CHAT_IMAGE]}]),
    ("a file", [{"role": "user", "content": [{"type": "input_file", "filename": "a", "file_data": "data:,"}]}], [
        {"role": "user", "content": [{"type": "file", "file": {"filename": "a", "file_data": "data:,"}}]}]),
    ("an answer", [SAID], [{"role": "assistant", "content": "Hi"}]),
    ("a refusal", [{"role": "assistant", "content": [{"type": "refusal", "refusal": "No"}]}], [
        {"role": "assistant", "content": None, "refusal": "No"}]),
    ("a turn with a call", [SAID, CALL, {**CALL, "call_id": "c2", "extra_content": {"s": 1}},
        {"type": "function_call_output", "call_id": "c1~4", "output": "1"}], [
        {"role": "assistant", "content": "Hi", "tool_calls": [
            CHAT_CALL, {**CHAT_CALL, "id": "c2", "extra_content": {"s": 1}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "1"}]),
    ("a custom call", [{"type": "custom_tool_call", "call_id": "c", "name": "g", "input": "x"},
        {"type": "custom_tool_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "y"}]}], [
        {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "g", "input": "x"}}]},
        {"role": "tool", "tool_call_id": "c", "content": "y"}]),
    ("thoughts before a call", [THOUGHT, CALL], [
        {"role": "assistant", "tool_calls": [CHAT_CALL], "reasoning_content": "Hm"}]),
    ("thoughts before an answer", [THOUGHT, SAID, USER], [{"role": "assistant", "content": "Hi"}, USER]),
]  # fmt: skip


@pytest.mark.parametrize(("items", "wanted"), [each[1:] for each in ITEMS], ids=[each[0] for each in ITEMS])
def test_each_item_says_the_model_what_it_says(items: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    asked = translate({"input": items, "instructions": "Be brief."})
    assert asked.chat["messages"] == [{"role": "system", "content": "Be brief."}, *wanted]
    assert [entry.id for entry in asked.entries if entry.id.endswith("_1")] == [
        item["id"] for item in items if "id" in item
    ]


def test_an_item_that_is_only_named_is_the_stored_one() -> None:
    given = [{"type": "item_reference", "id": "msg_1"}, USER]
    assert references(given) == ["msg_1"]
    assert translate({"input": given}, {"msg_1": SAID}).chat["messages"] == [
        {"role": "assistant", "content": "Hi"},
        USER,
    ]


def test_a_model_that_speaks_responses_gets_what_chat_completions_cannot_say() -> None:
    secret = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}
    search = {
        "type": "web_search_call",
        "id": "ws_1",
        "status": "completed",
        "action": {"type": "search", "query": "q"},
    }
    body = {"reasoning": {"effort": "low", "summary": "auto"}, "include": ["reasoning.encrypted_content"]}
    asked = translate({"input": [secret, CALL, search, USER, secret, USER], **body}, native=True)
    assert asked.chat == {
        "messages": [
            {"role": "assistant", "tool_calls": [CHAT_CALL], "response_items": [secret]},
            {**USER, "response_items": [search]},
            USER,  # reasoning that led to nothing is left out
        ],
        "reasoning_effort": "low",
        "reasoning": {"summary": "auto"},
        "include": ["reasoning.encrypted_content"],
    }
    assert [entry.item for entry in asked.entries][:3:2] == [secret, search]


def user(*parts: Any) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": [*parts]}]}


#: Body, OpenAI's code, its param, and what its message says.
MISTAKES: list[tuple[dict[str, Any], str, str, str]] = [
    ({}, "missing_required_parameter", "input", "Missing required parameter: 'input'."),
    ({"input": []}, "empty_array", "input", "empty array"),
    ({"input": None, "previous_response_id": "resp_x"}, "missing_required_parameter", "input", ""),
    ({"input": 1}, "invalid_type", "input", "but got an integer instead."),
    ({"messages": [USER]}, "unsupported_parameter", "messages", "has moved to 'input'."),
    ({"max_tokens": 5}, "unsupported_parameter", "max_tokens", "has moved to 'max_output_tokens'."),
    ({"foo": 1}, "unknown_parameter", "foo", "Unknown parameter: 'foo'."),
    ({"n": 2}, "unknown_parameter", "n", "Unknown parameter: 'n'."),
    ({"prompt": {"id": "p"}}, "unsupported_parameter", "prompt", "'prompt'"),
    ({"truncation": "auto"}, "unsupported_parameter", "truncation", "'auto'"),
    ({"truncation": "x"}, "invalid_value", "truncation", "Supported values are: 'auto' and 'disabled'."),
    ({"temperature": "1"}, "invalid_type", "temperature", "expected a decimal, but got a string instead."),
    ({"temperature": True}, "invalid_type", "temperature", "but got a boolean instead."),
    ({"temperature": 3}, "integer_above_max_value", "temperature", "Expected a value <= 2, but got 3 instead."),
    ({"max_output_tokens": 0}, "integer_below_min_value", "max_output_tokens", "Expected a value >= 1"),
    ({"max_output_tokens": 1.5}, "invalid_type", "max_output_tokens", "expected an integer, but got a decimal"),
    ({"stream": "yes"}, "invalid_type", "stream", "expected a boolean"),
    ({"store": False, "background": True}, "unsupported_parameter", "background", "'store'"),
    (
        {"background_options": {"completion_window": "2h"}},
        "unsupported_parameter",
        "background_options.completion_window",
        "",
    ),
    (
        {"stream_options": {"include_obfuscation": True}},
        "unsupported_parameter",
        "stream_options.include_obfuscation",
        "",
    ),
    ({"include": ["x"]}, "invalid_value", "include[0]", "'message.output_text.logprobs'"),
    ({"reasoning": {"mode": "pro"}}, "unsupported_parameter", "reasoning.mode", ""),
    ({"reasoning": {"summary": "long"}}, "invalid_value", "reasoning.summary", "'auto', 'concise', and 'detailed'"),
    (
        {"text": {"format": {"type": "xml"}}},
        "invalid_value",
        "text.format.type",
        "'json_object', 'json_schema', and 'text'",
    ),
    (
        {"text": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        "missing_required_parameter",
        "text.format.name",
        "",
    ),
    ({"text": {"form": {}}}, "unknown_parameter", "text.form", ""),
    ({"metadata": {"a": 1}}, "invalid_type", "metadata.a", "expected a string, but got an integer"),
    ({"metadata": {str(n): "" for n in range(17)}}, "object_above_max_properties", "metadata", "17"),
    ({"readalong": {"dead_line": 1}}, "unknown_parameter", "readalong.dead_line", ""),
    (
        {"conversation": "c", "previous_response_id": "r"},
        "mutually_exclusive_parameters",
        "conversation",
        "only providing one of",
    ),
    ({"tools": {}}, "invalid_type", "tools", "expected an array of objects, but got an object"),
    ({"tools": ["f"]}, "invalid_type", "tools[0]", "expected an object, but got a string"),
    ({"tools": [{"type": "web_search"}]}, "invalid_value", "tools[0].type", "'function' and 'custom'"),
    ({"tools": [{"name": "f"}]}, "missing_required_parameter", "tools[0].type", ""),
    ({"tools": [CHAT_FUNCTION]}, "missing_required_parameter", "tools[0].name", ""),
    ({"tools": [{**FUNCTION, "parameters": "x"}]}, "invalid_type", "tools[0].parameters", ""),
    ({"tools": [{**FUNCTION, "defer_loading": True}]}, "unsupported_parameter", "tools[0].defer_loading", ""),
    ({"tool_choice": "some"}, "invalid_value", "tool_choice", "'none', 'auto', and 'required'"),
    ({"tool_choice": {"type": "web_search"}}, "invalid_value", "tool_choice.type", "'allowed_tools'"),
    ({"tool_choice": "required"}, "invalid_value", "tool_choice", "'tools'"),
    ({"input": ["hi"]}, "invalid_type", "input[0]", "expected an object, but got a string instead."),
    ({"input": [{"type": "thing"}]}, "invalid_value", "input[0].type", "Invalid value: 'thing'."),
    ({"input": [{"text": "hi"}]}, "missing_required_parameter", "input[0].type", ""),
    ({"input": [USER, {"role": "tool", "content": ""}]}, "invalid_value", "input[1].role", "'assistant'"),
    ({"input": [{"role": "user"}]}, "missing_required_parameter", "input[0].content", ""),
    (user("hi"), "invalid_type", "input[0].content[0]", ""),
    (user({"type": "text", "text": "hi"}), "invalid_value", "input[0].content[0].type", "'input_text'"),
    (user({"type": "input_text"}), "missing_required_parameter", "input[0].content[0].text", ""),
    (
        user({"type": "input_image", "file_id": "f"}),
        "unsupported_parameter",
        "input[0].content[0].file_id",
        "image_url",
    ),
    (user({"type": "input_file", "file_url": "http://a"}), "unsupported_parameter", "input[0].content[0].file_url", ""),
    ({"input": [{**CALL, "arguments": {}}]}, "invalid_type", "input[0].arguments", ""),
    ({"input": [{"type": "function_call_output", "output": ""}]}, "missing_required_parameter", "input[0].call_id", ""),
    ({"input": [{"type": "item_reference", "id": "msg_x"}]}, "invalid_value", "input[0].id", "'msg_x' not found"),
    (
        {"input": [{"type": "reasoning", "summary": [], "encrypted_content": "x"}]},
        "invalid_encrypted_content",
        "input[0].encrypted_content",
        "",
    ),
]


@pytest.mark.parametrize(
    ("body", "code", "param", "says"), MISTAKES, ids=[f"{number}-{each[2]}" for number, each in enumerate(MISTAKES)]
)
def test_a_mistake_is_told_as_openai_tells_it(body: dict[str, Any], code: str, param: str, says: str) -> None:
    if body and not param.startswith(("input", "messages")):
        body = {"input": "hi", **body}
    with pytest.raises(InvalidRequest) as caught:
        translate(body)
    assert (caught.value.code, caught.value.field) == (code, param)
    assert says in caught.value.message
