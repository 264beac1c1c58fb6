"""The Responses format: its very bytes, and what openai-python's own types and helper make of them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ParsedResponse, Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from readalong.api.wire.openai_responses.output import model_call_id
from readalong.api.wire.openai_responses.response_object import ResponseHead, echo_of
from readalong.api.wire.openai_responses.responses_format import ResponsesFormat
from readalong.api.wire.openai_responses.starting_after import StartingAfter, UntilLost
from readalong.core.events import UNNUMBERED, Event, merge
from readalong.core.sse import Decoder

GOLDEN = Path(__file__).parent / "golden"
JOB = "job-of-twenty-two-char"
HEAD = ResponseHead(JOB, "m", 1_700_000_000_900, echo_of({}))
EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)

Said = tuple[str, dict[str, Any]]
BEGIN: list[Said] = [("queued", {"job_id": JOB}), ("started", {"attempt": 1})]
USAGE = {
    "prompt_tokens": 3,
    "completion_tokens": 9,
    "total_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 4},
}
DONE: Said = ("done", {"finish_reason": "stop", "content": "", "usage": USAGE, "metrics": {"total_seconds": 2.5}})
FAILED: Said = ("failed", {"error": {"code": "model_stalled", "message": "Silence.", "retryable": True}, "usage": None})
LOGPROB = {"token": "Hi", "logprob": -0.5, "bytes": None, "top_logprobs": []}
CITED = {"type": "url_citation", "url_citation": {"url": "http://a", "title": "A", "start_index": 0, "end_index": 2}}


def restarted(attempt: int = 2) -> Said:
    return "restarted", {"attempt": attempt, "reason": "worker_lost"}


def content(text: str, **more: Any) -> Said:
    return "content", {"content": text, **more}


def fragment(arguments: str, *, index: int = 0, call_id: str | None = "call_1", **more: Any) -> Said:
    return "tool_call_delta", {"index": index, "id": call_id, "name": "f", "arguments": arguments, **more}


def called(arguments: Any, *, index: int = 0, call_id: str | None = "call_1", **more: Any) -> Said:
    return "tool_call", {"index": index, "id": call_id, "name": "f", "arguments": arguments, **more}


ATTEMPT: list[Said] = [
    ("reasoning", {"content": "Hm"}),
    content("Hi", logprobs={"content": [LOGPROB]}),
    content("", extra={"choices.0.delta.annotations": [CITED]}),
    ("refusal", {"content": "No"}),
    fragment('{"a"'),
    fragment("", index=1, call_id=None, tool_type="custom"),
]
#: Each thing that an answer may have, and a lost attempt that had begun all of them.
WHOLE: list[Said] = [
    *BEGIN,
    *ATTEMPT,
    restarted(),
    *ATTEMPT,
    fragment(":1}"),
    fragment("text", index=1, call_id=None, tool_type="custom"),
    called({"a": 1}, extra_content={"signature": "s"}),
    called(None, index=1, call_id=None, tool_type="custom", input="text"),
    content("other", choice=1),
    ("waiting", {"for": "model", "reason": "model_unreachable", "seconds": 1}),
    DONE,
]


def log_of(said: Sequence[Said]) -> list[Event]:
    return [Event(seq, kind, orjson.dumps(fields)) for seq, (kind, fields) in enumerate(said, 1)]


def frames_of(said: Sequence[Said], head: ResponseHead = HEAD) -> bytes:
    wire = ResponsesFormat(head)
    return b"".join(wire.encode(event) for event in log_of(said))


def events_of(frames: bytes) -> list[dict[str, Any]]:
    """The events, each checked: its type is said twice, its number follows, and it is of the SDK's type."""
    found = []
    for message in Decoder().feed(frames):
        event = orjson.loads(message.data)
        assert event["type"] == message.event
        EVENTS.validate_python(event)
        found.append(event)
    first = found[0]["sequence_number"] if found else 0
    assert [event["sequence_number"] for event in found] == list(range(first, first + len(found)))
    return found


def accumulate(frames: bytes, text_format: Any = omit) -> ParsedResponse[Any] | None:
    """What openai-python's `responses.stream` ends with; None without `response.completed`."""
    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=omit, text_format=text_format)
    for event in events_of(frames):
        state.handle_event(EVENTS.validate_python(event))
    return state._completed_response


def kinds_of(frames: bytes) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events_of(frames)]


def last_response(frames: bytes) -> dict[str, Any]:
    response: dict[str, Any] = events_of(frames)[-1]["response"]
    Response.model_validate(response, strict=True)
    return response


