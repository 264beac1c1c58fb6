"""The accumulator turns chunks into events: text, choices, usage and extra fields."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from readalong.core.errors import ModelError
from readalong.core.events import NewEvent, merge_drafts
from readalong.worker.model.chunks.accumulator import ChunkAccumulator
from tests.worker.model.chunk_helpers import accumulate, add, chunk


def texts(events: list[NewEvent], kind: str = "content") -> list[str]:
    return [event.fields["content"] for event in events if event.type == kind]


@given(st.text(), st.lists(st.integers(0, 200)))
def test_any_split_of_a_text_gives_the_same_text(text: str, cuts: list[int]) -> None:
    places = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    pieces = [text[start:stop] for start, stop in pairwise(places)]
    events, chunks = accumulate(*(chunk({"content": piece}) for piece in pieces), chunk(finish="stop"))
    assert chunks.text() == "".join(texts(events)) == "".join(texts(merge_drafts(events))) == text
    assert chunks.count == sum(1 for piece in pieces if piece)
    assert (chunks.finished, chunks.finish_reason) == (True, "stop")


def test_content_may_be_a_list_of_parts_and_mistrals_thinking_is_reasoning() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    events, chunks = accumulate(
        chunk({"content": [thinking, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]})
    )
    assert (texts(events, "reasoning"), texts(events), chunks.text()) == (["hm"], ["ab"], "ab")
    assert "extra" not in events[0].fields


def test_a_part_that_is_no_text_is_kept_as_it_came() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:"}}
    events, _ = accumulate(chunk({"content": [{"type": "text", "text": "a"}, picture]}))
    assert events[0].fields == {"content": "a", "extra": {"choices.0.delta.content": [picture]}}


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning_content": "hm"},
        {"reasoning": "hm"},
        {"reasoning_details": [{"type": "reasoning.text", "text": "h"}, {"type": "reasoning.summary", "summary": "m"}]},
        {"reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]},
        {"reasoning_content": "hm", "reasoning": "hm"},
        {"reasoning_content": None, "reasoning": "hm", "content": None},
    ],
)
def test_reasoning_under_each_of_its_names_is_told_once(delta: dict[str, Any]) -> None:
    """And with the model's own name for it, unless that is the usual one."""
    events, chunks = accumulate(chunk(delta))
    field = {} if delta.get("reasoning_content") or not delta.get("reasoning") else {"field": "reasoning"}
    assert [(event.type, event.fields) for event in events] == [("reasoning", {"content": "hm", **field})]
    assert chunks.text() == ""


def test_the_name_of_reasoning_is_told_when_it_changes() -> None:
    """The pieces in between merge in the log."""
    names = ("reasoning", "reasoning", "reasoning_content", "reasoning_content")
    events, _ = accumulate(*(chunk({name: "a"}) for name in names))
    assert [event.fields.get("field") for event in events] == ["reasoning", None, "reasoning_content", None]


def test_a_signature_of_reasoning_is_kept_as_it_came() -> None:
    detail = {"type": "reasoning.encrypted", "data": "c2VjcmV0"}
    events, _ = accumulate(chunk({"content": "a", "reasoning_details": [detail]}))
    assert events[0].fields["extra"] == {"choices.0.delta.reasoning_details": [detail]}


def test_a_refusal_is_an_event_of_its_own() -> None:
    events, chunks = accumulate(chunk({"refusal": "no"}), chunk({"refusal": None}, finish="stop"))
    assert events == [NewEvent("refusal", {"content": "no"})]
    assert chunks.text() == ""


def test_a_whole_message_is_folded_like_a_delta() -> None:
    message = {
        "role": "assistant",
        "content": "hi",
        "refusal": None,
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}],
    }
    body = {
        "id": "x",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"total_tokens": 3},
    }
    events, chunks = accumulate(body)
    assert [event.type for event in events] == ["content", "tool_call_delta", "tool_call"]
    assert events[2].fields == {"index": 0, "id": "c", "name": "f", "arguments": {"a": 1}}
    assert (chunks.text(), chunks.finish_reason, chunks.finished) == ("hi", "tool_calls", True)
    assert chunks.usage == {"total_tokens": 3}


def test_choices_stay_apart_and_carry_their_number() -> None:
    both = {"choices": [{"index": 1, "delta": {"content": "b"}}, {"index": 0, "delta": {"content": "a"}}]}
    events, chunks = accumulate(both, chunk({"content": "c"}, index=1, finish="length"), chunk({}, finish="stop"))
    assert [event.fields for event in events] == [
        {"content": "b", "choice": 1},
        {"content": "a"},
        {"content": "c", "choice": 1},
    ]
    assert (chunks.text(), chunks.finish_reason) == ("a", "stop")
    assert chunks.other_choices() == [{"choice": 1, "content": "bc", "finish_reason": "length"}]


