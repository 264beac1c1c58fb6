"""The bodies of the operators' calls."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from readalong.api.schemas import Job
from readalong.core.states import ENDS, Status
from readalong.store.findings import Finding, Severity
from readalong.store.health import State
from readalong.store.job_record import rfc3339
from readalong.store.stats import Minute, percentiles, total
from readalong.store.status import RedisStatus, Snapshot, WorkerStatus

#: A code that a later version may not know: known ones are listed, others parse.
FindingCode = (
    Literal[
        "redis_away",
        "redis_full",
        "redis_refuses",
        "redis_evicts",
        "redis_not_persistent",
        "no_worker",
        "workers_refused",
        "worker_dead",
        "worker_silent",
        "all_slots_busy",
        "queue_old",
        "queue_growing",
        "job_stuck",
        "job_waits_for_model",
        "job_waits_for_worker",
        "broken_key",
        "clock_off",
    ]
    | str
)

_EXAMPLE: Final[dict[str, Any]] = {
    "now": "2026-11-30T03:00:00.000Z",
    "findings": [
        {
            "code": "job_stuck",
            "severity": "warning",
            "title": "A job is stuck at its model",
            "reason": "The model 'gpt-4o' has sent nothing for 47 s; the job waits for its next token.",
            "action": "Look at the model's server; or cancel the job: `readalong cancel Jm4uN1c2dK8vQxZ0aB3cDe`",
            "job_id": "Jm4uN1c2dK8vQxZ0aB3cDe",
            "worker_id": "host-4711-a1b2c3",
            "since": "2026-11-30T02:59:13.000Z",
        }
    ],
    "redis": {
        "state": "ok",
        "prefix": "readalong",
        "cli": "redis-cli -u redis://10.0.0.7:6379/0",
        "version": "valkey 8.1.1",
        "used_memory_bytes": 12_582_912,
        "maxmemory_bytes": None,
        "maxmemory_policy": "noeviction",
        "persistence": {"aof": True, "rdb": False},
        "round_trip_seconds": 0.0004,
    },
    "queue": {"length": 0, "bytes": 0, "oldest_wait_seconds": None},
    "jobs": {"queued": 0, "running": 1, "done": 120, "failed": 2, "cancelled": 3},
    "workers": [
        {
            "id": "host-4711-a1b2c3",
            "host": "host",
            "pid": 4711,
            "version": "0.1.0",
            "started_at": "2026-11-29T20:00:00.000Z",
            "slots": 100,
            "running": [{"job_id": "Jm4uN1c2dK8vQxZ0aB3cDe", "since": "2026-11-30T02:58:30.000Z"}],
            "refused": None,
            "last_heartbeat_at": "2026-11-30T02:59:58.000Z",
            "lag_seconds": 0.002,
            "alive": True,
        }
    ],
}


_COUNTS_EXAMPLE: Final[dict[str, Any]] = {
    "submitted": 12,
    "done": 10,
    "failed": 1,
    "cancelled": 0,
    "tokens": 4321,
    "time_to_first_token": {"p50": 0.31, "p95": 0.92},
    "queue_seconds": {"p50": 0.002, "p95": 0.011},
    "errors": {"model_timeout": 1},
}
_STATS_EXAMPLE: Final[dict[str, Any]] = {
    "minutes": [{"at": "2026-11-30T03:00:00.000Z", **_COUNTS_EXAMPLE}],
    "totals": _COUNTS_EXAMPLE,
}


class StatusFinding(BaseModel):
    """What is the matter, why, and what to do."""

    code: FindingCode = Field(description="What is the matter; stable, for programs.")
    severity: Severity
    title: str = Field(description="At most 60 characters.")
    reason: str = Field(description="One sentence, with numbers.")
    action: str = Field(description="What to do: a command, or a setting.")
    job_id: str | None
    worker_id: str | None
    since: str | None = Field(description="RFC 3339, UTC.")


class RedisPersistence(BaseModel):
    """Whether Redis writes to disk; null where it does not say."""

    aof: bool | None
    rdb: bool | None


class RedisState(BaseModel):
    """What Redis says of itself; null where it does not."""

    state: State
    prefix: str = Field(description="What the names of all keys begin with: `READALONG_PREFIX`.")
    cli: str = Field(
        description="What a command of redis-cli begins with to reach it from the API, without a password."
    )
    version: str | None
    used_memory_bytes: int | None
    maxmemory_bytes: int | None = Field(description="Null: no limit.")
    maxmemory_policy: str | None
    persistence: RedisPersistence
    round_trip_seconds: float | None


class QueueState(BaseModel):
    """The jobs that wait and that no worker has taken; null while Redis does not answer."""

    length: int | None
    bytes: int | None = Field(description="Bytes of their requests; of a long queue an estimate.")
    oldest_wait_seconds: float | None = Field(description="Null if none waits.")


class JobCounts(BaseModel):
    """Jobs by state, as the lists know them; null while Redis does not answer."""

    queued: int | None
    running: int | None
    done: int | None
    failed: int | None
    cancelled: int | None


class RunningJob(BaseModel):
    """A job that a worker runs."""

    job_id: str
    since: str | None = Field(description="When this attempt began; RFC 3339, UTC.")


class WorkerState(BaseModel):
    """A worker by its last sign of life."""

    id: str
    host: str | None
    pid: int | None
    version: str | None
    started_at: str | None = Field(description="RFC 3339, UTC.")
    slots: int | None = Field(description="Jobs that it runs at once, at most.")
    running: list[RunningJob]
    refused: str | None = Field(description="Why its model refuses it: a code of a failed job.")
    last_heartbeat_at: str | None = Field(description="RFC 3339, UTC.")
    lag_seconds: float | None = Field(description="The longest delay of its event loop since the sign of life before.")
    alive: bool = Field(description="It is connected to Redis, and was heard within its lease.")


class SystemStatus(BaseModel):
    """How readalong stands."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    now: str = Field(description="Redis' time; this process' own while Redis does not tell it. RFC 3339, UTC.")
    findings: list[StatusFinding] = Field(description="What is the matter, worst first; empty: all is well.")
    redis: RedisState
    queue: QueueState
    jobs: JobCounts
    workers: list[WorkerState]


