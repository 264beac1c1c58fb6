"""A chat-completions request to a Responses request: each parameter has its place, or is refused by its name."""

from __future__ import annotations

from typing import Any, Final

import pytest
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming
from pydantic import TypeAdapter

from readalong.core.errors import ModelError
from readalong.worker.model.openai.responses.request import to_responses

_PARAMS: Final[TypeAdapter[Any]] = TypeAdapter(ResponseCreateParamsStreaming)
USER: Final = {"role": "user", "content": "hi"}
SCHEMA: Final = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
CALL: Final = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
CUSTOM: Final = {"id": "c2", "type": "custom", "custom": {"name": "g", "input": "x"}}
ASKS: Final = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":1}'}
ENCRYPTED: Final = {"type": "reasoning", "id": "rs_up", "summary": [], "encrypted_content": "gAAAA"}
GRAMMAR: Final = {"syntax": "lark", "definition": "start: A"}


def asked(**chat: Any) -> dict[str, Any]:
    """Returns the request, which the openai package's types accept, without what all requests have."""
    found = to_responses({"model": "m", "stream": True, "messages": [USER], **chat})
    _PARAMS.validate_python(found)
    assert (found.pop("model"), found.pop("stream"), found.pop("store")) == ("m", True, False)
    if found["input"] == [USER]:
        del found["input"]
    return found


PARAMETERS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("what asks for nothing", {"n": 1, "stop": None, "seed": None, "presence_penalty": 0, "logit_bias": {}}, {}),
    ("usage, which comes unasked", {"stream_options": {"include_usage": True}}, {}),
    ("padding", {"stream_options": {"include_obfuscation": False}}, {"stream_options": {"include_obfuscation": False}}),
    ("what is not to be stored", {"store": True, "metadata": {"a": "b"}}, {}),
    ("a limit", {"max_completion_tokens": 5}, {"max_output_tokens": 5}),
    ("the older limit", {"max_tokens": 5}, {"max_output_tokens": 5}),
    ("same names", {"temperature": 0.5, "top_p": 1, "user": "u"}, {"temperature": 0.5, "top_p": 1, "user": "u"}),
    (
        "reasoning",
        {"reasoning_effort": "low", "reasoning": {"summary": "auto"}, "include": ["reasoning.encrypted_content"]},
        {"reasoning": {"effort": "low", "summary": "auto"}, "include": ["reasoning.encrypted_content"]},
    ),
    (
        "log probabilities",
        {"logprobs": True, "top_logprobs": 2},
        {"include": ["message.output_text.logprobs"], "top_logprobs": 2},
    ),
    (
        "a schema",
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}},
        {"text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}}},
    ),
    (
        "an object, in few words",
        {"response_format": {"type": "json_object"}, "verbosity": "low"},
        {"text": {"format": {"type": "json_object"}, "verbosity": "low"}},
    ),
    (
        "tools",
        {
            "tools": [
                {"type": "function", "function": {"name": "f", "parameters": SCHEMA, "strict": True}},
                {"type": "function", "function": {"name": "bare"}},
                {"type": "custom", "custom": {"name": "g", "format": {"type": "grammar", "grammar": GRAMMAR}}},
            ],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
            "parallel_tool_calls": False,
        },
        {
            "tools": [
                {"type": "function", "name": "f", "parameters": SCHEMA, "strict": True},
                {
                    "type": "function",
                    "name": "bare",
                    "parameters": {"type": "object", "properties": {}},
                    "strict": False,
                },
                {"type": "custom", "name": "g", "format": {"type": "grammar", **GRAMMAR}},
            ],
            "tool_choice": {"type": "function", "name": "f"},
            "parallel_tool_calls": False,
        },
    ),
    (
        "allowed tools",
        {
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
            }
        },
        {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}},
    ),
]


