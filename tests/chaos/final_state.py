"""The state of the processes and of Redis: before the run, and after it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from arq.constants import in_progress_key_prefix

from tests.chaos.cluster import Cluster
from tests.chaos.plan import LEASE
from tests.support.client import call
from tests.support.processes import Process

_PAUSE: Final = 0.2
_HUB: Final = re.compile(r"<Hub .+>")
#: The time to live of a worker's last acquire, which names jobs.
_SOON_MS: Final = int(10 * LEASE * 1000)
#: The time to live of the mark that an erase leaves.
_MARK_MS: Final = 900_000
#: The command that reads each type of value whole.
_READS: Final[dict[str, Callable[[str], list[str]]]] = {
    "string": lambda key: ["GET", key],
    "list": lambda key: ["LRANGE", key, "0", "-1"],
    "zset": lambda key: ["ZRANGE", key, "0", "-1"],
    "set": lambda key: ["SMEMBERS", key],
    "hash": lambda key: ["HGETALL", key],
}
#: A pattern of job ids.
_ID: Final = re.compile(r"[A-Za-z0-9_-]{22,}")
_PROC: Final = Path("/proc")
#: A worker's log lines: it takes no more jobs because its model refuses it, it takes jobs again, it starts.
_SHUT: Final = re.compile(
    r"(?m)^(?P<at>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) \w+ \S+: "
    r"(?:(?P<shut>the model refuses this worker) \((?P<code>\w+)|the model lets this worker in again|ready: \d+ slots)"
)


async def readings(cluster: Cluster) -> dict[str, Any]:
    """Returns queues, channels, connections, hubs and processes as they are now."""
    redis, keys = cluster.redis, cluster.stack.keys
    clients = await redis.client_list()
    own = await redis.client_id()
    model = await call("GET", cluster.stack.model_url.removesuffix("/v1") + "/stats")
    return {
        "queue": await redis.zrange(keys.queue, 0, -1),
        "in_progress": [key async for key in redis.scan_iter(match=f"{in_progress_key_prefix}*", count=1000)],
        "open": await redis.zrange(keys.active, 0, -1),
        "channels": await redis.pubsub_channels(),
        "connections": {
            "redis": sum(int(client["id"]) != own for client in clients),
            "model": int(model.json()["open"]),
        },
        "hubs": [await _hub(cluster, api) for api in cluster.stack.apis],
        "processes": {process.name: _usage(process) for process in cluster.processes},
    }


async def when_quiet(cluster: Cluster, within: float) -> dict[str, Any]:
    """Returns the readings as soon as no work is in progress, or after this many seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while True:
        found = await readings(cluster)
        if _quiet(cluster, found) or loop.time() >= deadline:
            return found
        await asyncio.sleep(_PAUSE)


async def logs(cluster: Cluster) -> AsyncIterator[dict[str, Any]]:
    """Yields all jobs in Redis, each with its hash, its stored log, and its times to live in ms."""
    redis, keys = cluster.redis, cluster.stack.keys
    begin, end = keys.job("?").split("?")
    async for key in redis.scan_iter(match="*", count=1000):
        if not (key.startswith(begin) and key.endswith(end)):
            continue
        job_id = key[len(begin) : -len(end)]
        async with redis.pipeline(transaction=True) as pipe:
            pipe.hgetall(key)
            pipe.xrange(keys.events(job_id))
            pipe.pttl(key)
            pipe.pttl(keys.events(job_id))
            fields, entries, job_ttl, events_ttl = await pipe.execute()
        yield {"job": job_id, "hash": fields, "entries": entries, "ttl": {"job": job_ttl, "events": events_ttl}}


async def traces(cluster: Cluster) -> list[str]:
    """Returns all traces of erased jobs in Redis: names of keys, and members of shared keys.

    A thread keeps what it has recorded of an erased job (docs/threads.md). An offer to repeats of a submit without a
    key expires by itself, and no repeat gets an erased job (docs/decisions/0033).
    """
    redis, found = cluster.redis, list[str]()
    job = cluster.stack.keys.job("?").split("?")[0]
    thread, offers = (name("?").split("?")[0] for name in (cluster.stack.keys.thread, cluster.stack.keys.repeats))
    async for key in redis.scan_iter(match="*", count=1000):
        if not cluster.erased.isdisjoint(_ID.findall(key)):
            # The mark that blocks late copies of its submit expires by itself.
            if not (key.endswith(":cancel") and 0 <= await redis.pttl(key) <= _MARK_MS):
                found.append(key)
        elif not key.startswith((job, thread, offers)):
            found += [
                f"{key}: {held}"
                for held in await _held(cluster, key)
                if not cluster.erased.isdisjoint(_ID.findall(held))
            ]
    return found


async def _held(cluster: Cluster, key: str) -> list[str]:
    """Returns the content of a key: of a thread, of an index, of the queue.

    Returns nothing if the key expires soon, as a worker's last acquire does.
    """
    kind = await cluster.redis.type(key)
    if kind == "none" or 0 <= await cluster.redis.pttl(key) <= _SOON_MS:
        return []
    answer = await cluster.redis.execute_command(*_READS[kind](key))
    if kind == "string":
        return [answer or ""]
    return [*answer, *answer.values()] if kind == "hash" else list(answer)


def most_bytes(process: Process) -> int:
    """Returns a process's highest memory since its start; 0 where the system gives no number."""
    try:
        status = (_PROC / str(process.pid) / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)  # an ended process that was not waited for has none
    return 0 if found is None else 1024 * int(found[1])


def waited(process: Process) -> float:
    """Returns the seconds that a process's main thread has waited for a processor; 0 where the system does not say."""
    try:
        schedule = (_PROC / str(process.pid) / "schedstat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return int(schedule.split()[1]) / 1e9


def shut_times(logs: Mapping[str, str]) -> list[dict[str, Any]]:
    """Returns the periods in which each worker took no jobs because its model refused it, from its log.

    `until`: None if the period lasts.
    """
    found: list[dict[str, Any]] = []  # logs have local times
    for worker, log in logs.items():
        began: dict[str, Any] | None = None
        for line in _SHUT.finditer(log):
            at = datetime.strptime(line["at"], "%Y-%m-%d %H:%M:%S,%f").timestamp()
            if began is not None:
                began["until"] = at
            began = {"t": at, "worker": worker, "code": line["code"], "until": None} if line["shut"] else None
            found += [began] if began else []
    return found


def _quiet(cluster: Cluster, found: dict[str, Any]) -> bool:
    live = cluster.stack.keys.live("?").split("?")[0]
    return (
        not (found["queue"] or found["in_progress"] or found["open"] or found["connections"]["model"])
        and not any(channel.startswith(live) for channel in found["channels"])
        and all("feeds=0 watchers=0" in hub for hub in found["hubs"])
    )


async def _hub(cluster: Cluster, api: Process) -> str:
    """Returns the API's own report from its log; empty if it gives none."""
    api.mark()
    os.kill(api.pid, signal.SIGUSR1)
    await cluster.wait(lambda: _HUB.search(api.news) is not None, 10)
    found = _HUB.search(api.news)
    return "" if found is None else found[0]


def _usage(process: Process) -> dict[str, int]:
    """Returns nothing where the system has no /proc."""
    folder = _PROC / str(process.pid)
    if not folder.is_dir():
        return {}
    fields = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    return {
        "rss_kb": int(fields["VmRSS"].split()[0]),
        "fds": len(list((folder / "fd").iterdir())),
        "threads": int(fields["Threads"]),
    }
