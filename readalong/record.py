"""A job's hash as a typed record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import orjson

from readalong.errors import UnknownSchema
from readalong.events import SCHEMA
from readalong.states import ENDED, Status

#: What a list shows of a job: its hash without the request, which may be megabytes.
LISTED: Final = (
    b"schema",
    b"id",
    b"status",
    b"model",
    b"attempt",
    b"last_seq",
    b"created_at",
    b"started_at",
    b"ended_at",
    b"last_event_at",
    b"worker",
    b"finish_reason",
    b"usage",
    b"metrics",
    b"error",
    b"metadata",
    b"body_digest",
    b"key_digest",
    b"on_worker_lost",
    b"deadline",
    b"cancel_on_disconnect",
    b"disconnect_grace",
)


@dataclass(frozen=True, slots=True)
class Record:
    """What Redis holds of a job besides its log. Times are milliseconds since the epoch, by Redis' clock."""

    id: str
    status: Status
    model: str
    attempt: int
    last_seq: int
    created_at: int
    started_at: int | None
    ended_at: int | None
    #: To a second while it runs.
    last_event_at: int
    worker: dict[str, Any] | None
    finish_reason: str | None
    usage: dict[str, Any] | None
    metrics: dict[str, Any] | None
    error: dict[str, Any] | None
    metadata: dict[str, Any]
    #: As it came; b"" if it was not asked for.
    request: bytes
    body_digest: str
    key_digest: str
    on_worker_lost: str
    deadline: int | None
    cancel_on_disconnect: bool
    #: Milliseconds that it goes on without a watcher; None: as the settings say.
    disconnect_grace: int | None = None

    @property
    def ended(self) -> bool:
        return self.status in ENDED


class Standing(NamedTuple):
    """What the sweep wants to know of a job. `deadline`: ms since the epoch. `known`: this version knows its schema."""

    status: str
    attempt: int
    deadline: int | None
    known: bool


def standing(
    status: bytes | None, attempt: bytes | None, deadline: bytes | None, schema: bytes | None
) -> Standing | None:
    """From these fields of a hash; None for one that is gone."""
    if status is None:
        return None
    known = int(schema or 0) == SCHEMA
    return Standing(status.decode(), int(attempt or 0), None if deadline is None else int(deadline), known)


def parse(fields: Mapping[bytes, bytes] | Iterable[bytes]) -> Record | None:
    """The record of a hash, as HGETALL answers it, mapped or flat; None for an empty one.

    Raises UnknownSchema for one that this version does not know. Fields that it does not know are nothing to it.
    """
    if not isinstance(fields, Mapping):
        flat = list(fields)
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
    if not fields:
        return None
    schema = int(fields.get(b"schema", b"0"))
    if schema != SCHEMA:
        raise UnknownSchema(f"The job has schema {schema}; this version reads {SCHEMA}.", retry_after=5)

    def number(name: bytes) -> int | None:
        return int(fields[name]) if name in fields else None

    def json(name: bytes) -> dict[str, Any] | None:
        return orjson.loads(fields[name]) if name in fields else None

    ended_at, started_at = number(b"ended_at"), number(b"started_at")
    created_at = int(fields[b"created_at"])
    return Record(
        id=fields[b"id"].decode(),
        status=Status(fields[b"status"].decode()),
        model=fields[b"model"].decode(),
        attempt=int(fields[b"attempt"]),
        last_seq=int(fields[b"last_seq"]),
        created_at=created_at,
        started_at=started_at,
        ended_at=ended_at,
        last_event_at=ended_at or number(b"last_event_at") or started_at or created_at,
        worker=json(b"worker"),
        finish_reason=fields[b"finish_reason"].decode() if b"finish_reason" in fields else None,
        usage=json(b"usage"),
        metrics=json(b"metrics"),
        error=json(b"error"),
        metadata=json(b"metadata") or {},
        request=fields.get(b"request", b""),
        body_digest=fields[b"body_digest"].decode(),
        key_digest=fields.get(b"key_digest", b"").decode(),
        on_worker_lost=fields.get(b"on_worker_lost", b"retry").decode(),
        deadline=number(b"deadline"),
        cancel_on_disconnect=fields.get(b"cancel_on_disconnect") == b"1",
        disconnect_grace=number(b"disconnect_grace"),
    )


def rfc3339(ms: int) -> str:
    """A time in milliseconds since the epoch as RFC 3339, UTC, with milliseconds."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