class ErasedJob(BaseModel):
    """A job has been erased."""

    type: Literal["erased"]
    id: str


class Percentiles(BaseModel):
    """Of the jobs of a minute, in seconds, to a fortieth."""

    p50: float
    p95: float


class MinuteStats(BaseModel):
    """What happened in one minute. Jobs, their tokens and times count in the minute of their end."""

    at: str = Field(description="Its beginning. RFC 3339, UTC.")
    submitted: int
    done: int
    failed: int
    cancelled: int
    tokens: int = Field(description="Tokens of the answers; where the model does not count them, its chunks.")
    time_to_first_token: Percentiles | None = Field(description="From the submit. Null: no job of this minute has one.")
    queue_seconds: Percentiles | None
    errors: dict[str, int] = Field(description="Failed jobs by the code of their error.")


class TotalStats(BaseModel):
    """The same of all these minutes."""

    submitted: int
    done: int
    failed: int
    cancelled: int
    tokens: int
    time_to_first_token: Percentiles | None
    queue_seconds: Percentiles | None
    errors: dict[str, int]


class Stats(BaseModel):
    """What happened in the last minutes."""

    model_config = ConfigDict(json_schema_extra={"examples": [_STATS_EXAMPLE]})

    minutes: list[MinuteStats] = Field(description="Each of them, oldest first; the last is the present one.")
    totals: TotalStats


class Change(RootModel[Job | ErasedJob | SystemStatus]):
    """The data of a change, by its `event`: `job`, `erased` or `status`."""


def status_body(look: Snapshot, findings: list[Finding], prefix: str, cli: str) -> dict[str, Any]:
    """Returns a SystemStatus as plain data."""
    return {
        "now": rfc3339(look.now),
        "findings": [_finding(each) for each in findings],
        "redis": {"prefix": prefix, "cli": cli, **_redis(look.redis)},
        "queue": {
            "length": look.queued,
            "bytes": look.queued_bytes,
            "oldest_wait_seconds": look.oldest_wait,
        },
        "jobs": {str(state): look.counts.get(state) for state in Status},
        "workers": [_worker(each) for each in look.workers],
    }


def stats_body(minutes: list[Minute]) -> dict[str, Any]:
    """Returns Stats as plain data."""
    return {
        "minutes": [{"at": rfc3339(each.at), **_counts(each)} for each in minutes],
        "totals": _counts(total(minutes)),
    }


def _counts(minute: Minute) -> dict[str, Any]:
    names = ("submitted", *(state.value for state in ENDS), "tokens")
    return {
        **{name: minute.counts[name] for name in names},
        "time_to_first_token": _percentiles(minute.first_token),
        "queue_seconds": _percentiles(minute.queue),
        "errors": dict(minute.errors),
    }


def _percentiles(steps: Counter[int]) -> dict[str, float] | None:
    found = percentiles(steps)
    return None if found is None else {name: round(value, 6) for name, value in found._asdict().items()}


def _finding(found: Finding) -> dict[str, Any]:
    return {**found._asdict(), "since": _time(found.since)}


def _redis(redis: RedisStatus) -> dict[str, Any]:
    return {
        "state": redis.health.redis,
        "version": redis.version,
        "used_memory_bytes": redis.used_memory,
        "maxmemory_bytes": redis.maxmemory or None,
        "maxmemory_policy": redis.policy,
        "persistence": {"aof": redis.aof, "rdb": redis.rdb},
        "round_trip_seconds": None if redis.round_trip is None else round(redis.round_trip, 6),
    }


def _worker(worker: WorkerStatus) -> dict[str, Any]:
    return {
        "id": worker.id,
        "host": worker.host,
        "pid": worker.pid,
        "version": worker.version,
        "started_at": worker.started_at,
        "slots": worker.slots,
        "running": [{"job_id": job_id, "since": since} for job_id, since in worker.running],
        "refused": worker.refused,
        "last_heartbeat_at": _time(worker.heard_at),
        "lag_seconds": worker.lag,
        "alive": worker.alive,
    }


def _time(ms: int | None) -> str | None:
    return None if ms is None else rfc3339(ms)