def test_the_transcript_of_everything_byte_for_byte() -> None:
    """Also after a lost attempt whose message and calls were open."""
    assert frames_of(WHOLE) == (GOLDEN / "openai_responses.sse").read_bytes()


def test_the_helper_ends_with_the_last_attempt_alone() -> None:
    final = accumulate(frames_of(WHOLE))
    assert final is not None
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call", "custom_tool_call"]
    assert final.output_text == "Hi"
    assert final.usage is not None
    assert (final.usage.input_tokens, final.usage.input_tokens_details.cached_tokens) == (3, 2)
    assert (final.usage.output_tokens, final.usage.output_tokens_details.reasoning_tokens) == (9, 4)
    assert final.completed_at == 1_700_000_003


def test_a_restart_repeats_the_lost_items_and_goes_on_behind_them() -> None:
    """openai-node wants each new index to be the length of the output; openai-python refuses an index twice."""
    said = [*BEGIN, content("old"), restarted(), restarted(3), content("new"), DONE]
    events = events_of(frames_of(said))
    again = [event for event in events if event["type"] == "response.in_progress"][1:]
    assert [[item["status"] for item in event["response"]["output"]] for event in again] == [["incomplete"]] * 2
    added = [event for event in events if event["type"] == "response.output_item.added"]
    assert [event["output_index"] for event in added] == [0, 1]
    assert [event["item"]["id"] for event in added] == [f"msg_{JOB}", f"msg_{JOB}_a3"]
    assert [item["id"] for item in events[-1]["response"]["output"]] == [f"msg_{JOB}_a3"]


class Answer(BaseModel):
    """What a client of `text_format` wants."""

    a: int


@pytest.mark.parametrize(
    "end", [FAILED, ("cancelled", {"by": "client"}), restarted()], ids=["failed", "cancelled", "lost"]
)
def test_half_a_text_is_never_told_as_a_whole_one(end: Said) -> None:
    """The helper parses each whole text: half a JSON would break the stream before its end, or its second attempt."""
    said = [*BEGIN, content('{"a"'), end]
    if end[0] == "restarted":
        final = accumulate(frames_of([*said, content('{"a":1}'), DONE]), Answer)
        assert final is not None
        assert final.output_parsed == Answer(a=1)
    else:
        accumulate(frames_of(said), Answer)
        assert last_response(frames_of(said))["output"][0]["status"] == "incomplete"


def test_the_order_of_one_text() -> None:
    assert kinds_of(frames_of([*BEGIN, content("a"), content("b"), DONE])) == [
        *("created", "queued", "in_progress", "output_item.added", "content_part.added"),
        *("output_text.delta", "output_text.delta", "output_text.done", "content_part.done", "output_item.done"),
        "completed",
    ]


def test_a_summary_is_shown_to_a_client_that_asks_for_one() -> None:
    head = ResponseHead(JOB, "m", 0, echo_of({"reasoning": {"effort": None, "summary": "auto"}}))
    frames = frames_of([*BEGIN, ("reasoning", {"content": "Hm"}), content("Hi"), DONE], head)
    assert kinds_of(frames)[3:10] == [
        *("output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta"),
        *("reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done", "output_item.added"),
    ]
    reasoning = last_response(frames)["output"][0]
    assert reasoning["summary"] == [{"type": "summary_text", "text": "Hm"}]
    assert "content" not in reasoning


def test_the_items_of_a_model_that_speaks_responses_are_given_back() -> None:
    """Whatever reasoning the request asks for. Encrypted reasoning that said nothing is an item of its own."""
    thought = {"type": "reasoning", "id": "rs_up", "summary": [], "encrypted_content": "gAAAA"}
    search = {
        "type": "web_search_call",
        "id": "ws_up",
        "status": "completed",
        "action": {"type": "search", "query": "q"},
    }

    def kept(item: dict[str, Any]) -> Said:
        return content("", extra={"choices.0.delta.response_items": [item]})

    begins = {"content": "Hm", "extra": {"choices.0.delta.reasoning_type": "summary_text"}}
    said = [("reasoning", begins), kept(thought), kept(search), kept(thought), content("Hi"), DONE]
    frames = frames_of([*BEGIN, *said])
    output = last_response(frames)["output"]
    encrypted = {"encrypted_content": "rs_up~gAAAA", "status": "completed", "type": "reasoning"}
    assert output[:3] == [
        {**encrypted, "id": f"rs_{JOB}", "summary": [{"type": "summary_text", "text": "Hm"}]},
        {**search, "id": f"item_{JOB}"},
        {**encrypted, "id": f"rs_{JOB}_1", "summary": []},
    ]
    whole = accumulate(frames)
    assert whole is not None
    assert (whole.output_text, len(whole.output)) == ("Hi", 4)


