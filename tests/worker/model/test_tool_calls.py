"""Tool and function calls, however a server cuts, numbers and names them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from readalong.core.events import NewEvent
from tests.worker.model.chunk_helpers import accumulate, call, calls, chunk


def whole(*given_: Any) -> list[tuple[str | None, str | None, Any]]:
    """Returns id, name and arguments of each call at the end of the stream."""
    events, chunks = accumulate(*given_)
    ended = [event.fields for event in events if event.type == "tool_call"]
    assert chunks.tool_calls == ended
    assert [fields["index"] for fields in ended] == list(range(len(ended)))
    return [(fields["id"], fields["name"], fields["arguments"]) for fields in ended]


@given(st.lists(st.dictionaries(st.text(max_size=4), st.text(max_size=9)), min_size=1, max_size=4), st.data())
def test_parallel_calls_come_whole_however_their_fragments_are_cut_and_interleaved(
    arguments: list[dict[str, str]], data: st.DataObject
) -> None:
    rest = [orjson.dumps(one).decode() for one in arguments]
    stream = [calls(call(place, f"c{place}", f"f{place}", "")) for place in range(len(rest))]
    while any(rest):
        place = data.draw(st.sampled_from([place for place, text in enumerate(rest) if text]))
        size = data.draw(st.integers(1, len(rest[place])))
        stream.append(calls(call(place, arguments=rest[place][:size])))
        rest[place] = rest[place][size:]
    assert whole(*stream) == [(f"c{place}", f"f{place}", one) for place, one in enumerate(arguments)]


def test_each_fragment_is_told_as_it_comes() -> None:
    events, chunks = accumulate(calls(call(0, "c", "f", "")), calls(call(0, arguments='{"a"'), call(1, "d", "g", "{}")))
    assert events[:3] == [
        NewEvent("tool_call_delta", {"index": 0, "id": "c", "name": "f", "arguments": ""}),
        NewEvent("tool_call_delta", {"index": 0, "id": "c", "name": "f", "arguments": '{"a"'}),
        NewEvent("tool_call_delta", {"index": 1, "id": "d", "name": "g", "arguments": "{}"}),
    ]
    assert chunks.count == 2


def test_without_an_index_the_id_says_whose_fragment_it_is() -> None:
    stream = [
        calls(call(None, "c", "f", "")),
        calls(call(None, "c", None, '{"a":')),
        calls(call(None, "d", "g", '{"b":')),
        calls(call(None, "c", None, "1}")),
        calls(call(None, "d", None, "2}")),
    ]
    assert whole(*stream) == [("c", "f", {"a": 1}), ("d", "g", {"b": 2})]


def test_without_an_index_and_an_id_a_fragment_goes_on_with_the_last_call() -> None:
    stream = [calls(call(None, "c", "f", '{"a":')), calls(call(arguments="1}")), calls(call(None, "d", "g", "{}"))]
    assert whole(*stream) == [("c", "f", {"a": 1}), ("d", "g", {})]


def test_without_an_index_and_ids_another_name_is_another_call() -> None:
    stream = [calls(call(name="f", arguments='{"a":1}'), call(name="g", arguments="{}"))]
    assert whole(*stream) == [(None, "f", {"a": 1}), (None, "g", {})]


def test_index_always_0_with_a_new_id_is_a_new_call() -> None:
    stream = [
        calls(call(0, "c", "f", '{"a":1}')),
        calls(call(0, "d", "f", '{"a":')),
        calls(call(0, arguments="2}")),
    ]
    assert whole(*stream) == [("c", "f", {"a": 1}), ("d", "f", {"a": 2})]


def test_an_id_that_never_comes_is_none_and_one_that_comes_late_is_taken() -> None:
    assert whole(calls(call(0, None, "f", "{}"))) == [(None, "f", {})]
    assert whole(calls(call(0, "", "f", "{")), calls(call(0, "c", None, "}"))) == [("c", "f", {})]


def test_a_name_and_an_id_that_are_repeated_are_not_doubled() -> None:
    stream = [calls(call(0, "c", "f", '{"a"')), calls(call(0, "c", "f", ":1}"))]
    assert whole(*stream) == [("c", "f", {"a": 1})]


def test_an_index_as_text_is_the_number() -> None:
    assert whole(calls(call("0", "c", "f", "{")), calls(call(0, arguments="}"))) == [("c", "f", {})]


@pytest.mark.parametrize(
    ("given_", "parsed"),
    [
        ({"city": "Köln"}, {"city": "Köln"}),
        ({}, {}),
        ([1, 2], [1, 2]),
        (None, {}),
        ("", {}),
        (" \n", {}),
        ('{"a":1}', {"a": 1}),
        ("null", None),
        ("7", 7),
        (r'{"a":"\ud83d"}', {"a": "\ufffd"}),
    ],
)
def test_arguments_are_parsed_whether_text_an_object_or_nothing(given_: Any, parsed: Any) -> None:
    events, _ = accumulate(calls({"index": 0, "function": {"name": "f", "arguments": given_}}))
    assert events[-1].fields == {"index": 0, "id": None, "name": "f", "arguments": parsed}


@pytest.mark.parametrize("text", ['{"a": 1', "{'a': 1}", "NaN", '{"a": 1}{"b": 2}', "[" * 240 + "]" * 240, "[" * 5000])
def test_broken_arguments_are_an_event_that_says_so(text: str) -> None:
    events, _ = accumulate(calls(call(0, "c", "f", text)))
    fields = events[-1].fields
    assert (events[-1].type, fields["arguments"], fields["arguments_text"]) == ("tool_call", None, text)
    assert fields["arguments_error"]
    assert events[-1].encode()


def test_the_legacy_function_call_is_told_when_it_is_whole() -> None:
    stream = [
        chunk({"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}}),
        chunk({"function_call": {"arguments": '{"a":'}}),
        chunk({"function_call": {"arguments": "1}"}}),
        chunk({}, finish="function_call"),
    ]
    events, chunks = accumulate(*stream)
    assert events == [NewEvent("function_call", {"name": "f", "arguments": {"a": 1}})]
    assert chunks.function_call == events[0].fields
    assert (chunks.count, chunks.finish_reason) == (3, "function_call")


def test_broken_arguments_of_the_legacy_form_say_so_too() -> None:
    events, _ = accumulate(chunk({"function_call": {"name": "f", "arguments": "{"}}))
    assert events[0].fields["arguments"] is None
    assert events[0].fields["arguments_text"] == "{"


def test_calls_of_another_choice_carry_its_number() -> None:
    stream = [
        chunk({"tool_calls": [call(0, "c", "f", "{}")]}, index=1),
        chunk({"function_call": {"name": "g", "arguments": "{}"}}, index=2),
    ]
    events, chunks = accumulate(*stream)
    assert [(event.type, event.fields["choice"]) for event in events] == [
        ("tool_call_delta", 1),
        ("tool_call", 1),
        ("function_call", 2),
    ]
    assert chunks.function_call is None