def test_the_answer_is_finished_only_when_every_choice_is() -> None:
    chunks = ChunkAccumulator()
    assert not chunks.finished
    add(chunks, chunk({"content": "a"}), chunk({"content": "b"}, index=1), chunk(finish="stop"))
    assert not chunks.finished
    add(chunks, chunk(index=1, finish="stop"))
    assert chunks.finished


def test_log_probabilities_stay_with_their_token_and_keep_it_from_being_merged() -> None:
    def token(text: str) -> dict[str, Any]:
        logprobs = {"content": [{"token": text, "logprob": -0.1}], "refusal": None}
        return {"choices": [{"index": 0, "delta": {"content": text}, "logprobs": logprobs}]}

    events, _ = accumulate(token("a"), token("b"), chunk({"content": "c"}), chunk({"content": "d"}))
    merged = merge_drafts(events)
    assert texts(merged) == ["a", "b", "cd"]
    assert [event.fields["logprobs"]["content"][0]["token"] for event in merged[:2]] == ["a", "b"]


def test_log_probabilities_of_a_token_without_text_are_not_lost() -> None:
    logprobs = {"content": [{"token": "\\xf0", "logprob": -1.0, "bytes": [240]}]}
    events, chunks = accumulate({"choices": [{"index": 0, "delta": {"content": ""}, "logprobs": logprobs}]})
    assert events == [NewEvent("content", {"content": "", "logprobs": logprobs})]
    assert (chunks.text(), chunks.count) == ("", 1)


def test_azures_first_chunk_says_nothing_and_its_filter_results_ride_with_the_next_event() -> None:
    results = [{"prompt_index": 0, "content_filter_results": {"hate": {"filtered": False}}}]
    azure = {"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": results}
    chunks = ChunkAccumulator()
    assert add(chunks, azure) == []
    assert chunks.count == 0
    named = {"id": "c", "object": "chat.completion.chunk", "created": 7, "model": "m"}
    assert add(chunks, chunk({"content": "a"}, **named)) == [
        NewEvent("content", {"content": "a", "extra": {"prompt_filter_results": results, **named}})
    ]


def test_azures_late_filter_chunk_has_no_delta_and_goes_with_the_end() -> None:
    offsets = {"check_offset": 0, "start_offset": 0, "end_offset": 9}
    late = {"index": 0, "finish_reason": None, "content_filter_offsets": offsets}
    chunks = ChunkAccumulator()
    add(chunks, chunk({"content": "a"}, finish="stop", id="c", model="m"))
    assert add(chunks, {"id": "", "object": "", "created": 0, "model": "", "choices": [late]}) == []
    assert chunks.finished
    assert chunks.take_extra() == {"choices.0.content_filter_offsets": offsets, "created": 0}
    assert chunks.take_extra() == {}


def test_usage_comes_in_a_chunk_without_choices_and_a_null_does_not_clear_it() -> None:
    events, chunks = accumulate({"choices": [], "usage": {"total_tokens": 9}}, {"choices": [], "usage": None})
    assert (events, chunks.usage, chunks.count) == ([], {"total_tokens": 9}, 0)


@pytest.mark.parametrize(
    ("deltas", "hidden"),
    [([{"content": "a"}], 40), ([{"reasoning": "hm"}, {"content": "a"}], 0)],
    ids=["hidden", "shown"],
)
def test_reasoning_that_was_not_shown_counts_as_hidden_tokens(deltas: list[Any], hidden: int) -> None:
    usage = {"completion_tokens": 50, "completion_tokens_details": {"reasoning_tokens": 40}}
    _, chunks = accumulate(*(chunk(delta) for delta in deltas), {"choices": [], "usage": usage})
    assert chunks.hidden_tokens == hidden


@pytest.mark.parametrize("details", [None, 5, {}, {"reasoning_tokens": None}, {"reasoning_tokens": -3}])
def test_no_tokens_are_hidden_where_the_usage_does_not_say_so(details: Any) -> None:
    _, chunks = accumulate({"choices": [], "usage": {"completion_tokens_details": details}})
    assert chunks.hidden_tokens == 0