ENDS: list[tuple[str, Said, str, dict[str, Any]]] = [
    ("length", ("done", {"finish_reason": "length"}), "incomplete", {"reason": "max_output_tokens"}),
    ("filter", ("done", {"finish_reason": "content_filter"}), "incomplete", {"reason": "content_filter"}),
    ("failed", FAILED, "failed", {"code": "server_error", "message": "Silence.", "type": "model_stalled"}),
    ("cancelled", ("cancelled", {"by": "client"}), "cancelled", {}),
]


@pytest.mark.parametrize(("end", "status", "why"), [end[1:] for end in ENDS], ids=[end[0] for end in ENDS])
def test_each_end_has_a_status_and_a_reason(end: Said, status: str, why: dict[str, Any]) -> None:
    """There is no event of a cancel: the helpers refuse types that they do not know."""
    frames = frames_of([*BEGIN, content("Hi"), end])
    assert kinds_of(frames)[-1] == ("incomplete" if status == "incomplete" else "failed")
    response = last_response(frames)
    assert response["status"] == status
    assert (response["incomplete_details"] or response["error"] or {}) == why
    assert response["output"][0]["content"][0]["text"] == "Hi"
    assert response["completed_at"] is None


def test_a_job_that_no_worker_began_has_an_end_too() -> None:
    assert kinds_of(frames_of([BEGIN[0], ("cancelled", {"by": "client"})])) == ["created", "queued", "failed"]


ARGUMENTS: list[tuple[str, list[Said], str]] = [
    ("as written", [fragment('{ "a":1.0 }'), called({"a": 1.0})], '{ "a":1.0 }'),
    ("none", [fragment(""), called({})], "{}"),
    ("an empty object before them", [fragment("{}"), fragment('{"a":1}'), called({"a": 1})], '{"a":1}'),
    ("broken", [fragment('{"a'), called(None, arguments_text='{"a', arguments_error="e")], '{"a'),
    ("no fragment", [called({"a": 1})], '{"a":1}'),
]


@pytest.mark.parametrize(("said", "wanted"), [each[1:] for each in ARGUMENTS], ids=[each[0] for each in ARGUMENTS])
def test_the_arguments_of_a_call_are_its_text(said: list[Said], wanted: str) -> None:
    frames = frames_of([*BEGIN, *said, DONE])
    [call] = last_response(frames)["output"]
    assert call["arguments"] == wanted
    # Clients run the function when they hear of its whole arguments.
    whole = [event["arguments"] for event in events_of(frames) if event["type"].endswith("arguments.done")]
    assert whole == ([wanted] if call["status"] == "completed" else [])


def test_a_function_call_of_the_older_form_is_a_call() -> None:
    frames = frames_of([*BEGIN, ("function_call", {"name": "f", "arguments": {}}), DONE])
    [call] = last_response(frames)["output"]
    assert (call["id"], call["call_id"], call["name"]) == (f"fc_{JOB}_0", f"call_{JOB}_0", "f")
    assert accumulate(frames) is not None


def test_two_calls_of_one_id_are_told_apart_and_led_back() -> None:
    """Some servers count the calls of each answer from 0, so that a second attempt repeats the ids of the first."""
    frames = frames_of([*BEGIN, fragment("{}"), restarted(), fragment("{}"), called({}), DONE])
    final = accumulate(frames)
    assert final is not None
    [call] = last_response(frames)["output"]
    assert call["call_id"] == "call_1~1"
    assert [model_call_id(name) for name in ("call_1~1", "call_1", "~x", "~")] == ["call_1", "call_1", "~x", "~"]


def test_calls_grow_side_by_side() -> None:
    said = [
        fragment("{", index=0, call_id="a"),
        fragment("{", index=1, call_id="b"),
        fragment("}", index=0, call_id="a"),
    ]
    frames = frames_of(
        [
            *BEGIN,
            *said,
            fragment("}", index=1, call_id="b"),
            called({}, call_id="a"),
            called({}, index=1, call_id="b"),
            DONE,
        ]
    )
    assert [item["arguments"] for item in last_response(frames)["output"]] == ["{}", "{}"]
    assert accumulate(frames) is not None


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": "3", "completion_tokens": None}], ids=str)
def test_a_strange_usage_breaks_no_client(usage: Any) -> None:
    frames = frames_of([*BEGIN, content("Hi"), (DONE[0], {**DONE[1], "usage": usage})])
    assert (last_response(frames)["usage"] is None) == (usage is None)


