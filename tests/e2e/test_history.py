"""The checks of tests/support/history.py find each planted fault."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.client import Entry, Malformed, Parser
from tests.support.history import appended, assert_whole, faults_of_history, faults_of_log, kinds, text


def entry(number: int, kind: str, **fields: Any) -> Entry:
    return Entry(number, kind, json.dumps(fields))


LOG = [
    entry(1, "queued", job_id="j"),
    entry(2, "started", attempt=1),
    entry(3, "content", content="void"),
    entry(4, "restarted", attempt=2, reason="worker_lost"),
    entry(5, "content", content="One"),
    entry(6, "content", content=" two"),
    entry(7, "content", content=" three"),
    entry(8, "reasoning", content="Hm"),
    entry(9, "done", content="One two three", finish_reason="stop"),
]


def seen(log: list[Entry] = LOG, after: int = 0) -> list[Entry]:
    """A watcher's history of a log that is replayed event by event."""
    return [entry(event.id or 0, event.event or "", type=event.event, **event.fields) for event in log[after:]]


MERGED = [*seen()[:4], entry(7, "content", type="content", content="One two three"), *seen()[7:]]


def test_a_compacted_stream_gives_the_events_as_they_were_appended() -> None:
    """Entries with their own text, with text of the end, and entries of one event."""
    end = '{"content":"One 🦉 two"}'
    rows = [
        ("1-0", {"type": "queued", "data": '{"job_id":"j"}'}),
        ("4-0", {"type": "reasoning", "data": '{"content":"Hmm","choice":1}', "pieces": "2,0,1"}),
        ("6-0", {"type": "content", "data": "{}", "pieces": "5,4", "from": "0"}),
        ("7-0", {"type": "done", "data": end}),
    ]
    assert appended(rows) == [
        Entry(1, "queued", '{"job_id":"j"}'),
        Entry(2, "reasoning", '{"content":"Hm","choice":1}'),
        Entry(3, "reasoning", '{"content":"","choice":1}'),
        Entry(4, "reasoning", '{"content":"m","choice":1}'),
        Entry(5, "content", '{"content":"One 🦉"}'),
        Entry(6, "content", '{"content":" two"}'),
        Entry(7, "done", end),
    ]


def test_a_right_log_and_right_histories_have_no_faults() -> None:
    """Event by event, merged, and from a position."""
    assert_whole(LOG, seen(), MERGED, seen(after=5), after=[0, 0, 5])


def test_the_text_starts_over_with_a_restart() -> None:
    assert text(LOG) == "One two three"


def test_neighbours_of_one_kind_count_once() -> None:
    assert kinds(LOG[4:]) == ["content", "reasoning", "done"]


@pytest.mark.parametrize(
    ("log", "fault"),
    [
        (LOG[:5] + LOG[6:], "numbers"),
        ([*LOG[:5], *LOG[4:]], "numbers"),
        (LOG[:-1], "one end"),
        ([*LOG[:-1], entry(9, "done", content="One two three"), entry(10, "failed", content="")], "one end"),
        ([*LOG[:-1], LOG[-1], entry(10, "content", content="late")], "one end"),
        ([*LOG[:-1], entry(9, "done", content="voidOne two three")], "text"),
        (LOG[1:], "queued"),
        ([*LOG[:3], entry(4, "restarted", attempt=1), *LOG[4:]], "attempts"),
        ([*LOG[:3], entry(4, "started", attempt=2), *LOG[4:]], "attempts"),
    ],
    ids=["gap", "repeat", "no end", "two ends", "after the end", "text", "no queued", "attempt", "begun twice"],
)
def test_a_fault_in_the_log_is_found(log: list[Entry], fault: str) -> None:
    assert any(fault in found for found in faults_of_log(log))


@pytest.mark.parametrize(
    ("history", "fault"),
    [
        (seen()[:2] + seen()[3:], "gap"),
        (seen()[:3] + seen()[2:], "came again"),
        ([*seen()[:4], seen()[5], seen()[4], *seen()[6:]], "came again"),
        (seen()[:-1], "ends at 8"),
        ([*seen(), entry(10, "content", type="content", content="late")], "not in the log"),
        ([*MERGED[:4], entry(7, "content", type="content", content="One three"), *MERGED[5:]], "the log has"),
        ([*seen()[:4], entry(8, "content", type="content", content="One two threeHm"), *seen()[8:]], "gap"),
        ([*seen()[:-1], entry(9, "done", content="One two three", finish_reason="stop")], "the log has"),
        ([seen()[0]._replace(id=None), *seen()[1:]], "without a number"),
    ],
    ids=["gap", "repeat", "order", "short", "beyond", "text", "merged kinds", "no type in data", "no number"],
)
def test_a_fault_in_a_history_is_found(history: list[Entry], fault: str) -> None:
    assert any(fault in found for found in faults_of_history(history, LOG))


def test_a_history_that_begins_too_early_for_its_position_is_found() -> None:
    assert faults_of_history(seen(after=3), LOG, after=5)


@pytest.mark.parametrize(
    "stream", [b"data: 1\r\n\r\n", b"retry: 5\n\n", b"data:1\n\n", b"data: 1\ndata: 2\n\n", b"id: 1\n\n"]
)
def test_the_parser_refuses_what_the_protocol_does_not_say(stream: bytes) -> None:
    parser = Parser()
    with pytest.raises(Malformed):  # noqa: PT012  (either may notice)
        parser.feed(stream)
        parser.close()


def test_the_parser_reads_a_stream_that_is_cut_anywhere() -> None:
    """Also within a character; U+2028 ends no line."""
    stream = ': hi\n\nid: 7\nevent: content\ndata: {"content":"ü\u2028"}\n\ndata: [DONE]\n\n'.encode()
    parser = Parser()
    found = [entry for place in range(len(stream)) for entry in parser.feed(stream[place : place + 1])]
    parser.close()
    assert found == [Entry(7, "content", '{"content":"ü\u2028"}'), Entry(None, None, "[DONE]")]
    assert parser.comments == 1
