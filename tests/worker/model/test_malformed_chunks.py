"""Malformed chunks, nulls, wrong types, any JSON and any bytes raise nothing but ModelError."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from readalong.core.errors import ModelError
from readalong.core.events import TYPES, NewEvent
from readalong.worker.model.chunks.accumulator import ChunkAccumulator
from tests.worker.model.chunk_helpers import add, call, calls, chunk

MALFORMED = [
    b"",
    b"half a ch",
    b'{"choices":[',
    b"[]",
    b"null",
    b'"text"',
    b"7",
    b"\xff\xfe",
    b'{"choices":{}, "choices":{"0":1}}',
    b'{"choices":[7]}',
    b'{"choices":[{"delta":"text"}]}',
    b'{"choices":[{"index":"first"}]}',
    b'{"choices":[{"index":-1}]}',
    b'{"choices":[{"index":1e400}]}',
    b'{"choices":[{"index":0.5}]}',
    b'{"choices":[{"index":99999999999999999999}]}',
    b'{"choices":[{"index":"\xc2\xb2"}]}',
    b'{"choices":[{"index":[0]}]}',
    b'{"choices":[{"delta":{"tool_calls":["f"]}}]}',
    b'{"choices":[{"delta":{"tool_calls":[{"function":"f"}]}}]}',
    b'{"choices":[{"delta":{"tool_calls":[{"index":{}}]}}]}',
    b'{"choices":[{"delta":{"function_call":"f"}}]}',
    b'{"a":' + b"[" * 240 + b"]" * 240 + b"}",
    b'{"a":' + b"[" * 1100 + b"]" * 1100 + b"}",
    b'{"a":' + b"[" * 100_000,
]


@pytest.mark.parametrize("data", MALFORMED, ids=lambda data: f"{data[:60]!r} {len(data)} bytes")
def test_a_malformed_chunk_is_the_models_error_and_worth_another_try(data: bytes) -> None:
    with pytest.raises(ModelError) as caught:
        ChunkAccumulator().add(data)
    assert (caught.value.code, caught.value.retryable) == ("model_malformed", True)


HALF = [
    {"choices": [{"delta": {"content": "b", "reasoning": "c", "refusal": "d", "function_call": 1}}]},
    {"choices": [{"delta": {"content": "b"}}, {"index": 1, "delta": {"content": "c"}}, {"index": "x"}]},
    {"choices": [{"delta": {"content": "b"}, "message": {"content": "abc", "tool_calls": [{"function": 1}]}}]},
    {"choices": [{"delta": {"tool_calls": [{"content": "b"}], "function_call": 1}}]},
    [chunk({"content": "b"}), {"choices": [7]}],
    [chunk({"content": "b"}), {"error": "full"}],
]


@pytest.mark.parametrize("given_", HALF, ids=repr)
def test_nothing_is_kept_of_a_message_that_is_half_malformed(given_: Any) -> None:
    """Its events are discarded: the terminal event must not say more than the events before."""
    chunks = ChunkAccumulator()
    add(chunks, chunk({"content": "a"}))
    with pytest.raises(ModelError):
        add(chunks, given_)
    assert chunks.text() == "a"
    assert all(other["content"] == "" for other in chunks.other_choices())
    [event] = add(chunks, {"choices": [{"message": {"content": "ae", "reasoning": "", "refusal": ""}}]})
    assert event.fields == {"content": "e"}


PATIENCE: list[tuple[Any, list[str]]] = [
    ({}, []),
    ({"choices": None, "usage": None, "error": None}, []),
    ({"choices": [None, {}]}, []),
    (chunk(None), []),
    ({"choices": [{"index": None, "delta": None, "message": None, "finish_reason": None, "logprobs": None}]}, []),
    (chunk({"content": None, "refusal": None, "tool_calls": None, "function_call": None, "role": None}), []),
    (chunk({"tool_calls": [None], "function_call": {}}), []),
    (calls({"index": 0, "id": None, "type": None, "function": None}), ["tool_call_delta"]),
    (chunk({"content": "a"}, index="0"), ["content"]),
    (chunk({"content": "a"}, index=0.0), ["content"]),
    (chunk({"content": 7, "refusal": {}, "reasoning": True}), []),
    ({"choices": [{"delta": {"content": "a"}, "logprobs": [1], "finish_reason": 7}]}, ["content"]),
    ({"choices": [{"delta": {"content": "a"}}], "usage": 7}, ["content"]),
    (calls(call("1", 7, {"a": 1}, [2])), ["tool_call_delta"]),
]


@pytest.mark.parametrize(("given_", "kinds"), PATIENCE, ids=repr)
def test_nulls_and_small_oddities_are_borne_with(given_: Any, kinds: list[str]) -> None:
    assert [event.type for event in add(ChunkAccumulator(), given_)] == kinds


def as_json(value: Any) -> bytes:
    """Returns JSON as a careless server writes it, with NaN, huge numbers and lone surrogates."""
    return json.dumps(value).encode()


odd = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["0", "1", "[", "{"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Generates mostly valid values, sometimes any value."""
    return st.one_of(strategy, strategy, strategy, odd)


def shaped(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Generates an object with some of these fields, with any values, and with unknown fields."""
    known = st.fixed_dictionaries({}, optional={name: maybe(value) for name, value in fields.items()})
    return maybe(
        st.builds(lambda one, two: {**two, **one}, known, st.dictionaries(st.text(max_size=3), odd, max_size=1))
    )


text = st.text(max_size=5)
function = shaped(name=text, arguments=text)
fragment = shaped(index=st.integers(0, 2), id=text, type=st.just("function"), function=function)
parts = st.lists(shaped(type=text, text=text, thinking=text, summary=text), max_size=2)
delta_ = shaped(
    role=text,
    content=text | parts,
    refusal=text,
    reasoning=text,
    reasoning_content=text,
    reasoning_details=parts,
    tool_calls=st.lists(fragment, max_size=3),
    function_call=function,
)
choice = shaped(index=st.integers(0, 2), delta=delta_, message=delta_, finish_reason=text, logprobs=odd)
any_chunk = shaped(choices=st.lists(choice, max_size=2), usage=odd, error=odd, id=text, object=text)


@given(st.lists(any_chunk, max_size=6))
def test_whatever_json_a_model_sends_nothing_but_the_models_error_comes_out(stream: list[Any]) -> None:
    chunks = ChunkAccumulator()
    codes: set[str] = set()
    events: list[NewEvent] = []
    for one in stream:
        try:
            events += chunks.add(as_json(one))
        except ModelError as error:
            codes.add(error.code)
    assert codes <= {"model_malformed", "model_error"}
    events += chunks.close()
    for event in events:
        assert event.type in TYPES
        assert event.encode().startswith(b"{")
    said = [event.fields["content"] for event in events if event.type == "content" and not event.fields.get("choice")]
    assert chunks.text() == "".join(said)
    end = (chunks.other_choices(), chunks.take_extra(), chunks.usage, chunks.tool_calls, chunks.function_call)
    assert orjson.dumps(end)


@given(st.binary() | odd.map(as_json))
def test_whatever_bytes_a_model_sends_nothing_but_the_models_error_comes_out(data: bytes) -> None:
    try:
        ChunkAccumulator().add(data)
    except ModelError:
        return
