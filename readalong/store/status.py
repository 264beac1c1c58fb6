"""How readalong stands, as an operator asks: Redis, the queue, the workers, and the jobs that have not ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeVar

import orjson
from arq.constants import in_progress_key_prefix

from readalong.core.errors import StoreRefused, StoreUnavailable
from readalong.core.keys import is_job_id
from readalong.core.settings import Settings
from readalong.core.states import Status
from readalong.redis.facade import RedisFacade
from readalong.store.health import Probe, RedisHealth

_Reply = TypeVar("_Reply")

#: Open jobs, the oldest, that one look goes through: a job that is stuck is among the oldest.
LOOKED_AT: Final = 500
#: Waiting jobs whose requests are weighed; the rest is estimated.
_WEIGHED: Final = 200
#: Seconds without an event from which on a look reads what the newest event of a job is.
_SILENT: Final = 3.0
#: The end of the year 9999, in milliseconds.
_LATEST: Final = 253_402_300_799_999


@dataclass(frozen=True, slots=True)
class RedisStatus:
    """What Redis says of itself; None where it does not."""

    health: RedisHealth
    version: str | None = None
    used_memory: int | None = None
    maxmemory: int | None = None
    policy: str | None = None
    aof: bool | None = None
    rdb: bool | None = None
    round_trip: float | None = None


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker by its sign of life. `running`: ids of its jobs, each with the time since when, RFC 3339. `alive`: it is
    connected, and was heard within its lease. `heard_at`: ms since the epoch."""

    id: str
    alive: bool
    connected: bool
    heard_at: int | None = None
    host: str | None = None
    pid: int | None = None
    version: str | None = None
    started_at: str | None = None
    slots: int | None = None
    running: tuple[tuple[str, str | None], ...] = ()
    refused: str | None = None
    lag: float | None = None
    clock_off: float | None = None


