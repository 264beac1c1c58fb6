"""A job's hash as a typed record."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from readalong.core.errors import UnknownSchema
from readalong.core.states import Status
from readalong.store.job_record import parse, rfc3339

NEW = {
    b"schema": b"1",
    b"id": b"abcdefghijklmnop",
    b"status": b"queued",
    b"model": b"m\xc3\xbc",
    b"attempt": b"0",
    b"lost": b"0",
    b"last_seq": b"1",
    b"created_at": b"1763850000123",
    b"request": b'{"messages":[]}',
    b"metadata": b'{"user":"u"}',
    b"body_digest": b"d",
}
DONE = NEW | {
    b"status": b"done",
    b"attempt": b"2",
    b"last_seq": b"9",
    b"started_at": b"1763850000200",
    b"ended_at": b"1763850001000",
    b"worker": b'{"host":"h"}',
    b"finish_reason": b"stop",
    b"usage": b'{"total_tokens":3}',
    b"metrics": b'{"total_seconds":1}',
    b"error": b'{"code":"c"}',
    b"claim": b"token",
    b"a_later_field": b"x",
}


def test_a_new_job_has_neither_start_nor_end() -> None:
    record = parse(NEW)
    assert record is not None
    assert (record.status, record.attempt, record.last_seq, record.ended) == (Status.QUEUED, 0, 1, False)
    assert (record.started_at, record.ended_at, record.worker, record.finish_reason) == (None, None, None, None)
    assert (record.usage, record.metrics, record.error) == (None, None, None)
    assert (record.model, record.metadata) == ("mü", {"user": "u"})


def test_an_ended_job_has_all_of_it_and_unknown_fields_do_no_harm() -> None:
    record = parse(DONE)
    assert record is not None
    assert (record.status, record.ended) == (Status.DONE, True)
    assert (record.started_at, record.ended_at) == (1763850000200, 1763850001000)
    assert (record.worker, record.usage) == ({"host": "h"}, {"total_tokens": 3})
    assert (record.metrics, record.error, record.finish_reason) == ({"total_seconds": 1}, {"code": "c"}, "stop")


@pytest.mark.parametrize("fields", [NEW, DONE])
def test_a_hash_parses_the_same_flat_as_mapped(fields: dict[bytes, bytes]) -> None:
    assert parse([part for pair in fields.items() for part in pair]) == parse(fields)


def test_an_empty_hash_is_no_job() -> None:
    assert parse({}) is None
    assert parse([]) is None


@pytest.mark.parametrize("schema", [b"2", b"0"])
def test_a_schema_of_another_version_is_refused_by_name(schema: bytes) -> None:
    with pytest.raises(UnknownSchema, match=f"schema {schema.decode()}; this version reads 1"):
        parse(NEW | {b"schema": schema})


def test_a_hash_without_a_schema_is_refused() -> None:
    with pytest.raises(UnknownSchema, match="schema 0"):
        parse({b"id": b"x"})


def test_a_field_that_a_newer_version_writes_changes_nothing() -> None:
    assert parse(DONE | {b"a_field_of_next_year": b"\xff{"}) == parse(DONE)


@pytest.mark.parametrize("status", Status)
def test_a_record_has_ended_exactly_if_its_state_has(status: Status) -> None:
    record = parse(NEW | {b"status": status.encode()})
    assert record is not None
    assert record.ended is (status in {"done", "failed", "cancelled"})


def test_a_time_is_written_in_utc_with_milliseconds() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(1_763_850_000_007) == "2025-11-22T22:20:00.007Z"


@given(st.integers(0, 4_102_444_800_000))
def test_no_millisecond_is_lost_in_writing_a_time(ms: int) -> None:
    back = datetime.fromisoformat(rfc3339(ms)) - datetime.fromisoformat("1970-01-01T00:00:00Z")
    assert back // timedelta(milliseconds=1) == ms