def test_unknown_fields_ride_once_and_again_when_they_change() -> None:
    chunks = ChunkAccumulator()
    extras = [
        add(chunks, {**chunk({"content": "a", "annotations": notes}), "id": id_, "system_fingerprint": print_})[
            0
        ].fields.get("extra")
        for notes, id_, print_ in (([1], "x", "f"), ([1], "y", "f"), ([2], "y", "g"))
    ]
    assert extras == [
        {"id": "x", "system_fingerprint": "f", "choices.0.delta.annotations": [1]},
        None,  # the first id counts: some servers count it up
        {"system_fingerprint": "g", "choices.0.delta.annotations": [2]},
    ]


def test_padding_against_eavesdroppers_is_not_kept() -> None:
    events, _ = accumulate(chunk({"content": "a"}, obfuscation="k3j"))
    assert events == [NewEvent("content", {"content": "a"})]


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (rb"\ud83d", "\ufffd"),
        (rb"\ude00", "\ufffd"),
        (rb"a\ud83db", "a\ufffdb"),
        (rb"\ude00\ud83d\ude00", "\ufffd\U0001f600"),
        (rb"\ud83d\ude00", "\U0001f600"),
    ],
)
def test_half_a_surrogate_pair_becomes_the_replacement_character(sent: bytes, told: str) -> None:
    events, chunks = accumulate(b'{"choices":[{"index":0,"delta":{"content":"%s"}}]}' % sent)
    assert chunks.text() == told
    assert orjson.loads(events[0].encode())["content"] == told


def test_line_separators_of_unicode_are_text() -> None:
    text = "a\u2028b\u2029c\u0085d\x00\x0b"
    assert accumulate(chunk({"content": text}))[1].text() == text


@pytest.mark.parametrize(
    ("chunk_", "message", "may_help"),
    [
        ({"error": {"message": "overloaded", "code": 529}}, "overloaded", True),
        ({"error": {"message": "slow down", "code": "429"}}, "slow down", True),
        ({"error": {"message": None, "code": "insufficient_quota"}}, "insufficient_quota", True),
        ({"error": "no such adapter", "choices": []}, "no such adapter", True),
        ({"error": "no such adapter", "status": 404}, "no such adapter", False),
        ({"base_resp": {"status_code": 1004, "status_msg": "login fail"}}, "login fail", True),
        ({"detail": [{"loc": ["body", "n"], "msg": "too many"}]}, "body.n: too many", True),
        ({"code": "InvalidParameter", "message": "no such field", "request_id": "r"}, "no such field", True),
        ({"success": False, "errors": [{"code": 7, "message": "busy"}]}, "busy", True),
        (chunk({"content": "a"}, finish="error"), "its finish reason is `error`", True),
        ({"choices": [{"index": 0, "error": {"code": 502, "message": "upstream"}}]}, "upstream", True),
    ],
)
def test_an_error_inside_the_stream_is_the_models_error(chunk_: Any, message: str, may_help: bool) -> None:
    """It has the server's message. A number in it decides whether another try may help."""
    with pytest.raises(ModelError) as caught:
        accumulate(chunk_)
    assert (caught.value.code, caught.value.retryable) == ("model_error", may_help)
    assert caught.value.message == f"The model reported an error: {message}"


@pytest.mark.parametrize(
    ("chunk_", "param", "model_code"),
    [
        ({"object": "error", "message": "too long", "param": "messages", "code": 400}, "messages", None),
        ([{"error": [{"message": "too long", "code": 413}]}], None, None),
        ({"error": {"message": {"text": "too long"}, "param": {}, "code": 422}}, None, None),
        ({"error": {"message": "too long", "param": "n", "code": "long"}, "status": 400}, "n", "long"),
    ],
)
def test_an_error_inside_the_stream_that_blames_the_request_names_what_is_wrong(
    chunk_: Any, param: str | None, model_code: str | None
) -> None:
    with pytest.raises(ModelError) as caught:
        accumulate(chunk_)
    error = caught.value
    assert (error.code, error.retryable) == ("model_bad_request", False)
    assert (error.message, error.param, error.model_code) == (
        "The model reported an error: too long",
        param,
        model_code,
    )


@pytest.mark.parametrize(
    "more",
    [
        {"code": 0, "message": "Success", "sid": "s"},
        {"base_resp": {"status_code": 0, "status_msg": ""}},
        {"code": 200, "msg": "ok"},
        {"type": "chat.completion.chunk"},
    ],
)
def test_a_code_that_says_that_all_is_well_is_no_error(more: dict[str, Any]) -> None:
    assert accumulate(chunk({"content": "a"}), {"choices": [], "usage": {"total_tokens": 1}, **more})[1].text() == "a"


@pytest.mark.parametrize("empty", [None, False, {}, [], ""])
def test_an_empty_error_is_none(empty: Any) -> None:
    assert accumulate(chunk({"content": "a"}, error=empty))[1].text() == "a"