@dataclass(frozen=True, slots=True)
class OpenJob:
    """A job that has not ended. Times in ms since the epoch. `worker`: the id of the newest attempt's. `waits`: it has
    begun and waits for a worker. `newest`: the type of its newest event, if it has been silent for a while; of a
    `waiting` one `waiting_for` and `waiting_why`. `broken`: its keys hold what readalong did not write."""

    id: str
    broken: bool = False
    status: str = ""
    attempt: int = 0
    model: str = ""
    created_at: int = 0
    spoke_at: int = 0
    worker: str = ""
    waits: bool = False
    newest: str = ""
    waiting_for: str = ""
    waiting_why: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One look. `now`: Redis' time, in ms; this process' own while Redis does not tell it. `clock_off`: seconds by
    which this process' clock is ahead of Redis'. `oldest_wait`: seconds; None if no job waits. `aside`: keys in which
    values of a wrong type are that shared keys had. The lists are empty and the numbers None while Redis does not
    answer."""

    redis: RedisStatus
    now: int
    clock_off: float | None = None
    queued: int | None = None
    queued_bytes: int | None = None
    oldest_wait: float | None = None
    counts: dict[Status, int] = field(default_factory=dict)
    workers: tuple[WorkerStatus, ...] = ()
    open_jobs: tuple[OpenJob, ...] = ()
    aside: tuple[str, ...] = ()


class StatusStore:
    """Looks at Redis, the queue, the workers and the open jobs at once."""

    def __init__(self, redis: RedisFacade, settings: Settings, probe: Probe) -> None:
        self._redis = redis
        self._probe = probe
        self._timeout = settings.redis_timeout
        keys = settings.keys
        shared = [keys.queue, keys.leases, keys.workers, keys.active, *keys.by_state]
        self._keys = [*shared, *(keys.aside(name) for name in keys.shared)]
        head, tail = keys.job("?").split("?")
        log_tail = keys.events("?").removeprefix(keys.job("?"))
        names = (in_progress_key_prefix, keys.worker(""), keys.alive(""), head, tail, log_tail)
        self._args = (*names, LOOKED_AT, _WEIGHED, int(_SILENT * 1000))

    async def look(self) -> Snapshot:
        """Six round trips, within three Redis time-outs. Raises nothing that Redis may answer."""
        health = await self._probe.look()
        if health.redis == "away":
            return Snapshot(RedisStatus(health), _own_now())
        loop = asyncio.get_running_loop()
        asked = loop.time()
        reachable = await self._said(lambda: self._redis.command("PING")) is not None
        trip = loop.time() - asked if reachable else None
        status = await self._of_redis(health, trip)
        board = await self._said(lambda: self._redis.call("status", self._keys, *self._args))
        if board is None:
            return Snapshot(status, _own_now())
        now, queued, first, size, weighed, counts, workers, aside, rows = board
        place = _number(first)
        return Snapshot(
            redis=status,
            now=now,
            clock_off=time.time() - now / 1000,
            queued=queued,
            queued_bytes=size * queued // weighed if weighed else 0,
            oldest_wait=None if place is None else max(now - place, 0) / 1000,
            counts=dict(zip(Status, counts, strict=True)),
            workers=tuple(_workers(workers, now)),
            open_jobs=tuple(_open_job(row) for row in rows),
            aside=tuple(name.decode(errors="replace") for name in aside),
        )

    async def _of_redis(self, health: RedisHealth, trip: float | None) -> RedisStatus:
        sections = ("server", "memory", "persistence")
        info = await self._said(lambda: self._redis.info(*sections)) or {}
        saves = await self._said(lambda: self._redis.command("CONFIG", "GET", "save"))
        name = info.get("server_name", "redis")
        version = info.get(f"{name}_version", info.get("redis_version"))
        aof = info.get("aof_enabled")
        return RedisStatus(
            health,
            version=None if version is None else f"{name} {version}",
            used_memory=_count(info.get("used_memory")),
            maxmemory=_count(info.get("maxmemory")),
            policy=_text(info.get("maxmemory_policy")),
            aof=None if aof is None else bool(aof),
            rdb=bool(saves[1]) if isinstance(saves, list) and len(saves) > 1 else None,
            round_trip=trip,
        )

    async def _said(self, ask: Callable[[], Awaitable[_Reply]]) -> _Reply | None:
        """Returns the reply; None if Redis gives none, or does not allow the question."""
        with suppress(StoreUnavailable, StoreRefused, TimeoutError):
            async with asyncio.timeout(self._timeout):
                return await ask()
        return None


def _workers(flat: Sequence[Any], now: int) -> Iterator[WorkerStatus]:
    for name, until, sign, dead in zip(flat[::4], flat[1::4], flat[2::4], flat[3::4], strict=True):
        said = _object(sign)
        heard_at = _time(said.get("at"))
        live_until = _number(until)
        runs = said.get("running")
        ids = [one for one in runs if isinstance(one, str) and is_job_id(one)] if isinstance(runs, list) else []
        since = said.get("since")
        told = since if isinstance(since, list) and len(since) == len(ids) else [None] * len(ids)
        in_time = live_until is not None and live_until > now
        yield WorkerStatus(
            id=name.decode(errors="replace"),
            alive=in_time and bool(sign) and not dead,
            connected=not dead,
            heard_at=heard_at,
            host=_text(said.get("host")),
            pid=_count(said.get("pid")),
            version=_text(said.get("version")),
            started_at=_when(said.get("started_at")),
            slots=_count(said.get("slots")),
            running=tuple(zip(ids, map(_when, told), strict=True)),
            refused=_text(said.get("refused")) or None,
            lag=_seconds(said.get("lag_seconds")),
            clock_off=_seconds(said.get("clock_off_seconds")),
        )


def _open_job(row: Sequence[Any]) -> OpenJob:
    job_id, status = (part.decode(errors="replace") for part in row[:2])
    if not status:
        return OpenJob(job_id, broken=True)
    attempt, model, created_at, _, spoke_at, worker, waits, newest, data = row[2:]
    said = _object(data)
    return OpenJob(
        job_id,
        status=status,
        attempt=int(_number(attempt) or 0),
        model=model.decode(errors="replace"),
        created_at=int(_number(created_at) or 0),
        spoke_at=int(_number(spoke_at) or 0),
        worker=_text(_object(worker).get("id")) or "",
        waits=bool(waits),
        newest=newest.decode(errors="replace"),
        waiting_for=_text(said.get("for")) or "",
        waiting_why=_text(said.get("reason")) or "",
    )


def _own_now() -> int:
    return int(time.time() * 1000)


def _object(data: bytes) -> dict[str, Any]:
    """Returns the object of this JSON; an empty one for what is none: a person may write anything into a key."""
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _number(value: bytes | None) -> float | None:
    """Returns a time in milliseconds; None for what is none."""
    try:
        found = float(value or b"")
    except ValueError:
        return None
    return found if 0 <= found <= _LATEST else None


def _text(value: object) -> str | None:
    return value[:200] if isinstance(value, str) else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and 0 <= value < 2**53 else None


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and abs(value) < _LATEST else None


def _time(value: object) -> int | None:
    """Returns milliseconds since the epoch, from RFC 3339."""
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
        return None if at is None or at.tzinfo is None else int(at.timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def _when(value: object) -> str | None:
    """Returns the time as it is written, if it is one."""
    return value if isinstance(value, str) and _time(value) is not None else None
