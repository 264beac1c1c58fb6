"""What the API says of itself, of Redis, of the workers and of the clocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final

from readalong.cli.api_client import ApiClient
from readalong.cli.doctor.check import Check, Result
from readalong.cli.errors import CliError
from readalong.cli.json_fields import mapping, mappings, number, text
from readalong.cli.render.metrics import moment, short, size
from readalong.cli.render.workers_table import slots

#: Findings that checks of their own tell, by code.
_TOLD: Final = ("redis_", "no_worker", "workers_refused")
#: The oldest version of Redis, and the first of Valkey.
_OLDEST: Final = 7
#: The part of the memory from which on it is told.
_NEARLY_FULL: Final = 0.9
#: Seconds by which a clock may be off.
_CLOCK: Final = 2.0
_WORDS: Final = {
    "away": "does not answer",
    "loading": "still loads its data",
    "full": "is full and refuses writes",
    "read_only": "is a replica that takes no writes",
    "refusing": "refuses commands",
}
_FULL: Final = "readalong erase --ended --older-than 1h, a larger maxmemory, or a lower READALONG_RETENTION"
#: The API's finding of the same, whose action names a command that reaches this Redis; and what to do without one.
_ACTIONS: Final = {
    "away": ("redis_away", "start Redis, or mend READALONG_REDIS_URL of API and workers"),
    "loading": ("redis_away", "wait until it has loaded them"),
    "full": ("redis_full", _FULL),
    "read_only": ("redis_refuses", "let READALONG_REDIS_URL lead to the primary, or set READALONG_SENTINELS"),
    "refusing": ("redis_refuses", "docs/redis.md lists what the user needs"),
}


def check_api(client: ApiClient) -> Check:
    """Returns whether there is an API at the address."""
    began = monotonic()
    try:
        client.get("/healthz")
    except CliError as error:
        return Check(
            "api", "critical", error.message, "start it (readalong api), or give its address by --url or READALONG_URL"
        )
    return Check("api", "ok", f"{client.url} answers in {short(monotonic() - began)}")


def check_redis(status: dict[str, Any]) -> Iterator[Check]:
    """Redis as the API sees it: does it work, is it new enough, may it drop jobs, does it keep them."""
    redis = mapping(status.get("redis"))
    state = text(redis.get("state"), 20)
    if state != "ok":
        action = _told_action(status, *_ACTIONS.get(state, ("", "")))
        yield Check("redis", "critical", f"Redis {_WORDS.get(state, state)}", action)
        if state in ("away", "loading"):
            return
    else:
        trip = short(redis.get("round_trip_seconds"))
        yield Check("redis", "ok", f"the API reaches it; a round trip takes {trip}")
    yield from check_version(text(redis.get("version"), 40))
    evicts = _told_action(status, "redis_evicts", "set maxmemory-policy noeviction in the configuration of Redis")
    sizes = redis.get("used_memory_bytes"), redis.get("maxmemory_bytes")
    yield from check_memory(redis.get("maxmemory_policy"), *sizes, evicts)
    keep = _told_action(status, "redis_not_persistent", "set appendonly yes in the configuration of Redis")
    yield from check_persistence(mapping(redis.get("persistence")), keep)


def check_version(version: str) -> Iterator[Check]:
    found = re.search(r"\d+", version)
    if found is None:
        yield Check("version", "skipped", "Redis does not tell its version")
    elif int(found[0]) < _OLDEST:
        yield Check("version", "critical", f"Redis is {version}", "use Redis 7 or newer, or Valkey")
    else:
        yield Check("version", "ok", version)


def check_memory(policy: object, used: object, limit: object, action: str) -> Iterator[Check]:
    """The policy of a full Redis, and whether it is nearly full. `action` sets another policy."""
    if not isinstance(policy, str):
        yield Check("memory", "skipped", "Redis does not tell what it does when it is full")
        return
    if policy != "noeviction":
        detail = f"maxmemory-policy is {text(policy, 40)}: a full Redis drops jobs" + (
            "" if limit else "; it has no limit yet"
        )
        yield Check("memory", "critical" if limit else "warning", detail, action)
    all_bytes, bytes_used = number(limit) or 0, number(used) or 0
    told = f"{size(bytes_used)} of {size(all_bytes) if all_bytes else 'no limit'}"
    if all_bytes and bytes_used > _NEARLY_FULL * all_bytes:
        yield Check("memory", "warning", f"Redis is nearly full: {told}", _FULL)
    elif policy == "noeviction":
        yield Check("memory", "ok", f"noeviction, {told}")


def check_persistence(kept: dict[str, Any], action: str) -> Iterator[Check]:
    """Whether Redis keeps jobs on disk. `action` makes it keep all."""
    if not kept:
        return
    if kept.get("aof"):
        yield Check("disk", "ok", "Redis keeps an append-only file")
    elif kept.get("rdb"):
        yield Check("disk", "info", "Redis keeps snapshots alone: a crash loses the jobs since the last", action)
    else:
        yield Check("disk", "info", "Redis keeps nothing on disk: a restart loses all jobs", action)


def check_workers(status: dict[str, Any]) -> Check:
    """Returns whether a worker is alive that its model lets in."""
    workers = mappings(status.get("workers"))
    alive = [worker for worker in workers if worker.get("alive")]
    refused = [worker for worker in alive if worker.get("refused")]
    if not alive:
        return Check("workers", "critical", "no worker is alive", "readalong worker starts one")
    if refused:
        code = text(refused[0].get("refused"), 40)
        result: Result = "critical" if len(refused) == len(alive) else "warning"
        detail = f"refused by the model: {len(refused)} of {len(alive)} alive ({code})"
        return Check("workers", result, detail, "mend the key or address of the model; the workers' logs name it")
    used, every = slots(alive)
    return Check("workers", "ok", f"{len(alive)} alive, {used} of {every} slots in use")


def check_clock(status: dict[str, Any], asked: datetime, answered: datetime) -> Check:
    """Returns whether the clock of this machine agrees with Redis'. The response was made between the two times."""
    now = moment(status.get("now"))
    if now is None:
        return Check("clock", "skipped", "the API does not tell its time")
    ahead = max((asked - now).total_seconds(), -(answered - now).total_seconds(), 0.0)
    if ahead > _CLOCK:
        way = "ahead of" if asked > now else "behind"
        return Check("clock", "warning", f"this machine is {short(ahead)} {way} the server", "set the clocks by NTP")
    return Check("clock", "ok", "this machine and the server agree")


def check_findings(status: dict[str, Any]) -> Iterator[Check]:
    """What the API has found besides."""
    for finding in mappings(status.get("findings")):
        code, severity = text(finding.get("code"), 40), finding.get("severity")
        if not code.startswith(_TOLD):
            result: Result = severity if severity in ("critical", "warning") else "info"
            detail = f"{text(finding.get('title'), 80)}: {text(finding.get('reason'), 600)}"
            yield Check(code, result, detail, text(finding.get("action"), 600))


def _told_action(status: dict[str, Any], code: str, otherwise: str) -> str:
    """Returns what the API says to do about a finding."""
    found = [finding.get("action") for finding in mappings(status.get("findings")) if finding.get("code") == code]
    return text(found[0], 600) if found else otherwise


def utc_now() -> datetime:
    return datetime.now(UTC)
