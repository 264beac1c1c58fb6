"""A job's hash as a typed record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import orjson

from readalong.core.errors import UnknownSchema
from readalong.core.events import SCHEMA
from readalong.core.states import TERMINAL, Status

#: What is read of a job: its hash without the request, which may be megabytes.
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
    b"epochs",
    b"thread",
    b"thread_digest",
    b"thread_open",
    b"policy_keys",
    b"retry_of",
)


#: Of all numbers: the end of the year 9999 in milliseconds.
_LARGEST: Final = 253_402_300_799_999
#: Bytes of the shortest JSON that is nested deeper than can be written.
_DEEP: Final = 500


@dataclass(frozen=True, slots=True)
class Record:
    """What Redis holds of a job besides its log and its request. Times are in milliseconds since the epoch, by Redis'
    clock."""

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
    body_digest: str
    key_digest: str
    on_worker_lost: str
    deadline: int | None
    cancel_on_disconnect: bool
    #: Which claims wrote the numbers of its log (`Epochs`).
    epochs: str = ""
    #: Milliseconds that it goes on without a watcher; None: as the settings say.
    disconnect_grace: int | None = None
    #: The name of its thread, and the digest in the names of the thread's keys; "": it is no turn of one.
    thread: str = ""
    thread_digest: str = ""
    #: Whether its turn is not recorded in its thread yet.
    thread_open: bool = False
    #: Keys of the metadata that the policy set; None: an earlier version wrote the job and did not say.
    policy_keys: tuple[str, ...] | None = None
    #: The job whose request it repeats; "": none.
    retry_of: str = ""

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL


class JobState(NamedTuple):
    """What the sweep and a feed want to know of a job. `deadline`: ms since the epoch. `known`: this version knows its
    schema. `last_seq`, `epochs`: which claims wrote the numbers up to where (`Epochs`). `broken`: its hash, or what is
    in its place, holds what readalong did not write. `thread_open`: its turn is not recorded in its thread yet."""

    status: str
    attempt: int
    deadline: int | None
    known: bool
    last_seq: int = 0
    epochs: str = ""
    broken: bool = False
    thread_open: bool = False

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL


def parse_state(values: Sequence[bytes | None]) -> JobState | None:
    """From what the script `states` says of a hash; None for one that is gone."""
    status, attempt, deadline, schema, last_seq, epochs, thread_open = values
    if status is None:
        return None
    try:
        known = int(schema or 0) == SCHEMA
        state = status.decode()
        if known or not state:
            state = Status(state)
        due = None if deadline is None else int(deadline)
        said = (epochs or b"").decode(errors="replace")
        turn = thread_open is not None
        return JobState(state, int(attempt or 0), due, known, int(last_seq or 0), said, thread_open=turn)
    except ValueError:
        return JobState("", 0, None, False, broken=True)


def parse(fields: Mapping[bytes, bytes] | Iterable[bytes]) -> Record | None:
    """Returns the record of a hash, as HGETALL returns it, mapped or flat; None for an empty one.

    Raises UnknownSchema for one that this version does not know; ValueError, KeyError for a broken one. Fields
    that it does not know are nothing to it.
    """
    if not isinstance(fields, Mapping):
        flat = list(fields)
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
    if not fields:
        return None
    parse_schema(fields.get(b"schema", b"0"))

    def count(name: bytes) -> int:
        value = int(fields[name])
        if not 0 <= value <= _LARGEST:
            raise ValueError(f"{name.decode()} is {value}")
        return value

    def time(name: bytes) -> int | None:
        return count(name) if name in fields else None

    def json(name: bytes) -> dict[str, Any] | None:
        value = orjson.loads(fields[name]) if name in fields else None
        if not isinstance(value, dict | None):
            raise ValueError(f"{name.decode()} is no object")
        if len(fields.get(name, b"")) > _DEEP:
            orjson.dumps(value)  # it reads deeper than it writes
        return value

    created_at = count(b"created_at")
    ended_at, started_at = time(b"ended_at"), time(b"started_at")
    return Record(
        id=fields[b"id"].decode(),
        status=Status(fields[b"status"].decode()),
        model=fields[b"model"].decode(),
        attempt=count(b"attempt"),
        last_seq=count(b"last_seq"),
        created_at=created_at,
        started_at=started_at,
        ended_at=ended_at,
        last_event_at=ended_at or time(b"last_event_at") or started_at or created_at,
        worker=json(b"worker"),
        finish_reason=fields[b"finish_reason"].decode() if b"finish_reason" in fields else None,
        usage=json(b"usage"),
        metrics=json(b"metrics"),
        error=json(b"error"),
        metadata=json(b"metadata") or {},
        body_digest=fields[b"body_digest"].decode(),
        key_digest=fields.get(b"key_digest", b"").decode(),
        on_worker_lost=fields.get(b"on_worker_lost", b"retry").decode(),
        deadline=time(b"deadline"),
        cancel_on_disconnect=fields.get(b"cancel_on_disconnect") == b"1",
        epochs=fields.get(b"epochs", b"").decode(errors="replace"),
        disconnect_grace=time(b"disconnect_grace"),
        thread=fields.get(b"thread", b"").decode(),
        thread_digest=fields.get(b"thread_digest", b"").decode(),
        thread_open=b"thread_open" in fields,
        policy_keys=tuple(orjson.loads(fields[b"policy_keys"])) if b"policy_keys" in fields else None,
        retry_of=fields.get(b"retry_of", b"").decode(errors="replace"),
    )


def parse_schema(value: bytes) -> None:
    """Raises UnknownSchema, unless this version knows it; ValueError for what is none."""
    if int(value) != SCHEMA:
        raise UnknownSchema(f"The job has schema {int(value)}; this version reads {SCHEMA}.", retry_after=5)


def rfc3339(ms: int) -> str:
    """Returns a time in milliseconds since the epoch as RFC 3339, UTC, with milliseconds."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
