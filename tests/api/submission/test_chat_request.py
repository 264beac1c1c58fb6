"""The fields of a client's request, and the error for a wrong one. Parameters of the model are the model's to judge."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from readalong.api.submission.chat_request import ChatRequest, check
from readalong.api.submission.gateway_fields import is_gateway_field
from readalong.core.errors import InvalidRequest

MESSAGES: list[dict[str, Any]] = [{"role": "user", "content": "hi"}]


def user(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


GOOD: dict[str, dict[str, Any]] = {
    "the least": {},
    "roles": {"messages": [{"role": role, "content": "x"} for role in ("developer", "system", "user", "assistant")]},
    "a content list": user([{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "data:,"}}]),
    "an empty content list": user([]),
    "no content": {"messages": [{"role": "assistant"}]},
    "null content with tool calls": {
        "messages": [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            }
        ]
    },
    "a tool's answer": {"messages": [{"role": "tool", "tool_call_id": "c", "content": "42"}]},
    "a function's answer": {"messages": [{"role": "function", "name": "f", "content": "42"}]},
    "tools": {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
    "a custom tool": {"tools": [{"type": "custom", "custom": {"name": "f"}}]},
    "functions": {"functions": [{"name": "f", "parameters": {"type": "object"}}], "function_call": "auto"},
    "unusual roles": {"messages": [{"role": role, "content": "x"} for role in ("ipython", "critic", None, 5)]},
    "no role": {"messages": [{}]},
    "content of other shapes": {"messages": [{"role": "user", "content": content} for content in ({"text": "x"}, 5)]},
    "tools without a type": {"tools": [{"name": "f", "input_schema": {}}, {"functionDeclarations": []}, "f"]},
    "no limit": {"max_tokens": -1, "max_completion_tokens": 0, "seed": -1},
    "numbers of other servers": {
        "temperature": 5,
        "top_p": 1.5,
        "top_logprobs": 100,
        "logprobs": 5,
        "stop": 7,
        "n": 500,
    },
    "ours": {"on_worker_lost": "fail", "deadline": 0.5, "cancel_on_disconnect": True},
    "cancelled at once": {"cancel_on_disconnect": 0},
    "cancelled after a minute": {"cancel_on_disconnect": 60.5},
    "nulls": dict.fromkeys(("model", "temperature", "tools", "stop", "metadata", "seed")),
    "stream false": {"stream": False},
    "unknown parameters": {"reasoning_effort": "high", "service_tier": None, "x": {"y": [1, 2.5, None]}},
    "metadata": {"metadata": {"user": "u", "deep": {"list": [1, {"a": None}]}}},
}

BAD: list[tuple[dict[str, Any], str]] = [
    ({"messages": []}, "messages"),
    ({"messages": None}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": {"role": "user"}}, "messages"),
    ({"messages": ["hi"]}, "messages.0"),
    ({"messages": [*MESSAGES, None]}, "messages.1"),
    ({"model": ""}, "model"),
    ({"model": 5}, "model"),
    ({"model": "m" * 257}, "model"),
    ({"metadata": []}, "metadata"),
    ({"metadata": "x"}, "metadata"),
    ({"n": 0}, "n"),
    ({"n": 1.0}, "n"),
    ({"n": "1"}, "n"),
    ({"stream_options": []}, "stream_options"),
    ({"stream": "yes"}, "stream"),
    ({"on_worker_lost": "maybe"}, "on_worker_lost"),
    ({"deadline": 0}, "deadline"),
    ({"deadline": True}, "deadline"),
    ({"cancel_on_disconnect": -1}, "cancel_on_disconnect"),
    ({"cancel_on_disconnect": 86_401}, "cancel_on_disconnect"),
    ({"cancel_on_disconnect": "true"}, "cancel_on_disconnect"),
]


@pytest.mark.parametrize("fields", GOOD.values(), ids=GOOD.keys())
def test_what_a_model_would_take_passes(fields: dict[str, Any]) -> None:
    assert isinstance(check({"messages": MESSAGES, **fields}), ChatRequest)


@pytest.mark.parametrize(("fields", "path"), BAD, ids=[f"{path}-{number}" for number, (_, path) in enumerate(BAD)])
def test_a_wrong_field_is_named_by_its_path(fields: dict[str, Any], path: str) -> None:
    """The sentence begins with the path, and the path is the error's field."""
    with pytest.raises(InvalidRequest) as caught:
        check({"messages": MESSAGES, **fields})
    assert caught.value.field == path
    assert caught.value.code == "invalid_request"
    assert caught.value.message.startswith(f"{path}: ")
    assert not caught.value.retryable


def test_a_body_without_messages_names_them() -> None:
    with pytest.raises(InvalidRequest) as caught:
        check({})
    assert caught.value.field == "messages"


def test_the_first_of_several_mistakes_is_named() -> None:
    with pytest.raises(InvalidRequest) as caught:
        check({"messages": [5, 6], "n": 0})
    assert caught.value.field == "messages.0"


def test_the_error_does_not_repeat_what_the_client_sent() -> None:
    """An error with a prompt would end up in logs."""
    with pytest.raises(InvalidRequest) as caught:
        check({"messages": MESSAGES, "n": "secret"})
    assert "secret" not in caught.value.message


@given(
    st.dictionaries(
        st.text(min_size=1).filter(lambda name: name not in ChatRequest.model_fields and not is_gateway_field(name)),
        st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers()),
        max_size=5,
    )
)
def test_unknown_parameters_pass(unknown: dict[str, Any]) -> None:
    """The model judges them, and the API does not."""
    request = check({**unknown, "messages": MESSAGES})
    assert request.model_extra == unknown


def mistake(body: dict[str, Any]) -> str | None:
    """Returns the wrong top-level field; None if the body is valid."""
    try:
        check(body)
    except InvalidRequest as error:
        return (error.field or "no field").split(".")[0]
    return None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )
)
def test_any_json_in_any_field_is_taken_or_refused_by_name(value: Any) -> None:
    """Any value of any field gives a request, or an InvalidRequest that names this field."""
    for name in ChatRequest.model_fields:
        assert mistake({"messages": MESSAGES, name: value}) in (None, name)
