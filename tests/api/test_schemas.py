"""A job as every call shows it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from readalong.api.schemas import Job, JobList, job_response
from readalong.core.events import Event, NewEvent
from readalong.core.states import Status
from readalong.core.transcript import Transcript
from readalong.store.job_record import Record
from tests.readalong.jobs import METRICS

CREATED = 1_763_850_000_123


def record(**changes: Any) -> Record:
    fields: dict[str, Any] = {
        "id": "abcdefghijklmnopqrstuv",
        "status": Status.QUEUED,
        "model": "m",
        "attempt": 0,
        "last_seq": 1,
        "created_at": CREATED,
        "started_at": None,
        "ended_at": None,
        "last_event_at": CREATED,
        "worker": None,
        "finish_reason": None,
        "usage": None,
        "metrics": None,
        "error": None,
        "metadata": {},
        "body_digest": "digest",
        "key_digest": "",
        "on_worker_lost": "retry",
        "deadline": None,
        "cancel_on_disconnect": False,
        **changes,
    }
    return Record(**fields)


def transcript(*drafts: NewEvent) -> Transcript:
    said = Transcript()
    said.add_all(Event(seq, draft.type, draft.encode()) for seq, draft in enumerate(drafts, 1))
    return said


def test_a_queued_job_shows_all_its_fields_and_nothing_else() -> None:
    """The exact object: clients may rely on every name."""
    assert job_response(record(), Transcript()) == {
        "id": "abcdefghijklmnopqrstuv",
        "status": "queued",
        "model": "m",
        "attempt": 0,
        "worker": None,
        "waiting_for": None,
        "last_seq": 1,
        "created_at": "2025-11-22T22:20:00.123Z",
        "started_at": None,
        "ended_at": None,
        "last_event_at": "2025-11-22T22:20:00.123Z",
        "content": "",
        "tool_calls": [],
        "function_call": None,
        "finish_reason": None,
        "usage": None,
        "metrics": None,
        "error": None,
        "metadata": {},
        "thread": None,
        "on_worker_lost": "retry",
        "deadline": None,
        "cancel_on_disconnect": False,
        "disconnect_grace": None,
        "retry_of": None,
        "links": {
            "self": "/v1/jobs/abcdefghijklmnopqrstuv",
            "events": "/v1/jobs/abcdefghijklmnopqrstuv/events",
            "cancel": "/v1/jobs/abcdefghijklmnopqrstuv/cancel",
        },
    }


def test_what_was_said_is_the_first_choice_s_text_and_the_calls() -> None:
    call = {"index": 0, "id": "c", "name": "f", "arguments": {"a": 1}}
    said = transcript(
        NewEvent("started", {"attempt": 1}),
        NewEvent("content", {"content": "a"}),
        NewEvent("content", {"content": "other", "choice": 1}),
        NewEvent("reasoning", {"content": "hm"}),
        NewEvent("content", {"content": "b"}),
        NewEvent("tool_call", call),
        NewEvent("function_call", {"name": "g", "arguments": {}}),
    )
    shown = job_response(record(status=Status.RUNNING), said)
    assert shown["content"] == "ab"
    assert shown["tool_calls"] == [call]
    assert shown["function_call"] == {"name": "g", "arguments": {}}


def test_a_restart_voids_what_was_said() -> None:
    said = transcript(
        NewEvent("content", {"content": "old"}),
        NewEvent("restarted", {"attempt": 2}),
        NewEvent("content", {"content": "new"}),
    )
    assert job_response(record(), said)["content"] == "new"


def test_a_list_shows_null_where_the_log_was_not_read() -> None:
    """Null, and not an empty text."""
    shown = job_response(record(), None)
    assert (shown["content"], shown["tool_calls"], shown["function_call"]) == (None, None, None)


@pytest.mark.parametrize("status", Status)
def test_every_state_is_valid_against_the_published_model(status: Status) -> None:
    shown = job_response(
        record(
            status=status,
            attempt=2,
            started_at=CREATED + 1,
            ended_at=CREATED + 2,
            worker={"host": "h", "pid": 1, "id": "w"},
            finish_reason="stop",
            usage={"total_tokens": 3},
            metrics=orjson.loads(METRICS),
            error={"code": "c", "message": "m", "retryable": False},
            metadata={"user": "u"},
        ),
        Transcript(),
    )
    assert shown.keys() == Job.model_fields.keys() - {"request", "timeline", "progress", "cost"}
    parsed = Job.model_validate_json(orjson.dumps(shown), strict=True)
    assert parsed.status is status
    assert (parsed.started_at, parsed.ended_at) == ("2025-11-22T22:20:00.124Z", "2025-11-22T22:20:00.125Z")
    JobList.model_validate_json(orjson.dumps({"jobs": [shown], "next": None}))
