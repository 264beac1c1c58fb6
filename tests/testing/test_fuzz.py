"""The model answers or refuses any JSON, and never fails."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from readalong.testing.chat_request import parse_chat_request
from readalong.testing.chunks import Envelope, answer_frames
from readalong.testing.errors import ApiError
from readalong.testing.reply import build_reply
from readalong.testing.tool_calls import tool_calls_for
from tests.testing.support import MESSAGES, ask

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 30) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_FIELDS = (
    "messages n max_tokens max_completion_tokens stop stream stream_options tools functions tool_choice "
    "function_call parallel_tool_calls logprobs top_logprobs temperature top_p demo"
)
_WORDS = (
    "type properties items enum anyOf oneOf allOf $ref const default examples minItems minimum maximum maxLength format"
)
_SCHEMAS = st.recursive(
    st.dictionaries(st.sampled_from(_WORDS.split()), _JSON, max_size=3)
    | st.sampled_from(["string", "integer", "number", "array", "boolean", "object", "null"]).map(
        lambda kind: {"type": kind}
    )
    | st.just({"$ref": "#"}),
    lambda inner: (
        st.builds(lambda a: {"type": "object", "properties": {"a": a, "b": a}}, inner)
        | st.builds(lambda a: {"type": "array", "items": a, "minItems": 9}, inner)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(_FIELDS.split()), _JSON))
def test_any_body_is_answered_or_refused(fields: dict[str, Any]) -> None:
    try:
        request = parse_chat_request({"model": "demo", "messages": MESSAGES, **fields})
    except ApiError:
        return
    reply = build_reply(request)
    if not any(choice.endless for choice in reply.choices):
        assert list(answer_frames(request, reply, Envelope("id", 0, request)))


@given(_SCHEMAS)
def test_any_schema_gets_arguments(schema: dict[str, Any]) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    (call,) = tool_calls_for(parse_chat_request(ask(tools=[tool], tool_choice="required")), 1)
    assert len(call.arguments) < 200_000
