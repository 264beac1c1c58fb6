"""Responses of the operators' API, as the API gives them."""

from __future__ import annotations

from typing import Any

NOW = "2026-01-01T12:00:00.000Z"
FIRST, SECOND = "aaaa0123456789abcdefgh", "aaaa9876543210abcdefgh"


def job(name: str, **fields: Any) -> dict[str, Any]:
    """A job as the list has it."""
    return {
        "id": name,
        "status": "queued",
        "model": "demo",
        "attempt": 0,
        "last_seq": 1,
        "created_at": NOW,
        "metrics": None,
        "error": None,
        **fields,
    }


def worker(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "id": name,
        "host": "host-1",
        "pid": 4711,
        "version": "0.1.0",
        "started_at": "2026-01-01T11:00:00.000Z",
        "slots": 100,
        "running": [],
        "refused": None,
        "last_heartbeat_at": "2026-01-01T11:59:59.000Z",
        "lag_seconds": 0.01,
        "alive": True,
        **fields,
    }


def finding(code: str, severity: str, **fields: Any) -> dict[str, Any]:
    return {
        "code": code,
        "severity": severity,
        "title": f"title of {code}",
        "reason": f"reason of {code}.",
        "action": f"readalong mend {code}",
        "job_id": None,
        "worker_id": None,
        "since": None,
        **fields,
    }


def status(**fields: Any) -> dict[str, Any]:
    """A status without a finding."""
    return {
        "now": NOW,
        "findings": [],
        "redis": {
            "state": "ok",
            "version": "valkey 9.1.2",
            "used_memory_bytes": 12_000_000,
            "maxmemory_bytes": 512_000_000,
            "maxmemory_policy": "noeviction",
            "persistence": {"aof": True, "rdb": False},
            "round_trip_seconds": 0.0004,
        },
        "queue": {"length": 12, "bytes": 34_000, "oldest_wait_seconds": 125.0},
        "jobs": {"queued": 12, "running": 1, "done": 1200, "failed": 2, "cancelled": 0},
        "workers": [worker("worker-1", running=[{"job_id": FIRST, "since": "2026-01-01T11:59:00.000Z"}])],
        **fields,
    }


def minute(tokens: int, done: int = 0, **fields: Any) -> dict[str, Any]:
    times = {"p50": 0.5, "p95": 1.2}
    return {
        "at": NOW,
        "submitted": done,
        "done": done,
        "failed": 0,
        "cancelled": 0,
        "tokens": tokens,
        "time_to_first_token": times,
        "queue_seconds": times,
        "errors": {},
        **fields,
    }


def stats() -> dict[str, Any]:
    return {
        "minutes": [minute(0), minute(6000, 30), minute(1200, 10)],
        "totals": minute(7200, 40, failed=3, errors={"model_cut": 3}),
    }
