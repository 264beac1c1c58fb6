"""The stream of a Responses model gives the log's events, whatever of it a server leaves out or gets wrong."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from readalong.core.events import NewEvent
from readalong.worker.model.chunks.accumulator import ChunkAccumulator
from readalong.worker.model.limits import Limits
from readalong.worker.model.openai.responses.answer_parser import ResponseParser
from tests.worker.model.response_streams import (
    CHAT_USAGE,
    CITATION,
    SEARCH,
    USAGE,
    begins,
    calls,
    ends,
    item,
    message,
    part,
    reasoning,
    response,
    says,
    searches,
    sse,
    thinks,
)

EXTRA = "choices.0.delta."
DONE = b"data: [DONE]\n\n"
HEAD = {"id": "resp_up", "created": 1_790_000_000, "model": "up-2026"}
DELTA = {"type": "response.output_text.delta", "delta": "Owls"}


class Answer:
    """What a stream gives."""

    def __init__(self, body: bytes, limits: Limits = Limits(), *, closes: bool = False) -> None:  # noqa: B008
        """`closes`: the body ends; else its connection stays open."""
        self.chunks = ChunkAccumulator(1, limits=limits)
        parser = ResponseParser(self.chunks, limits=limits)
        self.events: list[NewEvent] = parser.feed(body)
        if closes and not parser.done and parser.failure is None:
            self.events += parser.close()
        self.done, self.failure = parser.done, parser.failure
        self.calls = self.chunks.close()
        #: The fields of the answer's end.
        self.extra = self.chunks.take_extra()

    def text(self, kind: str = "content") -> str:
        return "".join(event.fields["content"] for event in self.events if event.type == kind)

    def kept(self, name: str) -> list[Any]:
        """The values of an unknown field, in order."""
        return [event.fields["extra"][name] for event in self.events if name in event.fields.get("extra", {})]

    def said(self) -> list[tuple[str, dict[str, Any]]]:
        return [(event.type, event.fields) for event in self.events]


def test_everything_that_a_response_says_is_in_the_log() -> None:
    """Without [DONE], and without an end of the body: the response says itself that it has ended."""
    logprob = {"token": "Ow", "logprob": -0.5, "top_logprobs": [{"token": "Bo", "logprob": -2.0}]}
    answer = Answer(
        sse(
            *begins(),
            *thinks(0, "Owls.", "Hoots."),
            *searches(1),
            item("added", 2, message()),
            part("output_text.delta", 2, "msg_up", delta="Ow", logprobs=[logprob]),
            part("output_text.delta", 2, "msg_up", delta="ls", logprobs=[]),
            part("output_text.annotation.added", 2, "msg_up", annotation_index=0, annotation=CITATION),
            item("done", 2, message("Owls", annotations=[CITATION])),
            *calls(3, '{"q":', "1}"),
            *calls(4, "a b", call_id="call_2", name="run", custom=True),
            ends("completed", message("Owls"), usage=USAGE, service_tier="flex"),
        )
    )
    assert answer.done
    assert answer.said() == [
        ("reasoning", {"content": "Ow", "extra": {**HEAD, f"{EXTRA}reasoning_type": "summary_text"}}),
        ("reasoning", {"content": "ls."}),
        ("reasoning", {"content": "\n\n"}),
        ("reasoning", {"content": "Ho"}),
        ("reasoning", {"content": "ots."}),
        ("content", {"content": "", "extra": {f"{EXTRA}response_items": [reasoning("Owls.", "Hoots.")]}}),
        ("content", {"content": "", "extra": {f"{EXTRA}response_items": [SEARCH]}}),
        (
            "content",
            {
                "content": "Ow",
                "logprobs": {
                    "content": [
                        {
                            **logprob,
                            "bytes": None,
                            "top_logprobs": [{"token": "Bo", "logprob": -2.0, "bytes": None}],
                        }
                    ],
                    "refusal": None,
                },
            },
        ),
        ("content", {"content": "ls"}),
        (
            "content",
            {
                "content": "",
                "extra": {
                    f"{EXTRA}annotations": [
                        {
                            "type": "url_citation",
                            "url_citation": {name: value for name, value in CITATION.items() if name != "type"},
                        }
                    ]
                },
            },
        ),
        ("tool_call_delta", {"index": 0, "id": "call_1", "name": "seek", "arguments": ""}),
        ("tool_call_delta", {"index": 0, "id": "call_1", "name": "seek", "arguments": '{"q":'}),
        ("tool_call_delta", {"index": 0, "id": "call_1", "name": "seek", "arguments": "1}"}),
        ("tool_call_delta", {"index": 1, "id": "call_2", "name": "run", "arguments": "", "tool_type": "custom"}),
        ("tool_call_delta", {"index": 1, "id": "call_2", "name": "run", "arguments": "a b", "tool_type": "custom"}),
    ]
    assert [event.fields for event in answer.calls] == [
        {"index": 0, "id": "call_1", "name": "seek", "arguments": {"q": 1}},
        {"index": 1, "id": "call_2", "name": "run", "tool_type": "custom", "arguments": None, "input": "a b"},
    ]
    assert (answer.chunks.finish_reason, answer.chunks.usage) == ("tool_calls", CHAT_USAGE)
    # Two items stand in the log alone: a reader of the end knows.
    assert answer.extra == {"service_tier": "flex", "response_items": 2}


def test_a_refusal_and_the_text_of_reasoning_are_said() -> None:
    answer = Answer(
        sse(
            *begins(),
            item("added", 0, reasoning(encrypted=None)),
            part("reasoning_text.delta", 0, "rs_up", delta="Hm"),
            item("done", 0, reasoning(content="Hm", encrypted=None)),
            item("added", 1, message()),
            part("refusal.delta", 1, "msg_up", delta="No"),
            part("refusal.done", 1, "msg_up", refusal="No."),
            ends("incomplete", incomplete_details={"reason": "content_filter"}),
        )
    )
    assert (answer.text("reasoning"), answer.text("refusal"), answer.text()) == ("Hm", "No.", "")
    assert answer.kept(f"{EXTRA}reasoning_type") == ["reasoning_text"]
    assert (answer.done, answer.chunks.finish_reason) == (True, "content_filter")


@pytest.mark.parametrize(
    ("reason", "finish"),
    [({"reason": "max_output_tokens"}, "length"), (None, "length"), ({"reason": "another"}, "length")],
)
def test_an_incomplete_response_has_a_finish_reason(reason: Any, finish: str) -> None:
    answer = Answer(sse(*begins(), *says(0, "Owls"), ends("incomplete", incomplete_details=reason), checked=False))
    assert (answer.done, answer.chunks.finish_reason, answer.text()) == (True, finish, "Owls")


#: Streams that say "Owls hoot" in another way than OpenAI's.
OTHERS: dict[str, bytes] = {
    "no pieces": sse(item("done", 0, message("Owls hoot")), ends(), checked=False),
    "only the end": sse(ends("completed", message("Owls hoot"))),
    "fewer pieces than the whole": sse(
        part("output_text.delta", 0, "msg_up", delta="Owls", logprobs=[]),
        part("output_text.done", 0, "msg_up", text="Owls hoot", logprobs=[]),
        ends("completed", message("Owls hoot")),
    ),
    "another id in each event": sse(
        item("added", 0, message(item_id="a")),
        part("output_text.delta", 0, "b", delta="Owls hoot", logprobs=[]),
        item("done", 0, message("Owls hoot", "c")),
        ends("completed", message("Owls hoot", "d")),
    ),
    "one index for all": sse(
        *thinks(0, encrypted=None), *says(0, "Owls", " hoot"), ends("completed", message("Owls hoot"))
    ),
    "no names of items": sse(
        DELTA, {**DELTA, "delta": " hoot"}, ends("completed", message("Owls hoot")), checked=False
    ),
    "a whole that contradicts its pieces": sse(
        *says(0, "Owls hoot")[:-1], item("done", 0, message("Bats hoot in the wood")), ends()
    ),
    "an end without an object": sse(*says(0, "Owls hoot"), {"type": "response.completed"}, checked=False),
    "[DONE] in place of the end": sse(*says(0, "Owls hoot")) + DONE,
    "keep-alives": b": hi\n\nevent: ping\ndata: {}\n\n"
    + sse({"type": "keepalive"}, *says(0, "Owls hoot"), ends(), checked=False),
    "no types in the data": sse(*says(0, "Owls hoot"), ends()).replace(b'"type":"response.output', b'"t":"'),
    "an object in place of a stream": b"data: "
    + orjson.dumps(response("completed", message("Owls hoot")))
    + b"\n\n"
    + DONE,
    "two messages": sse(*says(0, "Owls"), *says(1, " hoot", item_id="msg_2"), ends()),
    "more after the end": sse(*says(0, "Owls hoot"), ends(), *says(1, "!")),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_form_says_the_same_once(name: str) -> None:
    answer = Answer(OTHERS[name])
    assert (answer.text(), answer.done, answer.failure) == ("Owls hoot", True, None)


def test_what_no_event_names_is_kept() -> None:
    """Events of unknown types, sound, and fields of messages and calls; but no step of a hosted tool."""
    unknown = {"type": "response.aura.delta", "delta": "violet"}
    call = {"type": "function_call", "id": "fc", "call_id": "c", "name": "f", "arguments": "{}", "namespace": "n"}
    answer = Answer(
        sse(
            {"type": "response.audio.delta", "delta": "AAAA"},
            unknown,
            item("added", 0, {**message(), "phase": "commentary"}),
            *says(0, "Owls")[1:],
            *searches(1),
            item("done", 2, call),
            ends(),
            checked=False,
        )
    )
    assert answer.kept(f"{EXTRA}audio") == [{"data": "AAAA"}]
    [event] = answer.kept(f"{EXTRA}response_events")
    assert event == [{**unknown, "sequence_number": 1}]
    assert answer.kept(f"{EXTRA}phase") == ["commentary"]
    assert answer.kept(f"{EXTRA}response_items") == [[SEARCH]]
    assert answer.calls[0].fields == {"index": 0, "id": "c", "name": "f", "arguments": {}, "namespace": "n"}


def failed(**error: Any) -> dict[str, Any]:
    return ends("failed", error=error)


def nested(code: Any) -> dict[str, Any]:
    return {"type": "error", "error": {"code": code, "message": "full"}}


#: An event that fails the response, the job's code, and whether it may be tried again, is away, refuses the worker.
FAILURES: list[tuple[str, dict[str, Any], str, bool, bool, bool]] = [
    ("server", failed(code="server_error", message="full"), "model_error", True, False, False),
    ("rate", failed(code="rate_limit_exceeded", message="full"), "model_rate_limited", True, True, False),
    ("quota", failed(code="insufficient_quota", message="full"), "model_rate_limited", True, False, True),
    ("prompt", failed(code="invalid_prompt", message="full"), "model_bad_request", False, False, False),
    ("picture", failed(code="image_too_large", message="full"), "model_bad_request", False, False, False),
    ("store", failed(code="vector_store_timeout", message="full"), "model_timeout", True, False, False),
    ("unknown", failed(code="another", message="full"), "model_error", True, False, False),
    ("event", {"type": "error", "code": "server_error", "message": "full"}, "model_error", True, False, False),
    ("nested", nested("invalid_prompt"), "model_bad_request", False, False, False),
    ("number", nested(503), "model_error", True, True, False),
    ("nothing", {"type": "response.failed", "response": {}}, "model_error", True, False, False),
    ("cancelled", {"type": "response.cancelled", "response": {}}, "model_error", True, False, False),
]  # fmt: skip


@pytest.mark.parametrize(("event", "code", "again", "away", "refuses"), [each[1:] for each in FAILURES])
def test_a_failure_in_mid_stream_has_its_code_and_keeps_the_text(
    event: dict[str, Any], code: str, again: bool, away: bool, refuses: bool
) -> None:
    answer = Answer(sse(*begins(), *says(0, "Owls")[:4], event, checked=False))
    assert answer.text() == "Owls"
    assert answer.failure is not None
    found = answer.failure
    assert (found.code, found.retryable, found.away, found.refuses) == (code, again, away, refuses)
    assert "full" in found.message or event["type"] != "error"


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        (sse(*begins(), *says(0, "Owls")), "model_cut", "Owls"),
        (sse(*begins()), "model_cut", ""),
        (sse(*says(0, "Owls")) + b"data: nonsense\n\n", "model_malformed", "Owls"),
        (DONE, "model_malformed", ""),
        (b"event: error\ndata: It broke.\n\n", "model_error", ""),
        (b'data: {"error":{"message":"full"}}\n\n', "model_error", ""),
        (b"", "model_cut", ""),
    ],
)
def test_a_stream_without_an_end_is_a_failure(body: bytes, code: str, text: str) -> None:
    answer = Answer(body, closes=True)
    assert (answer.done, answer.failure and answer.failure.code, answer.text()) == (False, code, text)


@pytest.mark.parametrize(
    ("limits", "events", "said"),
    [
        (Limits(calls=1), [*says(0, "Owls"), *calls(1, "{}"), *calls(2, "{}", call_id="c2")], "1 tool calls"),
        (Limits(call_bytes=300), [*says(0, "Owls"), *calls(1, "x" * 300)], "bytes of tool calls"),
        (Limits(extra=100), [*says(0, "Owls"), *searches(1)], "bytes of unknown fields"),
        (Limits(response=6000), [*says(0, "Owls"), *says(1, "x" * 6000)], "its comments"),
        (Limits(answer=1000), [*says(0, "Owls"), *says(1, "x" * 1000)], "1000 bytes"),
        (Limits(), [*says(0, "Owls"), *({**DELTA, "delta": ".", "item_id": f"m{n}"} for n in range(10_001))], "parts"),
    ],
)
def test_the_limits_of_an_answer_hold(limits: Limits, events: list[dict[str, Any]], said: str) -> None:
    """Beyond one the answer ends, and what was said before it stays."""
    body, answer = sse(*events, ends(), checked=False), Answer(b"", limits)
    parser = ResponseParser(answer.chunks, limits=limits)
    found: list[NewEvent] = []
    for frame in body.split(b"\n\n"):
        if parser.failure is None:
            found += parser.feed(frame + b"\n\n")
    assert parser.failure is not None
    assert (parser.failure.code, parser.failure.retryable) == ("model_answer_too_large", False)
    assert said in parser.failure.message
    assert "".join(event.fields["content"] for event in found if event.type == "content") == answer.chunks.text()
    assert answer.chunks.text().startswith("Owls")