def test_a_lost_log_is_an_error_event() -> None:
    """What follows has numbers and items that the client has seen already."""
    wire = ResponsesFormat(HEAD)
    wire.encode(log_of(BEGIN)[0])
    lost = Event(2, "restarted", b'{"attempt":1,"reason":"log_lost"}')
    [event] = events_of(wire.encode(lost))
    assert (event["type"], event["code"], event["sequence_number"]) == ("error", "log_lost", 2)


@pytest.mark.parametrize("resumes", [False, True])
def test_a_stream_ends_with_the_error_of_a_lost_log(resumes: bool) -> None:
    """Also of a client that came back."""
    wire = ResponsesFormat(HEAD)
    begin = b"".join(map(wire.encode, log_of(BEGIN)))
    lost = wire.encode(Event(9, "restarted", b'{"attempt":1,"reason":"log_lost"}'))
    cut = UntilLost(StartingAfter(0) if resumes else None)
    frames, ends = cut.cut(begin)
    assert (frames == begin, ends) == (not resumes, False)
    assert cut.marker in lost
    assert cut.cut(lost + begin) == (lost, True)


def test_what_is_not_in_the_log_has_no_event() -> None:
    assert ResponsesFormat(HEAD).encode(Event(UNNUMBERED, "waiting", b'{"for":"worker"}')) == b""


def test_the_json_is_the_object_of_the_stream() -> None:
    """At each position: the log so far says it all."""
    wire = ResponsesFormat(HEAD)
    for event in log_of(WHOLE):
        wire.encode(event)
        Response.model_validate_json(wire.json(), strict=True)
    assert orjson.loads(wire.json()) == last_response(frames_of(WHOLE))


def test_two_formats_of_one_response_are_one_value() -> None:
    """So that its watchers share their bytes; those of another request do not."""
    same = ResponseHead(JOB, "m", HEAD.created_at, echo_of({}))
    assert {ResponsesFormat(HEAD): 1}[ResponsesFormat(same)] == 1
    other = ResponseHead(JOB, "m", HEAD.created_at, echo_of({"temperature": 1.0}))
    assert ResponsesFormat(other) != ResponsesFormat(HEAD)


kinds = st.sampled_from(["content", "reasoning", "refusal"])
pieces = st.tuples(kinds, st.sampled_from(["", "a", "bc", "\U0001f98a\n\n"]), st.sampled_from([None, None, None, 1]))


@given(said=st.lists(pieces, max_size=30), cut=st.integers(0, 30), end=st.integers(0, 30))
def test_the_bytes_behind_a_position_do_not_depend_on_how_a_copy_came_there(
    said: list[tuple[str, str, int | None]], cut: int, end: int
) -> None:
    """By merged events, by a copy of another copy, or by each event: also where two copies grow apart."""
    log = log_of(
        [
            *BEGIN,
            *((kind, {"content": text} | ({"choice": choice} if choice else {})) for kind, text, choice in said),
            DONE,
        ]
    )
    wire = ResponsesFormat(HEAD)
    frames = [wire.encode(event) for event in log]
    cut, end = min(cut, end, len(log)), min(max(cut, end), len(log))
    first = ResponsesFormat(HEAD)
    for event in merge(log[:cut]):
        first.encode(event)
    ahead = deepcopy(first)
    for event in log[cut:]:
        ahead.encode(event)
    second = deepcopy(first)
    for event in merge(log[cut:end]):
        second.encode(event)
    third = deepcopy(second)
    assert b"".join(third.encode(event) for event in log[end:]) == b"".join(frames[end:])
    assert b"".join(first.encode(event) for event in log[cut:]) == b"".join(frames[cut:])


@given(after=st.integers(0, 60), sizes=st.lists(st.integers(1, 9), min_size=60, max_size=60))
def test_starting_after_a_number_gives_what_follows_it(after: int, sizes: list[int]) -> None:
    """Wherever the fan-out ends a piece, and also inside the frames of one event of the log.

    Behind the end there is the end once more: its client has seen a log that Redis has lost, and would ask for ever.
    """
    whole = frames_of(WHOLE)
    frames = [frame + b"\n\n" for frame in whole.split(b"\n\n")[:-1]]
    cut, got, at = StartingAfter(after), b"", 0
    for size in sizes:
        got += cut.cut(b": comment\n\n")[0].removeprefix(b": comment\n\n")
        got += cut.cut(b"".join(frames[at : at + size]))[0] if at < len(frames) else b""
        at += size
    assert got == (b"".join(frames[after + 1 :]) if after < len(frames) else frames[-1])
