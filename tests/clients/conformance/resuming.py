"""Scenarios 20 to 59: a watch goes on over drops, outages, restarts and replicas, or says why not."""

from __future__ import annotations

from typing import Any, Final

from tests.clients.conformance.acts import cut_after, done, drop, event, problem, reply, reset, silence, stream, text
from tests.clients.conformance.reading import EVENTS, LOG, SEEN, WHOLE
from tests.clients.conformance.scenario import Scenario

_QUICK: Final = {"longest_wait": 0.02}
_WAITING: Final = event("", "waiting", **{"for": "worker", "since": "2026-01-02T03:04:05.678Z"})
_SHORT: Final = [*LOG[:2], text("3-e1", "é"), done("4-e1", "é")]


def _asked(*positions: str | None, replica: int = 0) -> list[Any]:
    """Watches of one replica from these positions."""
    return [[replica, "GET", "events", {"last-event-id": position}] for position in positions]


def _refused(title: str, number: int, act: Any, kind: str, **error: Any) -> Scenario:
    """The first response ends the watch with an error, and there is no other request."""
    return Scenario(
        number=number,
        title=title,
        acts={EVENTS: [act]},
        options=_QUICK,
        expect={"events": [], "end": None, "error": {"kind": kind, **error}, "requests": _asked(None)},
    )


