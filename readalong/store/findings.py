"""What is the matter, why, and what to do: drawn from one look at all that there is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple

from readalong.core.states import Status
from readalong.store.status import OpenJob, RedisStatus, Snapshot, WorkerStatus

Severity = Literal["critical", "warning", "info"]

#: Seconds without an event from which on a running job counts as stuck, and from which on that is critical.
STUCK: Final = 30.0
_LONG_STUCK: Final = 300.0
#: Seconds that the oldest job may wait, that a worker may be silent, and that a clock may be off.
OLD: Final = 30.0
_SILENT: Final = 6.0
_CLOCK_OFF: Final = 5.0
#: Seconds that a job between two workers may wait without a word.
_BETWEEN: Final = 3.0
#: The part of Redis' memory from which on it is nearly full.
_NEARLY_FULL: Final = 0.9
#: Jobs by which the queue must have grown in the last minutes, and the least length that counts.
_GROWN: Final = 10
#: Findings of one code; one more says how many there are besides.
_MOST: Final = 20

_ORDER: Final[dict[Severity, int]] = {"critical": 0, "warning": 1, "info": 2}


class Finding(NamedTuple):
    """`title`: at most 60 characters. `reason`: one sentence with numbers. `action`: what to do. `since`: ms since the
    epoch."""

    code: str
    severity: Severity
    title: str
    reason: str
    action: str
    job_id: str | None = None
    worker_id: str | None = None
    since: int | None = None


class Growth(NamedTuple):
    """Jobs that were submitted and that have ended in the last so many minutes."""

    submitted: int
    ended: int
    minutes: int


def findings_of(look: Snapshot, address: str, cli: str, growth: Growth | None = None) -> list[Finding]:
    """Returns the findings, worst first. `address`: Redis' own, without a password. `cli`: what a command of redis-cli
    begins with there."""
    found = [*_redis(look.redis, address, cli)]
    if look.queued is not None:
        found += [*_workers(look), *_few(_jobs(look)), *_queue(look, growth), *_keys(look, cli), *_clocks(look)]
    # Stable: those of one severity keep the order above.
    return sorted(found, key=lambda each: _ORDER[each.severity])


def _redis(redis: RedisStatus, address: str, cli: str) -> Iterator[Finding]:
    health = redis.health
    why = "" if health.error is None else health.error.message
    if health.redis in ("away", "loading"):
        title = "Redis does not answer" if health.redis == "away" else "Redis is loading its data"
        action = (
            f"Run `{cli} ping`; start Redis, or correct READALONG_REDIS_URL."
            if health.redis == "away"
            else f"Wait: `{cli} info persistence` shows how far it is."
        )
        yield Finding("redis_away", "critical", title, f"{why}, at {address}.", action)
    elif health.redis == "full":
        used, limit = _bytes(redis.used_memory), _bytes(redis.maxmemory)
        action = (
            "Erase ended jobs (`readalong erase --ended --older-than 1h`), or raise `maxmemory` in its configuration."
        )
        yield Finding(
            "redis_full", "critical", "Redis is full", f"Redis uses {used} of {limit} and takes no writes.", action
        )
    elif health.redis in ("read_only", "refusing"):
        title = "Redis is a read-only replica" if health.redis == "read_only" else "Redis refuses commands"
        action = (
            f"Run `{cli} role`; READALONG_REDIS_URL must name the primary, or READALONG_SENTINELS lead to it."
            if health.redis == "read_only"
            else f"Run `{cli} acl log`; docs/redis.md lists what the user needs."
        )
        yield Finding("redis_refuses", "critical", title, f"{why}.", action)
    used_part = (redis.used_memory or 0) / redis.maxmemory if redis.maxmemory else 0.0
    if used_part >= _NEARLY_FULL and health.redis == "ok":
        reason = f"Redis uses {_bytes(redis.used_memory)} of {_bytes(redis.maxmemory)}, {used_part:.0%}."
        action = "Erase ended jobs, lower READALONG_RETENTION, or raise `maxmemory` in its configuration."
        yield Finding("redis_full", "warning", "Redis is nearly full", reason, action)
    if redis.policy not in (None, "noeviction"):
        reason = f"maxmemory-policy is {redis.policy}: a full Redis deletes logs and queues instead of refusing writes."
        action = f"Run `{cli} config set maxmemory-policy noeviction`, and set it in its configuration."
        yield Finding("redis_evicts", "warning", "Redis may drop jobs", reason, action)
    if redis.aof is False and redis.rdb is False:
        reason = "Neither append-only file nor snapshots are on: a restart of Redis loses every job."
        action = f"Run `{cli} config set appendonly yes`, unless that is what you want."
        yield Finding("redis_not_persistent", "info", "Redis keeps nothing on disk", reason, action)


def _workers(look: Snapshot) -> Iterator[Finding]:
    live = [worker for worker in look.workers if worker.alive]
    refused = [worker for worker in live if worker.refused]
    if not live:
        reason = f"No worker has given a sign of life, and {_jobs_word(look.queued or 0)} waiting."
        yield Finding("no_worker", "critical", "No worker is alive", reason, "Start one: `readalong worker`")
    if refused:
        codes = ", ".join(sorted({worker.refused or "" for worker in refused}))
        who = "The live worker cannot use its" if len(live) == 1 else f"{len(refused)} of {len(live)} cannot use their"
        reason = f"{who} model: {codes}."
        action = (
            "Check the model's key and address in the environment of the workers (OPENAI_API_KEY, OPENAI_BASE_URL)."
        )
        severity: Severity = "critical" if len(refused) == len(live) else "warning"
        yield Finding("workers_refused", severity, "The model refuses workers", reason, action, worker_id=refused[0].id)
    yield from _few(_lost_workers(look, {worker.id for worker in look.workers if worker.connected}))
    for worker in (worker for worker in look.workers if worker.connected):
        silence = 0.0 if worker.heard_at is None else (look.now - worker.heard_at) / 1000
        if silence >= _SILENT or not worker.alive:
            how_long = _seconds(silence) if silence else "a lease"
            reason = f"Its process {_where(worker)} is connected and has said nothing for {how_long}."
            action = (
                f"Look whether the process stands still or is out of CPU: `top -p {worker.pid or 'PID'}` on its host."
            )
            yield Finding(
                "worker_silent",
                "warning",
                "A worker is silent",
                reason,
                action,
                worker_id=worker.id,
                since=worker.heard_at,
            )
    slots = sum(worker.slots or 0 for worker in live)
    busy = sum(len(worker.running) for worker in live)
    if slots and busy >= slots and look.queued:
        taken = "The only slot is" if slots == 1 else f"All {slots} slots of the workers are"
        reason = f"{taken} taken, and {_jobs_word(look.queued)} waiting."
        action = (
            "Start more workers (`readalong worker`), or raise READALONG_MAX_JOBS if their machines have CPU to spare."
        )
        yield Finding("all_slots_busy", "warning", "All slots are busy", reason, action)


def _lost_workers(look: Snapshot, connected: set[str]) -> Iterator[Finding]:
    """Workers whose process has died: those that Redis counts as not connected, and those of which only jobs tell."""
    jobs: defaultdict[str, list[OpenJob]] = defaultdict(list)
    for job in look.open_jobs:
        speaks = look.now - job.spoke_at < _BETWEEN * 1000 and not job.waits
        if job.status == Status.RUNNING and job.worker and job.worker not in connected and not speaks:
            jobs[job.worker].append(job)
    known = {worker.id: worker for worker in look.workers if not worker.connected}
    for worker_id in dict.fromkeys((*known, *jobs)):
        worker, mine = known.get(worker_id), jobs[worker_id]
        where = "" if worker is None else f" {_where(worker)}"
        since = min((job.spoke_at for job in mine), default=None) if worker is None else worker.heard_at
        reason = (
            f"Its process{where} has closed its connections, and {_jobs_word(len(mine))} waiting for another worker."
        )
        action = "Read its last lines of log, and start it again if no supervisor does; its jobs go to other workers."
        yield Finding("worker_dead", "warning", "A worker has died", reason, action, worker_id=worker_id, since=since)


def _jobs(look: Snapshot) -> Iterator[Finding]:
    live = any(worker.alive for worker in look.workers)
    for job in look.open_jobs:
        silence = (look.now - job.spoke_at) / 1000
        if job.broken or job.status != Status.RUNNING:
            continue
        if job.waits:
            if silence >= _BETWEEN:
                reason = f"Its worker is lost or stopped, and no other has begun it for {_seconds(silence)}."
                action = "Wait for a free slot, or start a worker." if live else "Start a worker: `readalong worker`"
                yield _of(job, "job_waits_for_worker", "A running job waits for a worker", reason, action)
        elif job.newest == "waiting" and job.waiting_for == "model":
            reason = f"The model {_quoted(job.model)} is away for {_seconds(silence)}: {job.waiting_why or 'unknown'}."
            action = f"Look at the model's server; or cancel the job: `readalong cancel {job.id}`"
            yield _of(job, "job_waits_for_model", "A job waits for its model", reason, action)
        elif silence >= STUCK:
            said = "its first token" if job.newest in ("started", "restarted") else "its next token"
            reason = (
                f"The model {_quoted(job.model)} has sent nothing for {_seconds(silence)}; the job waits for {said}."
            )
            action = f"Look at the model's server; or cancel the job: `readalong cancel {job.id}`"
            severity: Severity = "critical" if silence >= _LONG_STUCK else "warning"
            yield _of(job, "job_stuck", "A job is stuck at its model", reason, action)._replace(severity=severity)


def _queue(look: Snapshot, growth: Growth | None) -> Iterator[Finding]:
    queued, wait = look.queued or 0, look.oldest_wait or 0.0
    if wait >= OLD:
        reason = f"The oldest of {_jobs_word(queued, verb=False)} has waited for {_seconds(wait)}."
        action = "Start more workers (`readalong worker`), or see what the running jobs wait for."
        yield Finding("queue_old", "warning", "Jobs wait for long", reason, action, since=int(look.now - wait * 1000))
    if growth is not None and queued >= _GROWN and growth.submitted - growth.ended >= _GROWN:
        reason = (
            f"In {growth.minutes} minutes {growth.submitted} jobs came and {growth.ended} ended; "
            f"{_jobs_word(queued)} waiting."
        )
        action = "Start more workers (`readalong worker`), or submit less: READALONG_MAX_QUEUED refuses the rest."
        yield Finding("queue_growing", "warning", "The queue grows", reason, action)


def _keys(look: Snapshot, cli: str) -> Iterator[Finding]:
    for job in [job for job in look.open_jobs if job.broken][:_MOST]:
        reason = f"The keys of job {job.id} hold what readalong did not write; it does not run, other jobs do."
        action = f"Mend its hash (docs/redis.md), or erase it: `readalong erase {job.id}`"
        yield Finding("broken_key", "warning", "A job's keys are broken", reason, action, job_id=job.id)
    for name in look.aside:
        reason = f"A shared key held a value of a wrong type, which is at {name} for a day."
        yield Finding(
            "broken_key",
            "warning",
            "A shared key was broken",
            reason,
            f"Find out who wrote it: `{cli} type '{name}'`",
        )


def _clocks(look: Snapshot) -> Iterator[Finding]:
    action = (
        "Set the machine's clock by NTP. Redis' clock decides about order, leases and times; only logs are misleading."
    )
    if look.clock_off is not None and abs(look.clock_off) >= _CLOCK_OFF:
        reason = f"The clock of this API is {_seconds(abs(look.clock_off))} {_side(look.clock_off)} that of Redis."
        yield Finding("clock_off", "info", "The API's clock is off", reason, action)
    for worker in look.workers:
        if worker.alive and worker.clock_off is not None and abs(worker.clock_off) >= _CLOCK_OFF:
            off = f"{_seconds(abs(worker.clock_off))} {_side(worker.clock_off)}"
            reason = f"The clock of the worker {_where(worker)} is {off} that of Redis."
            yield Finding("clock_off", "info", "A worker's clock is off", reason, action, worker_id=worker.id)


def _few(findings: Iterable[Finding]) -> Iterator[Finding]:
    """The first of each code; then how many more there are."""
    of_code: defaultdict[str, list[Finding]] = defaultdict(list)
    for found in findings:
        of_code[found.code].append(found)
    for code, all_ in of_code.items():
        # The longest first.
        sorted_ = sorted(all_, key=lambda each: each.since or 0)
        yield from sorted_[:_MOST]
        if more := sorted_[_MOST:]:
            first = more[0]
            reason = f"{len(more)} more are as the {_MOST} that are named."
            yield Finding(code, first.severity, f"{first.title[:40]} ({len(more)} more)", reason, first.action)


def _of(job: OpenJob, code: str, title: str, reason: str, action: str) -> Finding:
    return Finding(code, "warning", title, reason, action, job.id, job.worker or None, job.spoke_at)


def _where(worker: WorkerStatus) -> str:
    parts: Sequence[str] = [] if worker.host is None else [f"{worker.pid or '?'} on {worker.host}"]
    return parts[0] if parts else worker.id


def _jobs_word(count: int, *, verb: bool = True) -> str:
    words = "1 job" if count == 1 else f"{count} jobs"
    return f"{words} {'is' if count == 1 else 'are'}" if verb else words


def _quoted(text: str) -> str:
    return f"{text[:80]!r}"


def _side(off: float) -> str:
    return "ahead of" if off > 0 else "behind"


def _seconds(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _bytes(size: int | None) -> str:
    if size is None:
        return "an unknown number of bytes"
    return f"{size / 2**20:.1f} MiB" if size < 2**30 else f"{size / 2**30:.1f} GiB"
