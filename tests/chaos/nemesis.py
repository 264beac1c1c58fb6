"""Breaks the cluster at random from a seed: kills, stops, restarts, drains, fills, cuts, silences, delays.

Faults may overlap.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Final

from redis.exceptions import RedisError

from tests.chaos.cluster import Cluster
from tests.chaos.history import History
from tests.chaos.plan import LEASE
from tests.support.processes import Process
from tests.support.proxy import Proxy

#: Seconds for an orderly end of a process: its drain, while its Redis may be down.
_END_WITHIN: Final = 45.0
_REDIS: Final = "redis"

Fault = Callable[[Random], Coroutine[Any, Any, None]]


class Nemesis:
    """`run` injects faults until `rest` is called; then all is whole again."""

    def __init__(self, cluster: Cluster, history: History, rng: Random, pause: float) -> None:
        """`pause`: mean seconds between two faults."""
        self._cluster = cluster
        self._history = history
        self._rng = rng
        self._mean = pause
        self._over = asyncio.Event()
        self._faults: dict[Fault, int] = {
            self._worker_kill: 5,
            self._worker_stop: 4,
            self._worker_drain: 4,
            self._api_kill: 3,
            self._api_drain: 3,
            self._api_stop: 2,
            self._redis_kill: 3,
            self._redis_stop: 2,
            self._redis_full: 2,
            self._redis_replica: 2,
            self._redis_forget: 2,
            self._redis_failover: 2,
            self._proxy_cut: 4,
            self._proxy_silent: 4,
            self._proxy_late: 3,
            self._proxy_slow: 2,
            self._client_kill: 3,
            self._script_flush: 2,
            self._model_cut: 3,
            self._model_silent: 3,
            self._model_slow: 2,
        }

    async def run(self) -> None:
        """Returns after `rest`, when all faults are over."""
        async with asyncio.TaskGroup() as group:
            while not self._over.is_set():
                await self._pause(self._rng.expovariate(1 / self._mean))
                fault = self._rng.choices(list(self._faults), list(self._faults.values()))[0]
                rng = Random(self._rng.getrandbits(64))
                if not self._over.is_set():
                    group.create_task(fault(rng))
        self._cluster.heal_routes()

    def rest(self) -> None:
        """Ends all pauses: present faults end at once, and no new ones start."""
        self._over.set()

    async def _worker_kill(self, rng: Random) -> None:
        await self._kill("worker_kill", self._cluster.stack.workers, rng)

    async def _api_kill(self, rng: Random) -> None:
        await self._kill("api_kill", self._cluster.stack.apis, rng)

    async def _worker_drain(self, rng: Random) -> None:
        await self._drain("worker_drain", self._cluster.stack.workers, rng)

    async def _api_drain(self, rng: Random) -> None:
        await self._drain("api_drain", self._cluster.stack.apis, rng)

    async def _worker_stop(self, rng: Random) -> None:
        await self._stop("worker_stop", self._cluster.stack.workers, LEASE * rng.uniform(1.2, 3), rng)

    async def _api_stop(self, rng: Random) -> None:
        await self._stop("api_stop", self._cluster.stack.apis, rng.uniform(0.3, 6), rng)

    async def _kill(self, kind: str, processes: Sequence[Process], rng: Random) -> None:
        process = self._free(processes, rng)
        if process is not None:
            async with self._fault(kind, process.name, process.name, pid=process.pid):
                process.kill()
                await self._pause(rng.uniform(0, 3))
                await self._cluster.restart(process)

    async def _drain(self, kind: str, processes: Sequence[Process], rng: Random) -> None:
        process = self._free(processes, rng)
        if process is None:
            return
        async with self._fault(kind, process.name, process.name, pid=process.pid) as more:
            process.term()
            asked = time.monotonic()
            if not await self._cluster.wait(lambda: not process.running, _END_WITHIN):
                self._history.trouble(f"{process.name} does not end: {process.output[-2000:]}")
            elif process.code:
                self._history.trouble(f"{process.name} ended with {process.code}: {process.output[-2000:]}")
            more["took"] = round(time.monotonic() - asked, 2)
            await self._pause(rng.uniform(0, 1))
            await self._cluster.restart(process)

    async def _stop(self, kind: str, processes: Sequence[Process], seconds: float, rng: Random) -> None:
        process = self._free(processes, rng)
        if process is not None:
            async with self._fault(kind, process.name, process.name, pid=process.pid):
                process.stop()
                try:
                    await self._pause(seconds)
                finally:
                    process.cont()

    async def _redis_kill(self, rng: Random) -> None:
        if _REDIS not in self._cluster.held:
            async with self._fault("redis_kill", _REDIS, _REDIS):
                self._cluster.stack.redis.kill()
                await self._pause(rng.choice((0, rng.uniform(0, 4))))
                await asyncio.to_thread(self._cluster.stack.redis.restart)

    async def _redis_stop(self, rng: Random) -> None:
        if _REDIS not in self._cluster.held:
            async with self._fault("redis_stop", _REDIS, _REDIS):
                pid = self._cluster.stack.redis.pid
                os.kill(pid, signal.SIGSTOP)
                try:
                    await self._pause(rng.uniform(0.3, 6))
                finally:
                    os.kill(pid, signal.SIGCONT)

    async def _redis_full(self, rng: Random) -> None:
        await self._refuse("redis_full", "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", rng)

    async def _redis_replica(self, rng: Random) -> None:
        """Makes Redis a replica of a primary that does not exist."""
        await self._refuse("redis_replica", "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", rng)

    async def _redis_forget(self, rng: Random) -> None:
        """Kills Redis and restores its data of some time ago."""
        if _REDIS not in self._cluster.held:
            async with self._fault("redis_forget", _REDIS, _REDIS) as more:
                redis = self._cluster.stack.redis
                file = await asyncio.to_thread(redis.journal)
                more["since"] = time.time()
                size = file.stat().st_size
                await self._pause(rng.uniform(0.1, 4))
                redis.kill()
                os.truncate(file, size)
                await self._pause(rng.choice((0, rng.uniform(0, 2))))
                await asyncio.to_thread(redis.restart)

    async def _redis_failover(self, rng: Random) -> None:
        """Promotes a replica that lacks the newest data."""
        if _REDIS not in self._cluster.held:
            async with self._fault("redis_failover", _REDIS, _REDIS) as more, Proxy() as way:
                replica, more["since"] = await self._cluster.replica(way)
                way.stall()
                await self._pause(rng.uniform(0.1, 4))
                way.refusing = True
                way.cut()
                await self._cluster.fail_over(replica, rng)

    async def _refuse(self, kind: str, breaks: str, mends: str, rng: Random) -> None:
        """Between these two commands Redis replies and accepts no writes."""
        if _REDIS not in self._cluster.held:
            async with self._fault(kind, _REDIS, _REDIS):
                await self._tell(breaks)
                try:
                    await self._pause(rng.uniform(0.3, 6))
                finally:
                    await self._tell(mends)

    async def _client_kill(self, rng: Random) -> None:
        kind = rng.choice(("normal", "pubsub"))
        await self._command("client_kill", kind, f"CLIENT KILL TYPE {kind} SKIPME yes")

    async def _script_flush(self, _: Random) -> None:
        await self._command("script_flush", _REDIS, "SCRIPT FLUSH")

    async def _command(self, kind: str, target: str, command: str) -> None:
        if _REDIS not in self._cluster.held:
            async with self._fault(kind, target, _REDIS):
                await self._tell(command)

    async def _tell(self, command: str) -> None:
        try:
            await self._cluster.redis.execute_command(*command.split())
        except (RedisError, OSError) as error:
            self._history.trouble(f"{command}: {error!r}")

    async def _proxy_cut(self, rng: Random) -> None:
        async with self._redis_ways("proxy_cut", rng) as proxies:
            await self._cut(proxies, rng.choice((0.0, rng.uniform(0, 4))))

    async def _model_cut(self, rng: Random) -> None:
        async with self._ways("model_cut", rng) as proxies:
            await self._cut(proxies, rng.choice((0.0, rng.uniform(0, 3))))

    async def _cut(self, proxies: Sequence[Proxy], seconds: float) -> None:
        """Resets open connections, and refuses new ones for a while."""
        for proxy in proxies:
            proxy.refusing = seconds > 0
            proxy.cut()
        await self._pause(seconds)
        for proxy in proxies:
            proxy.refusing = False

    async def _model_silent(self, rng: Random) -> None:
        """Silences connections, which then continue or are reset."""
        async with self._ways("model_silent", rng) as proxies:
            for proxy in proxies:
                proxy.stall()
            await self._pause(rng.uniform(0.5, 5))
            late = rng.random() < 0.5
            for proxy in proxies:
                if not late:
                    proxy.cut_stalled()
                proxy.resume()

    async def _proxy_silent(self, rng: Random) -> None:
        """New connections work again after a while; the old ones stay half-open for good."""
        async with self._redis_ways("proxy_silent", rng) as proxies:
            for proxy in proxies:
                proxy.stall()
            await self._pause(rng.uniform(0.5, 6))
            for proxy in proxies:
                proxy.heal()

    async def _proxy_late(self, rng: Random) -> None:
        """All data sent meanwhile arrives after all, at a server that has gone on without it."""
        async with self._redis_ways("proxy_late", rng) as proxies:
            for proxy in proxies:
                proxy.stall()
            await self._pause(rng.uniform(0.5, 3 * LEASE))
            for proxy in proxies:
                proxy.resume()

    async def _proxy_slow(self, rng: Random) -> None:
        async with self._redis_ways("proxy_slow", rng) as proxies:
            await self._slow(proxies, rng)

    async def _model_slow(self, rng: Random) -> None:
        async with self._ways("model_slow", rng) as proxies:
            await self._slow(proxies, rng)

    async def _slow(self, proxies: Sequence[Proxy], rng: Random) -> None:
        for proxy in proxies:
            proxy.delay = rng.uniform(0.02, 0.2)
        await self._pause(rng.uniform(1, 6))
        for proxy in proxies:
            proxy.delay = 0.0

    def _free(self, processes: Sequence[Process], rng: Random) -> Process | None:
        free = [process for process in processes if process.name not in self._cluster.held and process.running]
        return rng.choice(free) if free else None

    @asynccontextmanager
    async def _redis_ways(self, kind: str, rng: Random) -> AsyncIterator[list[Proxy]]:
        """Chooses the proxies of one process, or of all, without those that another fault holds: perhaps none."""
        free = [name for name in self._cluster.proxies if _redis_way(name) not in self._cluster.held]
        if not free:
            yield []
            return
        names = free if rng.random() < 0.3 else [rng.choice(free)]
        # A fault of several may hit any of them: the checker must take it for all.
        target = names[0] if len(names) == 1 else "all"
        pids = {worker.name: worker.pid for worker in self._cluster.stack.workers}
        more = {"pid": pids[target]} if target in pids else {}
        async with self._fault(kind, target, *map(_redis_way, names), **more):
            yield [self._cluster.proxies[name] for name in names]

    @asynccontextmanager
    async def _ways(self, kind: str, rng: Random) -> AsyncIterator[list[Proxy]]:
        """Chooses the way to the model of one worker, or of all, without those that another fault holds.

        The fault's line names all processes that used it meanwhile.
        """
        workers = [worker for worker in self._cluster.stack.workers if _way(worker.name) not in self._cluster.held]
        if not workers:
            yield []
            return
        chosen = workers if rng.random() < 0.3 else [rng.choice(workers)]
        names = [worker.name for worker in chosen]
        restarts = self._cluster.restarts
        before = {name: len(restarts[name]) for name in names}
        pids = [worker.pid for worker in chosen]
        async with self._fault(kind, "all" if len(names) > 1 else names[0], *map(_way, names)) as more:
            try:
                yield [self._cluster.model_proxies[name] for name in names]
            finally:
                more["pids"] = pids + [pid for name in names for pid in restarts[name][before[name] :]]

    @asynccontextmanager
    async def _fault(self, kind: str, target: str, *holds: str, **more: Any) -> AsyncIterator[dict[str, Any]]:
        """Holds the target of a fault, and writes the fault when it is over, with the fields of the dictionary."""
        self._cluster.held.update(holds)
        began = time.time()
        try:
            yield more
        finally:
            self._cluster.held.difference_update(holds)
            self._history.fault(kind, began, target=target, until=time.time(), **more)

    async def _pause(self, seconds: float) -> None:
        """Waits this many seconds, or until `rest`."""
        try:
            async with asyncio.timeout(seconds):
                await self._over.wait()
        except TimeoutError:
            return


def _redis_way(name: str) -> str:
    return f"Redis way of {name}"


def _way(name: str) -> str:
    return f"way of {name} to the model"