RESUMING: Final = [
    Scenario(
        number=20,
        title="A stream that ends without a terminal event is resumed after the last event, with its id as it came.",
        acts={EVENTS: [stream(*LOG[:1]), stream(*LOG[1:3]), stream(*LOG[3:])]},
        options=_QUICK,
        expect={**WHOLE, "requests": _asked(None, "1", "3-e1")},
    ),
    Scenario(
        number=21,
        title="A stream whose connection breaks in the middle of the body is resumed likewise.",
        acts={EVENTS: [stream(*LOG[:2], end="cut"), stream(*LOG[2:])]},
        options=_QUICK,
        expect={**WHOLE, "requests": _asked(None, "2-e1")},
    ),
    Scenario(
        number=22,
        title="Half an event is none: it comes again, whole.",
        acts={EVENTS: [stream(*LOG[:2], LOG[2][:-1], end="cut"), stream(*LOG[2:3], LOG[3][:20]), stream(*LOG[3:])]},
        options=_QUICK,
        expect={**WHOLE, "requests": _asked(None, "2-e1", "3-e1")},
    ),
    Scenario(
        number=23,
        title="The connection may break after any byte of the log.",
        acts={EVENTS: [cut_after(_SHORT, count) for count in range(sum(map(len, _SHORT)) + 1)]},
        options={"longest_wait": 0.002},
        expect={
            "text": "é",
            "end": "done",
            "error": None,
            "events": [*SEEN[:2], ["3-e1", "content", {"content": "é"}], ["4-e1", "done", {}]],
        },
    ),
    Scenario(
        number=24,
        title="A connection that is reset, or closed without a response, is another try.",
        acts={EVENTS: [reset, drop, cut_after(LOG, len(LOG[0]) + 9, "reset"), cut_after(LOG, 10**6)]},
        options=_QUICK,
        expect=WHOLE,
    ),
    Scenario(
        number=25,
        title="Events that come again, from a proxy that ignores the position, are passed on once.",
        acts={EVENTS: [stream(*LOG[:3], end="cut"), stream(*LOG)]},
        options=_QUICK,
        expect={**WHOLE, "requests": _asked(None, "3-e1")},
    ),
    Scenario(
        number=26,
        title="Errors that pass are waited out: 408, 425, 429, 500, 502, 503, 504.",
        acts={
            EVENTS: [
                *(reply(status, b"<html>", kind="text/html") for status in (408, 425, 429, 500, 502, 503, 504)),
                problem(503, "redis_unavailable", retryable=True),
                stream(*LOG),
            ]
        },
        options=_QUICK,
        expect={**WHOLE, "requests": _asked(*[None] * 9)},
    ),
    Scenario(
        number=27,
        title="`Retry-After` is waited for.",
        acts={EVENTS: [problem(503, "stopping", retryable=True, Retry_After="1"), stream(*LOG)]},
        options=_QUICK,
        expect={**WHOLE, "gaps": [[1, 1.0]]},
    ),
    Scenario(
        number=28,
        title="`retry:` in a stream is waited for.",
        acts={EVENTS: [stream(b"retry: 700\n: Redis is away\n\n"), stream(*LOG)]},
        options=_QUICK,
        expect={**WHOLE, "gaps": [[1, 0.7]]},
    ),
    Scenario(
        number=29,
        title="Trouble that lasts longer than the limit ends with the last error.",
        acts={EVENTS: [stream(*LOG[:2]), *[problem(503, "redis_unavailable", retryable=True)] * 1000]},
        options={"give_up": 0.3, **_QUICK},
        expect={
            "events": SEEN[:2],
            "end": None,
            "error": {"kind": "api", "status": 503, "code": "redis_unavailable", "retryable": True},
        },
    ),
    Scenario(
        number=30,
        title="The limit holds for connections that break, too.",
        acts={EVENTS: [stream(*LOG[:2]), *[drop] * 1000]},
        options={"give_up": 0.3, **_QUICK},
        expect={"events": SEEN[:2], "end": None, "error": {"kind": "connection", "retryable": True}},
    ),
    _refused(
        "An unknown job is an error at once.",
        31,
        problem(404, "job_not_found"),
        "api",
        status=404,
        code="job_not_found",
        retryable=False,
    ),
    _refused(
        "An expired job is an error at once.",
        32,
        problem(410, "job_expired"),
        "api",
        status=410,
        code="job_expired",
        retryable=False,
    ),
    _refused(
        "Wrong credentials are an error at once.",
        33,
        problem(401, "unauthorized"),
        "api",
        status=401,
        code="unauthorized",
        retryable=False,
    ),
    _refused(
        "An error that says that another try does not help is one at once, also a 500.",
        34,
        problem(500, "broken_job"),
        "api",
        status=500,
        code="broken_job",
        retryable=False,
    ),
    _refused(
        "A page where a stream should be is an error at once.",
        35,
        reply(200, b"<html>Log in</html>", kind="text/html"),
        "protocol",
        retryable=False,
    ),
    _refused(
        "A redirect is an error at once, and is not followed.",
        36,
        reply(307, Location="http://127.0.0.1:9/"),
        "api",
        status=307,
        retryable=False,
    ),
    Scenario(
        number=37,
        title="A 204 ends the watch without an event and without an error.",
        acts={EVENTS: [reply(204)]},
        after="5-e1",
        expect={"events": [], "end": None, "error": None, "requests": _asked("5-e1")},
    ),
    Scenario(
        number=38,
        title="`latest` is asked for until an id has come, then the id, though no event came with it.",
        acts={EVENTS: [stream(), stream(b"id: 3-e1\n\n", end="cut"), stream(*LOG[3:])]},
        after="latest",
        options=_QUICK,
        expect={
            "events": SEEN[3:],
            "end": "done",
            "requests": [
                [0, "GET", "events?after=latest", {"last-event-id": None}],
                [0, "GET", "events?after=latest", {"last-event-id": None}],
                [0, "GET", "events", {"last-event-id": "3-e1"}],
            ],
        },
    ),
    Scenario(
        number=39,
        title="An event without an id is passed on each time and leaves the position.",
        acts={EVENTS: [stream(_WAITING, *LOG[:2], _WAITING, end="cut"), stream(_WAITING, *LOG[2:])]},
        options=_QUICK,
        expect={
            **WHOLE,
            "events": [
                [None, "waiting", {"for": "worker"}],
                *SEEN[:2],
                [None, "waiting", {"for": "worker"}],
                [None, "waiting", {"for": "worker"}],
                *SEEN[2:],
            ],
            "requests": _asked(None, "2-e1"),
        },
    ),
    Scenario(
        number=40,
        title="After `restarted` the text so far is void.",
        acts={
            EVENTS: [
                stream(
                    *LOG[:3],
                    event("4-e2", "restarted", attempt=2, reason="worker_lost", epoch="e2"),
                    text("5-e2", "Good"),
                    end="cut",
                ),
                stream(text("6-e2", " day"), done("7-e2", "Good day")),
            ]
        },
        options=_QUICK,
        expect={
            "events": [
                *SEEN[:3],
                ["4-e2", "restarted", {"attempt": 2, "reason": "worker_lost"}],
                ["5-e2", "content", {"content": "Good"}],
                ["6-e2", "content", {"content": " day"}],
                ["7-e2", "done", {}],
            ],
            "text": "Good day",
            "end": "done",
            "error": None,
            "requests": _asked(None, "5-e2"),
        },
    ),
    Scenario(
        number=41,
        title="`log_lost` takes the position back, and what follows it is new.",
        acts={
            EVENTS: [
                stream(*LOG[:4], end="cut"),
                stream(
                    event("2-e3", "restarted", attempt=2, reason="log_lost", epoch="e3"),
                    text("3-e3", "Bye"),
                    end="cut",
                ),
                stream(done("4-e3", "Bye")),
            ]
        },
        options=_QUICK,
        expect={
            "events": [
                *SEEN[:4],
                ["2-e3", "restarted", {"reason": "log_lost"}],
                ["3-e3", "content", {"content": "Bye"}],
                ["4-e3", "done", {}],
            ],
            "text": "Bye",
            "end": "done",
            "requests": _asked(None, "4-e1", "3-e3"),
        },
    ),
    Scenario(
        number=42,
        title="A connection without a byte for as long as the limit of silence is dead; the client closes it.",
        acts={EVENTS: [silence, stream(*LOG)]},
        options={"silence": 0.2, **_QUICK},
        expect={**WHOLE, "requests": _asked(None, None), "left": 1},
    ),
    Scenario(
        number=43,
        title="Data that is not JSON, or an id that is none, is trouble: the client asks again after the last event.",
        acts={
            EVENTS: [
                stream(*LOG[:2], b"id: 3-e1\nevent: content\ndata: {\n\n"),
                stream(b"id: x\ndata: {}\n\n"),
                stream(*LOG[2:]),
            ]
        },
        options=_QUICK,
        expect={**WHOLE, "requests": _asked(None, "2-e1", "2-e1")},
    ),
    Scenario(
        number=44,
        title="A replica that breaks off is left for the next one, with the position.",
        acts={EVENTS: [stream(*LOG[:2], end="cut"), drop, stream(*LOG[2:])]},
        replicas=2,
        options=_QUICK,
        expect={**WHOLE, "requests": [*_asked(None), *_asked("2-e1", replica=1), *_asked("2-e1")]},
    ),
    Scenario(
        number=45,
        title="Streams that end at once, as those of a stopping API, are asked for again.",
        acts={EVENTS: [stream(), stream(b"retry: 1\n: stopping\n\n"), stream(*LOG)]},
        options=_QUICK,
        expect={**WHOLE, "requests": _asked(None, None, None)},
    ),
    Scenario(
        number=46,
        title="Leaving a watch closes its connection and cancels nothing.",
        acts={EVENTS: [stream(*LOG[:4], end="hold")]},
        leave_after=2,
        expect={"events": SEEN[:2], "end": None, "left": 1, "requests": _asked(None)},
    ),
]
