"""Scenarios 1 to 19: a stream is read right, whatever way its bytes come."""

from __future__ import annotations

from typing import Any, Final

from tests.clients.conformance.acts import bytewise, done, event, stream, text
from tests.clients.conformance.scenario import JOB, Scenario

EVENTS: Final = "GET /v1/jobs/JOB/events"
#: An emoji of several code points, right-to-left text, markup, line ends as JSON has them, and U+2028, which JSON may
#: hold as it is.
SAID: Final = "Grüße 👩‍👩‍👧 שלום <script>alert(1)</script>\n\r\n\u2028|\u0085|\x00|"

LOG: Final = [
    event("1", "queued", job_id=JOB, model="demo", created_at="2026-01-02T03:04:05.678Z"),
    event("2-e1", "started", attempt=1, epoch="e1", worker={"id": "w", "host": "h", "pid": 1}),
    text("3-e1", "Hello, "),
    text("4-e1", SAID),
    done("5-e1", "Hello, " + SAID, usage={"completion_tokens": 2}, metrics={"total_seconds": 1.5}),
]
SEEN: Final = [
    ["1", "queued", {"model": "demo"}],
    ["2-e1", "started", {"attempt": 1}],
    ["3-e1", "content", {"content": "Hello, "}],
    ["4-e1", "content", {"content": SAID}],
    ["5-e1", "done", {"finish_reason": "stop"}],
]
WHOLE: Final[dict[str, Any]] = {"events": SEEN, "text": "Hello, " + SAID, "end": "done", "error": None}
_BYTES: Final = b"".join(LOG)
_LINE: Final = "0123456789" * 100_000

READING: Final = [
    Scenario(
        number=1,
        title="A log is read: each event once, in order, with its id, its type and its data, up to the end.",
        acts={EVENTS: [stream(*LOG)]},
        expect={**WHOLE, "requests": [[0, "GET", "events", {"last-event-id": None}]]},
    ),
    Scenario(
        number=2,
        title="All events may come in one piece.",
        acts={EVENTS: [stream(_BYTES)]},
        expect=WHOLE,
    ),
    Scenario(
        number=3,
        title="Each byte may come by itself: an emoji is split, a line end too.",
        acts={EVENTS: [bytewise(_BYTES)]},
        expect=WHOLE,
    ),
    Scenario(
        number=4,
        title="Lines may end with CR LF, split between the two.",
        acts={EVENTS: [bytewise(_BYTES.replace(b"\n", b"\r\n"))]},
        expect=WHOLE,
    ),
    Scenario(
        number=5,
        title="Lines may end with CR alone.",
        acts={EVENTS: [bytewise(_BYTES.replace(b"\n", b"\r"))]},
        expect=WHOLE,
    ),
    Scenario(
        number=6,
        title="A byte order mark at the beginning is no part of the first line.",
        acts={EVENTS: [bytewise(b"\xef\xbb\xbf" + _BYTES)]},
        expect=WHOLE,
    ),
    Scenario(
        number=7,
        title="Comments, unknown fields and empty events mean nothing.",
        acts={EVENTS: [stream(b": hello\n\n:\n\n", b"colour: blue\nevent: content\n\n", *LOG[:3], b":\n\n", *LOG[3:])]},
        expect=WHOLE,
    ),
    Scenario(
        number=8,
        title="Data may come in several lines, and a field without a space after its colon.",
        acts={
            EVENTS: [stream(*LOG[:4], b'id:5-e1\nevent:done\ndata:{"type":"done",\ndata:"finish_reason":"stop"}\n\n')]
        },
        expect=WHOLE,
    ),
    Scenario(
        number=9,
        title="A line may have a million characters.",
        acts={EVENTS: [stream(*LOG[:2], text("3-e1", _LINE), done("4-e1", _LINE))]},
        expect={"text": _LINE, "end": "done", "error": None},
    ),
    Scenario(
        number=10,
        title="An event of a type that the client does not know is passed on or over, and moves the position.",
        acts={
            EVENTS: [
                stream(*LOG[:2], event("3-e1", "novel", colour="blue"), end="cut"),
                stream(text("4-e1", "a"), done("5-e1", "a")),
            ]
        },
        expect={
            "text": "a",
            "end": "done",
            "error": None,
            "requests": [
                [0, "GET", "events", {"last-event-id": None}],
                [0, "GET", "events", {"last-event-id": "3-e1"}],
            ],
        },
        options={"longest_wait": 0.02},
    ),
    Scenario(
        number=11,
        title="Fields that the client does not know are ignored.",
        acts={EVENTS: [stream(*LOG[:2], text("3-e1", "a", colour={"hue": 1}), done("4-e1", "a", shape=[1]))]},
        expect={"text": "a", "end": "done", "error": None},
    ),
    Scenario(
        number=12,
        title="The loop ends with the terminal event, though the connection stays open; the client closes it.",
        acts={EVENTS: [stream(*LOG, end="hold")]},
        expect={**WHOLE, "left": 1},
    ),
    Scenario(
        number=13,
        title="What follows the terminal event is not read.",
        acts={EVENTS: [stream(*LOG, text("6-e1", "more"), done("7-e1", "more"))]},
        expect=WHOLE,
    ),
    Scenario(
        number=14,
        title="The text of another choice is no part of the text.",
        acts={EVENTS: [stream(*LOG[:3], text("4-e1", "other", choice=1), done("5-e1", "Hello, "))]},
        expect={"text": "Hello, ", "end": "done", "error": None},
    ),
    Scenario(
        number=15,
        title="A watch that joins late has the whole text when the end tells it.",
        acts={EVENTS: [stream(text("4-e1", "world"), done("5-e1", "Hello, world"))]},
        after="3-e1",
        expect={
            "text": "Hello, world",
            "end": "done",
            "requests": [[0, "GET", "events", {"last-event-id": "3-e1"}]],
        },
    ),
]
