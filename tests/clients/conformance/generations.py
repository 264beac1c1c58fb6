"""Scenarios 60 to 89: a generation is submitted once, read, cancelled, and never left running."""

from __future__ import annotations

from typing import Any, Final

from tests.clients.conformance.acts import done, drop, event, job, problem, reply, stream, text
from tests.clients.conformance.reading import EVENTS, LOG, SEEN, WHOLE
from tests.clients.conformance.scenario import Scenario

SUBMIT: Final = "POST /v1/jobs"
CANCEL: Final = "POST /v1/jobs/JOB/cancel"
_QUICK: Final = {"longest_wait": 0.02}
_ASKED: Final = {"messages": [{"role": "user", "content": "Why?"}]}
_SUBMITTED: Final = [0, "POST", "jobs", {"body": {**_ASKED, "cancel_on_disconnect": 30}}]
_WATCHED: Final = [0, "GET", "events", {"last-event-id": None}]
_CANCELLED: Final = [0, "POST", "cancel", {}]
_METRICS: Final = {"time_to_first_token": 0.25, "total_seconds": 1.5, "chunk_count": 2, "tokens_per_second": 8.5}
_END: Final = event("5-e1", "cancelled", by="client", content="Hello, ")
_RESTART: Final = [
    *LOG[:3],
    event("4-e2", "restarted", attempt=2, reason="worker_lost", epoch="e2"),
    text("5-e2", "Bye"),
    done("6-e2", "Bye"),
]
_FAILED: Final = event(
    "4-e1",
    "failed",
    error={"code": "model_cut", "message": "The model closed the stream early.", "retryable": True},
    content="Hello, ",
)


def _call(*deltas: bytes, **whole: Any) -> list[bytes]:
    return [*LOG[:2], *deltas, event(f"{3 + len(deltas)}-e1", "tool_call", **whole), done(f"{4 + len(deltas)}-e1")]


_TOOL: Final = _call(
    event("3-e1", "tool_call_delta", index=0, id="c1", name="look_up", arguments=""),
    event("4-e1", "tool_call_delta", index=0, id="c1", name="look_up", arguments='{"city": "Pa'),
    event("5-e1", "tool_call_delta", index=0, id="c1", name="look_up", arguments='ris"}'),
    index=0,
    id="c1",
    name="look_up",
    arguments={"city": "Paris"},
)


def _cancelled(number: int, title: str, acts: list[Any], **more: Any) -> Scenario:
    """A cancel after three events, whose responses are `acts`."""
    return Scenario(
        number=number,
        title=title,
        do="stream",
        acts={SUBMIT: [job()], EVENTS: [stream(*LOG[:3], cancelled=[_END])], CANCEL: acts},
        cancel_after=3,
        options=_QUICK,
        expect={
            "events": [*SEEN[:3], ["5-e1", "cancelled", {"by": "client"}]],
            "text": "Hello, ",
            "end": "cancelled",
            "error": None,
            "requests": [_SUBMITTED, _WATCHED, *[_CANCELLED] * len(acts)],
        },
        **more,
    )


