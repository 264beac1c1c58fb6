"""The processes of a run, their ways to Redis and to the model, and a supervisor for them."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections import deque
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Final, Self

from redis.asyncio import Redis

from tests.chaos.history import History
from tests.chaos.plan import SETTINGS, SETTINGS_OF, Plan
from tests.support.processes import Process
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer
from tests.support.stack import Stack

_PAUSE: Final = 0.1
_START_WITHIN: Final = 60.0
#: The line that a process writes when it is ready.
_READY: Final = re.compile(r"serving on http|ready: \d+ slots")


class Cluster:
    """An async context manager.

    The proxies live in this very loop: blocking waits for a process run in a thread, or in steps.
    """

    def __init__(self, plan: Plan, history: History) -> None:
        names = [f"api-{number}" for number in range(plan.apis)] + [
            f"worker-{number}" for number in range(plan.workers)
        ]
        #: The ways to Redis, by process name.
        self.proxies = {name: Proxy() for name in names}
        #: The workers' ways to the model.
        self.model_proxies = {name: Proxy() for name in names if name.startswith("worker")}
        #: The process ids of each name's starts, in order.
        self.restarts: dict[str, list[int]] = {name: [] for name in names}
        #: The targets of present faults: processes by name, and ways as `Redis way of …`. The supervisor leaves these
        #: alone.
        self.held: set[str] = set()
        #: Jobs of which nothing may be left.
        self.erased: set[str] = set()
        #: The newest jobs, for clients that look at other clients' jobs.
        self.recent: deque[str] = deque(maxlen=100)
        #: The highest memory of each process in bytes, by its name.
        self.memory: dict[str, int] = {}
        self._history = history
        self._exits = AsyncExitStack()
        #: The servers that replaced the first one.
        self._servers = ExitStack()
        #: The harness's own way to the present primary.
        self._own_way = Proxy()
        self.stack = Stack(
            apis=plan.apis,
            workers=plan.workers,
            aof=True,
            settings=SETTINGS,
            settings_of=SETTINGS_OF,
            model="tests.chaos.hostile_model",
            journal=history.directory / "model.jsonl",
            redis_route=self._redis_route,
            model_route=self._model_route,
        )

    @property
    def processes(self) -> list[Process]:
        return [*self.stack.apis, *self.stack.workers]

    @property
    def urls(self) -> list[str]:
        return self.stack.urls

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as exits:
            for proxy in (self._own_way, *self.proxies.values(), *self.model_proxies.values()):
                await exits.enter_async_context(proxy)
            self._servers = exits.enter_context(ExitStack())
            await asyncio.to_thread(self.stack.__enter__)
            exits.push_async_callback(asyncio.to_thread, self.stack.__exit__)
            exits.callback(self._keep_output)
            self._own_way.target = self.stack.redis.port
            #: Past the proxies of the processes.
            self.redis = Redis(port=self._own_way.port, decode_responses=True, socket_timeout=10)
            exits.push_async_callback(self.redis.aclose)
            self._exits = exits.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exits.aclose()

    async def restart(self, process: Process) -> None:
        """Starts a process again as a supervisor does, and waits until it is ready."""
        process.restart()
        self.restarts[process.name].append(process.pid)
        await self.wait_ready(process)

    async def wait_ready(self, process: Process) -> None:
        """Returns when the process is ready; a process that ends or takes too long is a trouble."""
        await self.wait(lambda: not process.running or bool(_READY.search(process.output)), _START_WITHIN)
        if not process.running:
            self._history.trouble(f"{process.name} exited with {process.code} as it started: {process.output[-2000:]}")
        elif not _READY.search(process.output):
            self._history.trouble(f"{process.name} does not start: {process.output[-2000:]}")

    async def replica(self, way: Proxy) -> tuple[RedisServer, float]:
        """Returns a new replica of Redis, which replicates over this way, and a time, just now, up to which it has all
        data.
        """
        server = await asyncio.to_thread(RedisServer.start, aof=True)
        self._servers.callback(server.stop)
        way.target = self.stack.redis.port
        await self.redis.config_set("repl-diskless-sync-delay", 0)
        await asyncio.to_thread(server.command, "REPLICAOF", "127.0.0.1", way.port)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _START_WITHIN
        while loop.time() < deadline:
            since = time.time()
            wanted = (await self.redis.info("replication"))["master_repl_offset"]
            has = await asyncio.to_thread(server.command, "INFO", "replication")
            if has["master_link_status"] == "up" and has["slave_repl_offset"] >= wanted:
                return server, since
            await asyncio.sleep(_PAUSE)
        raise TimeoutError("a replica does not come up")

    async def fail_over(self, server: RedisServer, rng: Random) -> None:
        """Promotes a replica.

        The processes change over one by one, while the old primary serves the others; then the old one goes, with all
        data of its own.
        """
        await asyncio.to_thread(server.command, "REPLICAOF", "NO", "ONE")
        ways = list(self.proxies.values())
        rng.shuffle(ways)
        pause = rng.choice((0.0, rng.uniform(0, 0.3)))
        for way in ways:
            way.target = server.port
            way.cut()
            await asyncio.sleep(pause)
        old, self.stack.redis = self.stack.redis, server
        self._own_way.target = server.port
        self._own_way.cut()
        old.kill()
        await asyncio.to_thread(old.stop)

    async def wait(self, check: Callable[[], bool], within: float) -> bool:
        """Whether `check` becomes true within this many seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        while not check():
            if loop.time() >= deadline:
                return False
            await asyncio.sleep(_PAUSE)
        return True

    async def supervise(self) -> None:
        """Restarts processes that end without being asked to, each a trouble; runs until it is cancelled."""
        while True:
            await asyncio.sleep(_PAUSE)
            for process in self.processes:
                if process.name not in self.held and not process.running:
                    self._history.trouble(f"{process.name} exited with {process.code}: {process.output[-2000:]}")
                    self.held.add(process.name)
                    try:
                        await self.restart(process)
                    finally:
                        self.held.discard(process.name)

    def heal_routes(self) -> None:
        """Repairs all ways and resets those that are half-open for good."""
        for proxy in (*self.proxies.values(), *self.model_proxies.values()):
            proxy.refusing = False
            proxy.delay = 0.0
            proxy.cut_stalled()
            proxy.heal()

    def _redis_route(self, name: str, port: int) -> int:
        self.proxies[name].target = port
        return self.proxies[name].port

    def _model_route(self, name: str, port: int) -> int:
        self.model_proxies[name].target = port
        return self.model_proxies[name].port

    def _keep_output(self) -> None:
        folder = self._history.directory / "processes"
        folder.mkdir(exist_ok=True)
        for process in [*self.processes, self.stack.model]:
            if process.log.exists():
                shutil.copy(process.log, folder)
        log: Path = self.stack.redis.dir / "server.log"
        shutil.copy(log, folder / "redis.log")