@pytest.mark.parametrize(("chat", "wanted"), [each[1:] for each in PARAMETERS], ids=[each[0] for each in PARAMETERS])
def test_each_parameter_has_its_place(chat: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert asked(**chat) == wanted


MESSAGES: list[tuple[str, list[dict[str, Any]], list[dict[str, Any]]]] = [
    ("roles", [{"role": "system", "content": "s"}, {"role": "developer", "content": "d"}, USER], [
        {"role": "system", "content": "s"}, {"role": "developer", "content": "d"}, USER]),
    ("parts", [{"role": "user", "content": [
        {"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": "data:,"}},
        {"type": "file", "file": {"filename": "a", "file_data": "data:,"}}]}], [
        {"role": "user", "content": [
            {"type": "input_text", "text": "what?"},
            {"type": "input_image", "image_url": "data:,", "detail": "auto"},
            {"type": "input_file", "filename": "a", "file_data": "data:,"}]}]),
    ("an answer in parts", [{"role": "assistant", "content": [{"type": "text", "text": "H"}, {"text": "i"}]}], [
        {"role": "assistant", "content": "Hi"}]),
    ("a refusal", [{"role": "assistant", "content": None, "refusal": "No"}], [
        {"type": "message", "id": "msg_0", "status": "completed", "role": "assistant",
         "content": [{"type": "refusal", "refusal": "No"}]}]),
    ("calls and outputs", [
        {"role": "assistant", "content": "Hm", "tool_calls": [CALL, CUSTOM]},
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "2"}]}], [
        {"role": "assistant", "content": "Hm"}, ASKS,
        {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "x"},
        {"type": "function_call_output", "call_id": "c1", "output": "1"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "2"}]}]),
    ("the older form", [
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "1"}], [
        {"type": "function_call", "call_id": "call_0", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_0", "output": "1"}]),
    ("reasoning as the model gave it", [
        {"role": "assistant", "response_items": [ENCRYPTED], "tool_calls": [CALL], "reasoning_content": "Hm"}], [
        ENCRYPTED, ASKS]),
    ("reasoning of which there is only a summary", [{"role": "assistant", "content": "Hi", "response_items": [
        {"type": "reasoning", "id": "rs_up", "summary": [{"type": "summary_text", "text": "Hm"}]}]}], [
        {"role": "assistant", "content": "Hi"}]),
    ("reasoning as a client got it", [
        {"role": "assistant", "content": "Hi", "response_items": [
            {**ENCRYPTED, "id": "rs_ours", "encrypted_content": "rs_up~gAAAA"}]}], [
        ENCRYPTED, {"role": "assistant", "content": "Hi"}]),
]  # fmt: skip


@pytest.mark.parametrize(("messages", "wanted"), [each[1:] for each in MESSAGES], ids=[each[0] for each in MESSAGES])
def test_each_message_is_its_items(messages: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    assert asked(messages=[*messages, USER])["input"] == [*wanted, USER]


@pytest.mark.parametrize(
    ("chat", "named"),
    [
        *(
            ({name: value}, f"`{name}`")
            for name, value in {
                "n": 2,
                "stop": "x",
                "seed": 0,
                "presence_penalty": 0.5,
                "functions": [{"name": "f"}],
                "previous_response_id": "resp_another",
                "conversation": "conv_another",
                "prompt": {"id": "pmpt_another"},
                "reasoning": "much",
            }.items()
        ),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["vs"]}]}, "tools of the type `file_search`"),
        ({"tools": [{}]}, "tools of the type `None`"),
        ({"tool_choice": {"type": "web_search"}}, "`tool_choice`"),
        ({"messages": [{**USER, "response_items": [{"type": "item_reference", "id": "x"}]}]}, "`item_reference`"),
        ({"messages": [{"role": "assistant", "audio": {"id": "a"}}]}, "`audio`"),
    ],
)
def test_what_it_cannot_say_is_refused_by_name(chat: dict[str, Any], named: str) -> None:
    """Also what would reach things that are stored under the worker's key."""
    with pytest.raises(ModelError) as caught:
        asked(**chat)
    assert (caught.value.code, caught.value.retryable) == ("model_bad_request", False)
    assert named in caught.value.message