GENERATIONS: Final = [
    Scenario(
        number=60,
        title="A generation is one submit with a key, and one watch from its start.",
        do="stream",
        acts={SUBMIT: [job()], EVENTS: [stream(*LOG)]},
        parameters={"model": "demo", "metadata": {"a": "b"}, "temperature": 0.5},
        expect={
            **WHOLE,
            "same_key": True,
            "requests": [
                [0, "POST", "jobs", {"body": {**_ASKED, "model": "demo", "metadata": {"a": "b"}, "temperature": 0.5}}],
                _WATCHED,
            ],
        },
    ),
    Scenario(
        number=61,
        title="The text of a generation can be read alone.",
        do="stream",
        read="text",
        acts={SUBMIT: [job()], EVENTS: [stream(*LOG)]},
        expect={"text": WHOLE["text"], "end": "done", "error": None, "requests": [_SUBMITTED, _WATCHED]},
    ),
    Scenario(
        number=62,
        title="A submit whose response is lost is repeated with the same key; so is one after a 429 or 503.",
        do="stream",
        acts={
            SUBMIT: [
                drop,
                problem(503, "redis_unavailable", retryable=True),
                problem(429, "queue_full", retryable=True),
                job(),
            ],
            EVENTS: [stream(*LOG)],
        },
        options=_QUICK,
        expect={**WHOLE, "same_key": True, "requests": [*[_SUBMITTED] * 4, _WATCHED]},
    ),
    Scenario(
        number=63,
        title="A submit that is refused is an error at once, which names the field.",
        do="stream",
        acts={SUBMIT: [problem(422, "invalid_request", field="messages.0.role")]},
        expect={
            "end": None,
            "error": {
                "kind": "api",
                "status": 422,
                "code": "invalid_request",
                "field": "messages.0.role",
                "retryable": False,
            },
            "requests": [_SUBMITTED],
        },
    ),
    Scenario(
        number=64,
        title="A generation goes on over a break, and cancels nothing at it.",
        do="stream",
        read="text",
        acts={SUBMIT: [job()], EVENTS: [stream(*LOG[:3], end="cut"), stream(*LOG[3:])]},
        options=_QUICK,
        expect={
            "text": WHOLE["text"],
            "end": "done",
            "error": None,
            "requests": [_SUBMITTED, _WATCHED, [0, "GET", "events", {"last-event-id": "3-e1"}]],
        },
    ),
    _cancelled(
        65, "A cancel is asked for while the stream is read, which then ends with `cancelled`.", [job("running")]
    ),
    _cancelled(
        66,
        "A cancel is repeated until it has been heard.",
        [drop, problem(503, "redis_unavailable", retryable=True), job("running")],
    ),
    Scenario(
        number=67,
        title="Leaving the loop cancels the generation and closes the connection.",
        do="stream",
        acts={SUBMIT: [job()], EVENTS: [stream(*LOG[:4], end="hold")], CANCEL: [job("running")]},
        leave_after=3,
        expect={"events": SEEN[:3], "end": None, "left": 1, "requests": [_SUBMITTED, _WATCHED, _CANCELLED]},
    ),
    Scenario(
        number=68,
        title="A generation that is to go on is not cancelled.",
        do="stream",
        acts={SUBMIT: [job()], EVENTS: [stream(*LOG[:4], end="hold")]},
        leave_after=3,
        keep_running=True,
        expect={
            "events": SEEN[:3],
            "end": None,
            "left": 1,
            "requests": [[0, "POST", "jobs", {"body": {**_ASKED, "cancel_on_disconnect": False}}], _WATCHED],
        },
    ),
    Scenario(
        number=69,
        title="Leaving at the end cancels nothing.",
        do="stream",
        acts={SUBMIT: [job()], EVENTS: [stream(*LOG, end="hold")]},
        leave_after=5,
        expect={"events": SEEN, "end": "done", "left": 1, "requests": [_SUBMITTED, _WATCHED]},
    ),
    Scenario(
        number=70,
        title="A failed job is an event to a reader of events.",
        do="stream",
        acts={SUBMIT: [job()], EVENTS: [stream(*LOG[:3], _FAILED)]},
        expect={
            "events": [*SEEN[:3], ["4-e1", "failed", {"content": "Hello, "}]],
            "text": "Hello, ",
            "end": "failed",
            "error": None,
        },
    ),
    Scenario(
        number=71,
        title="A failed job is an error to a reader of text.",
        do="stream",
        read="text",
        acts={SUBMIT: [job()], EVENTS: [stream(*LOG[:3], _FAILED)]},
        expect={
            "text": "Hello, ",
            "end": "failed",
            "error": {"kind": "generation", "code": "model_cut", "retryable": True},
            "requests": [_SUBMITTED, _WATCHED],
        },
    ),
    Scenario(
        number=72,
        title="A restart after the first text is an error to a reader of text without a handler; the job is cancelled.",
        do="stream",
        read="text",
        on_restart=False,
        acts={SUBMIT: [job()], EVENTS: [stream(*_RESTART)], CANCEL: [job("running")]},
        expect={
            "end": None,
            "error": {"kind": "restarted", "code": "worker_lost", "retryable": True},
            "requests": [_SUBMITTED, _WATCHED, _CANCELLED],
        },
    ),
    Scenario(
        number=73,
        title="With a handler of restarts the text starts again.",
        do="stream",
        read="text",
        acts={SUBMIT: [job()], EVENTS: [stream(*_RESTART)]},
        expect={"text": "Bye", "end": "done", "error": None, "requests": [_SUBMITTED, _WATCHED]},
    ),
    Scenario(
        number=74,
        title="A restart before the first text is no error.",
        do="stream",
        read="text",
        on_restart=False,
        acts={SUBMIT: [job()], EVENTS: [stream(*LOG[:2], *(each for each in _RESTART[3:]))]},
        expect={"text": "Bye", "end": "done", "error": None},
    ),
    Scenario(
        number=75,
        title="A tool call comes in pieces, then whole with its arguments parsed.",
        do="stream",
        acts={SUBMIT: [job()], EVENTS: [stream(*_TOOL)]},
        expect={
            "events": [
                *SEEN[:2],
                ["3-e1", "tool_call_delta", {"index": 0, "name": "look_up", "arguments": ""}],
                ["4-e1", "tool_call_delta", {"arguments": '{"city": "Pa'}],
                ["5-e1", "tool_call_delta", {"arguments": 'ris"}'}],
                ["6-e1", "tool_call", {"id": "c1", "name": "look_up", "arguments": {"city": "Paris"}}],
                ["7-e1", "done", {}],
            ],
            "end": "done",
        },
    ),
    Scenario(
        number=76,
        title="A function call of the legacy form is parsed, too; arguments that are broken JSON are kept as text.",
        do="stream",
        acts={
            SUBMIT: [job()],
            EVENTS: [
                stream(
                    *LOG[:2],
                    event(
                        "3-e1",
                        "tool_call",
                        index=0,
                        id="c1",
                        name="f",
                        arguments=None,
                        arguments_text="{",
                        arguments_error="cut",
                    ),
                    event("4-e1", "function_call", name="g", arguments={"x": 1}),
                    done("5-e1"),
                )
            ],
        },
        expect={
            "events": [
                *SEEN[:2],
                ["3-e1", "tool_call", {"name": "f", "arguments": None, "arguments_text": "{"}],
                ["4-e1", "function_call", {"name": "g", "arguments": {"x": 1}}],
                ["5-e1", "done", {}],
            ]
        },
    ),
    Scenario(
        number=77,
        title="At the end the progress is the one that the server measured.",
        do="stream",
        acts={SUBMIT: [job()], EVENTS: [stream(*LOG[:4], done("5-e1", WHOLE["text"], metrics=_METRICS))]},
        expect={
            "progress": {"time_to_first_token": 0.25, "total_seconds": 1.5, "count": 2, "tokens_per_second": 8.5},
            "end": "done",
        },
    ),
    Scenario(
        number=78,
        title="A cancel from elsewhere ends the reading of text without an error.",
        do="stream",
        read="text",
        acts={SUBMIT: [job()], EVENTS: [stream(*LOG[:3], _END)]},
        expect={"text": "Hello, ", "end": "cancelled", "error": None, "requests": [_SUBMITTED, _WATCHED]},
    ),
    Scenario(
        number=79,
        title="A submit that gets something else than a job is an error.",
        do="stream",
        acts={SUBMIT: [reply(200, b"<html>Hello</html>", kind="text/html")]},
        expect={"error": {"kind": "protocol", "retryable": False}, "requests": [_SUBMITTED]},
    ),
    Scenario(
        number=80,
        title="A reader of text who gives up, since nothing comes any more, leaves a cancel.",
        do="stream",
        read="text",
        acts={SUBMIT: [job()], EVENTS: [stream(*LOG[:3], end="cut"), *[drop] * 1000], CANCEL: [job("running")]},
        options={"give_up": 0.3, **_QUICK},
        expect={"end": None, "error": {"kind": "connection", "retryable": True}, "cancelled": True},
    ),
]
